"""The task of world models: model, objective and evaluation for the trainer."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from orbit.core.store.manifest import Manifest
from orbit.core.store.origin import Episodes
from pipeline.methods.interface import Evaluation, PlainTask
from pipeline.methods.world_model import contrastive, variational
from pipeline.methods.world_model.contrastive import ContrastiveObjective
from pipeline.methods.world_model.final import ContrastiveEvaluation
from pipeline.methods.world_model.settings import VariationalConfig, WorldModelConfig
from pipeline.methods.world_model.variational import VariationalEvaluation, VariationalObjective
from pipeline.world_models.building import make_world_model
from pipeline.world_models.homeomorphic_vae import HomeomorphicVAE
from pipeline.world_models.world_model import WorldModel

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
            self.term_names = variational.TERM_NAMES
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
