"""The task of world models: model, objective and evaluation for the trainer.

The contrastive objective is in `contrastive.py`. That of the homeomorphic VAE reconstructs source
frames and uses no actions:

    |decode(R) - x|^2 summed over pixels  +  beta * KL(q(R | x), uniform)      means over records
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from orbit.core.store.manifest import Manifest
from orbit.core.store.origin import Episodes
from pipeline.arithmetic import not_compiled
from pipeline.data.packing import Batch
from pipeline.global_batch import normal_numbers, normal_rows, num_ranks, rank_number
from pipeline.methods.interface import Evaluation, PlainTask
from pipeline.methods.world_model import contrastive
from pipeline.methods.world_model.contrastive import (
    GROUP_SIZE,
    ContrastiveObjective,
    Groups,
    own_places,
)
from pipeline.methods.world_model.final import ContrastiveEvaluation, hits
from pipeline.methods.world_model.settings import VariationalConfig, WorldModelConfig
from pipeline.world_models.building import make_world_model
from pipeline.world_models.homeomorphic_vae import HomeomorphicVAE
from pipeline.world_models.world_model import WorldModel

TERM_NAMES = ("loss/total", "loss/reconstruction", "loss/divergence")
NOISE_SIZE = 3
EVALUATION_SEED = 0


class VariationalObjective(nn.Module):
    """Draws its noise from `seed` and `step`, which counts optimiser steps."""

    def __init__(self, model: HomeomorphicVAE, beta: float, seed: int) -> None:
        super().__init__()
        self.model, self.beta = model, beta
        self._seed, self.step = seed, 0

    def forward(
        self,
        source: torch.Tensor,
        target: torch.Tensor,
        action: torch.Tensor,
        label: torch.Tensor,
        valid: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss and the vector of `TERM_NAMES`; only the source of a record is used."""
        reconstruction, divergence = sample_losses(self.model, source, self._noise(source))
        reconstruction, divergence = reconstruction.mean(), divergence.mean()
        total = reconstruction + self.beta * divergence
        return total, torch.stack([total, reconstruction, divergence]).detach()

    @not_compiled
    def _noise(self, source: torch.Tensor) -> torch.Tensor:
        drawn: torch.Tensor = normal_rows(
            self._seed, self.step, len(source), NOISE_SIZE, source.device
        )
        return drawn


def sample_losses(
    model: HomeomorphicVAE, frames: torch.Tensor, noise: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared error and KL divergence of each stored frame, (B,) float32 both."""
    images = model.normalise(frames)
    drawn, divergence = model.reconstruct(images, noise)
    return (drawn.float() - images).square().flatten(1).sum(1), divergence


class VariationalEvaluation:
    """The training loss with fixed noise, and hits of T(z, a) = a z.

    Float64 sums; see `pipeline.methods.interface.Evaluation`.
    """

    def __init__(self, model: HomeomorphicVAE, beta: float) -> None:
        self.model, self.beta, self._num_seen = model, beta, 0
        self._groups = Groups()
        device = next(model.parameters()).device
        self._sums = torch.zeros(4, dtype=torch.float64, device=device)

    @torch.no_grad()
    def update(self, batch: Batch) -> None:
        model, source = self.model, batch.source
        reconstruction, divergence = sample_losses(model, source, self._noise(source))
        self._num_seen += num_ranks() * len(source)
        valid = batch.valid.double()
        parts = [valid, reconstruction * valid, divergence * valid]
        self._sums[:3] += torch.stack(parts).sum(1)
        predicted = model.predict(model.latent(source), batch.action)
        for group in self._groups.add(predicted, model.latent(batch.target), batch.valid):
            self._compare(*group)

    def _noise(self, source: torch.Tensor) -> torch.Tensor:
        """Noise that depends only on a record's position in the split, not on its batch."""
        first = self._num_seen + rank_number() * len(source)
        last = first + len(source)
        groups = range(first // GROUP_SIZE, (last - 1) // GROUP_SIZE + 1)
        rows = torch.cat(
            [
                normal_numbers(EVALUATION_SEED, group, GROUP_SIZE, NOISE_SIZE, source.device)
                for group in groups
            ]
        )
        begin = first - groups.start * GROUP_SIZE
        return rows[begin : begin + len(source)]

    def _compare(
        self, predictions: torch.Tensor, following: torch.Tensor, is_valid: torch.Tensor
    ) -> None:
        """Add the hits of this rank's share of a group."""
        own = own_places(len(predictions), predictions.device)
        found = hits(predictions, following[own], is_valid, own)
        self._sums[3] += (found * is_valid[own].double()).sum()

    @torch.no_grad()
    def sums(self) -> torch.Tensor:
        for group in self._groups.rest():
            self._compare(*group)
        return self._sums

    def metrics(self, sums: torch.Tensor) -> dict[str, float]:
        count, reconstruction, divergence, hits_at_1 = sums.tolist()
        return {
            "loss/total": (reconstruction + self.beta * divergence) / count,
            "loss/reconstruction": reconstruction / count,
            "loss/divergence": divergence / count,
            "hits_at_1": hits_at_1 / count,
        }


COLLAPSED_SPREAD = 0.01


class WorldModelTask(PlainTask):
    """See `pipeline.methods.interface.Task`.

    The best checkpoint has the lowest validation loss, on a split with the training distribution of
    actions. (The paper has no such split and takes the lowest training loss.)
    """

    mixes_batch = True  # negatives, and batch norm
    selection_metric = "loss/total"
    term_names: tuple[str, ...]
    objective: ContrastiveObjective | VariationalObjective

    def __init__(self, config: WorldModelConfig, manifest: Manifest, device: torch.device) -> None:
        self._config = config
        self.model = make_world_model(config.model, manifest).to(device)
        if isinstance(config.loss, VariationalConfig):
            assert isinstance(self.model, HomeomorphicVAE)
            self.term_names = TERM_NAMES
            seed = int(torch.randint(2**62, ()))
            self.objective = VariationalObjective(self.model, config.loss.beta, seed)
        else:
            self.term_names = contrastive.TERM_NAMES
            if config.loss.same_episode_share:
                _check_episodes(manifest)
                self.term_names = (*self.term_names, contrastive.SAME_EPISODE_TERM)
            self.objective = ContrastiveObjective(self.model, config.loss)

    def after_step(self) -> None:
        if isinstance(self.objective, VariationalObjective):
            self.objective.step += 1

    def statistics(self) -> dict[str, float]:
        if self.model.parts is None:
            return {}
        return {"mask/fraction_variant": self.model.parts.mask.is_variant().double().mean().item()}

    def state_dict(self) -> dict[str, Any]:
        if isinstance(self.objective, VariationalObjective):
            return {"step": self.objective.step}
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if isinstance(self.objective, VariationalObjective):
            self.objective.step = state["step"]

    def collapse_message(self, means: Mapping[str, float]) -> str | None:
        """A message if all latents are nearly the same, so that their energy is far below the
        hinge."""
        if isinstance(self._config.loss, VariationalConfig):
            return None
        spread, hinge = means["latent_spread"], self._config.loss.hinge
        if spread >= COLLAPSED_SPREAD * hinge:
            return None
        return (
            f"the latents have collapsed: the mean energy between two of them is {spread:.2g},"
            f" where the hinge asks for {hinge:g}"
        )

    def evaluation(self, model: nn.Module) -> Evaluation:
        if isinstance(self._config.loss, VariationalConfig):
            assert isinstance(model, HomeomorphicVAE)
            return VariationalEvaluation(model, self._config.loss.beta)
        assert isinstance(model, WorldModel)
        return ContrastiveEvaluation(model, self._config.loss)


def _check_episodes(manifest: Manifest) -> None:
    """Raise ValueError unless training episodes have several states with an action."""
    origin = manifest.origin
    length = origin.episode_length["train"] if isinstance(origin, Episodes) else 1
    if length == 1:
        raise ValueError(
            f"loss.same_episode_share has no effect on {manifest.name}: its training episodes have"
            " one step"
        )
