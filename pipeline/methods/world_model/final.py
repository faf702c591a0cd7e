"""Metrics of a world model over a split, the same for any batch size and rank count.

Records are compared with others within groups of 256 (the last may be smaller), for any batch size:

    loss/...        the training loss but for a mask's term, negatives spread evenly over
                    the group, those of the same episode over its records in the group
    hits_at_1       share of true next latents z'_i to which no prediction is nearer than
                    T(z_i, a_i): ties count as hits, so read it beside `latent_spread`
    latent_spread   mean energy between negatives, without the hinge: 0 if all latents agree
    latent_change   mean energy between a state and its next: far below `latent_spread` if
                    latents hold what no action changes

Records of a split are sorted by time. The next record would be the next state of the same episode,
so negatives here are n / (K + 1) positions apart, of n records.

The final evaluation adds metrics over episodes, curves, and pictures.
"""

import torch

from pipeline.data.packing import Batch
from pipeline.measuring import Findings, Subject, device_of
from pipeline.methods.world_model.contrastive import (
    Groups,
    energy,
    own_change,
    own_places,
    pushed,
    replaced,
)
from pipeline.methods.world_model.measures.encoding import Episodes, read_episodes
from pipeline.methods.world_model.measures.measure import measure_episodes
from pipeline.methods.world_model.measures.turning import turning_solid
from pipeline.methods.world_model.pictures.rollouts import decoded_frames, nearest_frames
from pipeline.methods.world_model.pictures.write import (
    draw_irreps,
    draw_latent_grid,
    draw_orbits,
    draw_rollouts,
    draw_traversals,
    state_angles,
)
from pipeline.methods.world_model.settings import ContrastiveConfig
from pipeline.world_models.homeomorphic_vae import HomeomorphicVAE
from pipeline.world_models.world_model import WorldModel


class ContrastiveEvaluation:
    """Float64 sums of one split; see `pipeline.methods.interface.Evaluation`.

    All ranks update at the same time, and each compares its share of all latents.
    """

    def __init__(self, model: WorldModel, config: ContrastiveConfig) -> None:
        self.model, self.config = model, config
        device = next(model.parameters()).device
        # Records, positive, hits, records with a negative, negative, spread, change, moved.
        self._sums = torch.zeros(8, dtype=torch.float64, device=device)
        self._groups = Groups()

    @torch.no_grad()
    def update(self, batch: Batch) -> None:
        model = self.model
        latent, following = model.latent(batch.source), model.latent(batch.target)
        predicted = model.predict(latent, batch.action)
        rows = latent, following, predicted, batch.action, batch.label, batch.valid
        for group in self._groups.add(*rows):
            self._compare(*group)

    def _compare(
        self,
        latents: torch.Tensor,
        following: torch.Tensor,
        predictions: torch.Tensor,
        actions: torch.Tensor,
        labels: torch.Tensor,
        is_valid: torch.Tensor,
    ) -> None:
        """Add the sums of this rank's share of a group."""
        model, config = self.model, self.config
        own = own_places(len(latents), latents.device)
        latent, following, predicted = latents[own], following[own], predictions[own]
        valid = is_valid[own].double()
        positive = energy(predicted, following, model.num_objects, config.sigma)
        # Valid records come first.
        count = is_valid.sum().long().clamp_min(1)
        distance = (count // (config.num_negatives + 1)).clamp_min(1)
        others = [latents[(own + j * distance) % count] for j in range(1, config.num_negatives + 1)]
        if config.same_episode_share and len(own):
            episodes = torch.where(is_valid > 0, labels, -1)
            share, rows = config.same_episode_share, slice(int(own[0]), int(own[-1]) + 1)
            others, _ = replaced(others, latents, episodes, rows, share)
        apart = torch.stack(
            [energy(latent, other, model.num_objects, config.sigma) for other in others]
        )
        pairs = zip(others, apart, strict=True)
        pushing = torch.stack([pushed(latent, *pair, config) for pair in pairs])
        has_negative = valid * (count > 1)
        moved = energy(latent, following, model.num_objects, config.sigma)
        parts = [
            valid,
            positive * valid,
            hits(predictions, following, is_valid, own) * valid,
            has_negative,
            pushing.mean(0) * has_negative,
            apart.mean(0) * has_negative,
            own_change(latent, following, actions[own], moved, config) * valid,
            moved * valid,
        ]
        self._sums += torch.stack(parts).sum(1)

    @torch.no_grad()
    def sums(self) -> torch.Tensor:
        for group in self._groups.rest():
            self._compare(*group)
        return self._sums

    def metrics(self, sums: torch.Tensor) -> dict[str, float]:
        count, positive, hits_at_1, num_negative, negative, spread, change, moved = sums.tolist()
        positive, negative = positive / count, negative / max(1.0, num_negative)
        return {
            "loss/total": positive + negative + self.config.change_weight * change / count,
            "loss/positive": positive,
            "loss/negative": negative,
            "hits_at_1": hits_at_1 / count,
            "latent_spread": spread / max(1.0, num_negative),
            "latent_change": moved / count,
        }


def hits(
    predicted: torch.Tensor, following: torch.Tensor, is_valid: torch.Tensor, own: torch.Tensor
) -> torch.Tensor:
    """Whether no other valid prediction of a group is nearer to a true latent, (B,).

    `predicted` are all predictions of the group, `following` the true latents at its positions
    `own`.
    """
    distances = torch.cdist(
        following.float().flatten(1),
        predicted.float().flatten(1),
        compute_mode="donot_use_mm_for_euclid_dist",
    )
    mine = distances.gather(1, own[:, None])
    nearer = (distances < mine) & (is_valid > 0)
    return (~nearer.any(1)).double()


def measure(subject: Subject) -> Findings:
    """See `pipeline.methods.world_model.measures`."""
    model = _model(subject)
    episodes = episodes_of(subject)
    return Findings(
        *measure_episodes(model, episodes, subject.manifest, subject.batch, device_of(model))
    )


def draw(subject: Subject) -> None:
    """The pictures that suit the world, below pictures/."""
    model, episodes, batch = _model(subject), episodes_of(subject), subject.batch
    device, step = device_of(model), subject.run.step
    folder = subject.run_dir / "pictures"
    folder.mkdir(exist_ok=True)
    if isinstance(model, HomeomorphicVAE):
        show = decoded_frames(model.decode, episodes, batch)
        draw_orbits(
            folder / "decoded_orbit.png",
            model,
            episodes,
            show,
            device,
            f"Latents moved by {model.group.name} and decoded, step {step}",
        )
    else:
        show = nearest_frames(model, episodes, batch, device)
    draw_rollouts(folder / "rollouts.png", model, episodes, show, device, f"Rollouts, step {step}")
    title = f"Latents of test states, step {step}"
    cells = subject.manifest.facts.cells
    draw_latent_grid(folder / "latent_grid.png", model, episodes, cells, batch, device, title)
    title = f"Latents of test states, split into irreps of {model.group.name}, step {step}"
    angles = state_angles(subject.manifest)
    draw_irreps(folder / "irreps.png", model, episodes, angles, batch, device, title)
    solid = turning_solid(subject.manifest, model.group)
    if solid is not None:
        title = f"A whole turn in 30 steps about each axis, step {step}"
        draw_traversals(folder / "traversal.png", model, episodes, solid, batch, device, title)


def episodes_of(subject: Subject) -> Episodes:
    """The episodes to measure; ValueError for a dataset without any."""
    return read_episodes(
        subject.manifest, subject.reader, subject.split, subject.run.group, subject.max_records
    )


def _model(subject: Subject) -> WorldModel:
    assert isinstance(subject.run.model, WorldModel)
    return subject.run.model
