"""Following episodes: rollouts, which of them were seen, hits, embeddings block by block.

    equivariance of S     | rho_Y(g) S(s) - S(g s) |         at all times that are read
    equivariance of E     | rho_Z(g) E(y) - E(rho_Y(g) y) |  at the start
    distances under S     | |S(s) - S(s')| - |S(g s) - S(g s')| |

for all twins. Each goes with the norm of S(s), or of E(y), of the same samples.

What depends on embeddings, which are large, is summed on the way; latents at the start and
at the horizons are kept, (twin, episode, ...) each.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from orbit.core.store.facts import HeldOut
from orbit.core.store.manifest import Manifest
from pipeline.data.places import slices
from pipeline.methods.world_model.measures.encoding import (
    Episodes,
    MeasuredModel,
    acted,
    encode_frames,
    partners,
    roll_out,
)
from pipeline.metrics.images import ErrorsByElement, change_of_distance, distances, lengths
from pipeline.metrics.latents import Drift, latent_spread, share_distinct
from pipeline.metrics.ranking import hits_at, mean_reciprocal_rank, rank_predictions


class EmbeddingErrors:
    """`embedding`, `encoder`: equivariance; `distance`: distance invariance.

    The first two stay empty where the model says that the group has no action there. States
    s and s' are the starts of two episodes, see `pairing.py`.
    """

    def __init__(self, model: MeasuredModel) -> None:
        self.model = model
        self.embedding, self.encoder, self.distance = (
            ErrorsByElement(model.group) for _ in range(3)
        )

    @torch.no_grad()
    def add(self, embeddings: Sequence[torch.Tensor], elements: Sequence[torch.Tensor]) -> None:
        """For each twin an (N, K, ...) of the next N episodes at K times, the start first, and
        elements (N, ...). N is even but for the last ones."""
        own, *moved = embeddings
        for each, g in zip(moved, elements[1:], strict=True):
            self._add_embedding(own, each, g)
            self._add_encoder(own[:, 0], g)
            first, second = partners(g)
            pairs = (own[first, 0], own[second, 0], each[first, 0], each[second, 0])
            self.distance.add(g[first], change_of_distance(*pairs), lengths(own[first, 0]))

    def _add_embedding(self, own: torch.Tensor, moved: torch.Tensor, g: torch.Tensor) -> None:
        own, moved, g = own.flatten(0, 1), moved.flatten(0, 1), g.repeat_interleave(own.shape[1], 0)
        turned = acted(self.model.act_on_embedding, own, g)
        if turned is not None:
            self.embedding.add(g, distances(turned, moved), lengths(own))

    def _add_encoder(self, own: torch.Tensor, g: torch.Tensor) -> None:
        latent = self.model.encode(own).float()
        turned = acted(self.model.act_on_embedding, own, g)
        wanted = acted(self.model.act_on_latent, latent, g)
        if turned is not None and wanted is not None:
            found = self.model.encode(turned).float()
            self.encoder.add(g, distances(wanted, found), lengths(latent))


class Division(NamedTuple):
    """`known[h]` (N,) bool: rollouts of h steps that go by the first of `names`, and the others
    by the second."""

    names: tuple[str, str]
    known: dict[int, torch.Tensor]


def divisions(
    manifest: Manifest, episodes: Episodes, actions: np.ndarray, horizons: Sequence[int]
) -> list[Division]:
    """All of a dataset: by actions (N, H, A), and by the poses at both ends of a rollout."""
    found = []
    seen = seen_rollouts(manifest, actions, horizons)
    if seen is not None:
        found.append(Division(("seen_actions", "unseen_actions"), seen))
    held_out = manifest.facts.held_out
    if held_out is not None:
        found.append(_by_pose(held_out, episodes, horizons))
    return found


def seen_rollouts(
    manifest: Manifest, actions: np.ndarray, horizons: Sequence[int]
) -> dict[int, torch.Tensor] | None:
    """For each horizon whether the first so many actions of (N, H, A) are all known, (N,) bool.

    None for a dataset whose training knows all actions.
    """
    seen = manifest.facts.seen_actions
    if seen is None:
        return None
    is_known = seen.include(actions.reshape(-1, actions.shape[-1])).reshape(actions.shape[:2])
    return {h: torch.from_numpy(is_known[:, :h].all(1)) for h in horizons}


def _by_pose(held_out: HeldOut, episodes: Episodes, horizons: Sequence[int]) -> Division:
    """Whether neither the first nor the last orientation was held out of training."""
    every = np.arange(episodes.num_episodes)
    states = episodes.column("state", every, 0, 1)[:, 0]
    known = {}
    for horizon in horizons:
        last = episodes.column("next_state", every, 0, horizon)[:, -1]
        is_new = held_out.include(states) | held_out.include(last)
        known[horizon] = torch.from_numpy(~is_new)
    return Division(("known_poses", "held_out_poses"), known)


@dataclass(frozen=True)
class Followed:
    """Latents of G twins of N episodes: `start` (G, N, ...); by horizon `true` and
    `predicted`, the rollouts from the start, (G, N, ...) float32 each.

    `elements` are the twins' group elements (N, ...); `actions` (G, N, H, A).
    """

    start: torch.Tensor
    true: dict[int, torch.Tensor]
    predicted: dict[int, torch.Tensor]
    elements: list[torch.Tensor]
    actions: torch.Tensor
    embedding: EmbeddingErrors
    drift: Drift


def follow(
    model: MeasuredModel,
    episodes: Episodes,
    horizons: Sequence[int],
    drift_steps: int,
    batch: int,
    device: torch.device,
) -> Followed:
    """Encode and roll out; the untransformed trajectories up to `drift_steps` steps, and
    their twins up to the last of `horizons`."""
    times = [0, *horizons]
    all_times = range(drift_steps + 1)
    every = np.arange(episodes.num_episodes)
    elements = [episodes.elements(every, twin) for twin in range(episodes.num_twins)]
    embedding = EmbeddingErrors(model)
    drift = Drift(drift_steps)
    blocks: list[tuple[torch.Tensor, ...]] = []
    # An even number of episodes, so that no pair of them is torn apart.
    for numbers in episodes.blocks(2 * max(1, batch // (2 * drift_steps + 2))):
        twins = []
        for twin in range(episodes.num_twins):
            steps = list(all_times) if twin == 0 else times
            y, z = _encoded(model, episodes, numbers, twin, steps, times, batch, device)
            actions = episodes.actions(numbers, twin, max(steps))
            rolled = roll_out(model, z[:, 0], actions, steps)
            if twin == 0:
                drift.add(z, rolled)
                z, rolled = z[:, times], rolled[:, times]
            twins.append((y, z, rolled, actions[:, : times[-1]]))
        embedding.add([y for y, *_ in twins], [g[numbers] for g in elements])
        blocks.append(tuple(torch.stack(part).cpu() for part in list(zip(*twins, strict=True))[1:]))
    true, rolled, actions = (torch.cat(part, 1) for part in zip(*blocks, strict=True))
    return Followed(
        start=true[:, :, 0],
        true={h: true[:, :, 1 + k] for k, h in enumerate(horizons)},
        predicted={h: rolled[:, :, 1 + k] for k, h in enumerate(horizons)},
        elements=elements,
        actions=actions,
        embedding=embedding,
        drift=drift,
    )


def _encoded(
    model: MeasuredModel,
    episodes: Episodes,
    numbers: np.ndarray,
    twin: int,
    steps: Sequence[int],
    kept: Sequence[int],
    batch: int,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings (N, K, ...) at the times `kept`, and latents (N, T, ...) at all `steps`, which
    are read and encoded about `batch` frames at a time."""
    embeddings, latents = [], []
    for part in slices(len(steps), max(1, batch // len(numbers))):
        some = list(steps[part])
        frames = episodes.frames(numbers, twin, some)
        y, z = encode_frames(model, frames, batch, device)
        embeddings.append(y[:, [place for place, step in enumerate(some) if step in kept]])
        latents.append(z)
    return torch.cat(embeddings, 1), torch.cat(latents, 1)


HITS_AT = (1, 5, 10)


def hit_metrics(
    followed: Followed, divisions: Sequence[Division], device: torch.device
) -> dict[str, float]:
    """Hits, ranks and how far to trust them, by horizon, over untransformed trajectories.

    Where trajectories are divided (by whether training knew their actions, say), hits and errors
    are also measured for each side of the division.
    """
    metrics: dict[str, float] = {}
    for horizon, true in followed.true.items():
        true, predicted = true[0].to(device), followed.predicted[horizon][0].to(device)
        ranks = rank_predictions(true, predicted)
        end = f"horizon_{horizon}"
        metrics |= rank_metrics(ranks.rank, end)
        metrics[f"hits_at_1_strict/{end}"] = hits_at(1, ranks.rank + ranks.num_tied)
        metrics[f"ties/{end}"] = float((ranks.num_tied > 0).double().mean())
        metrics[f"latent_spread/{end}"] = latent_spread(true)
        metrics[f"distinct_latents/{end}"] = share_distinct(true)
        error = distances(true, predicted).cpu()
        for name, chosen in (part for each in divisions for part in _split(each, horizon)):
            metrics |= rank_metrics(ranks.rank[chosen.to(device)], f"{end}/{name}")
            typical = math.sqrt(2) * metrics[f"latent_spread/{end}"]
            if typical > 0:
                metrics[f"rollout_error/{end}/{name}"] = float(error[chosen].mean()) / typical
    return metrics


def rank_metrics(rank: torch.Tensor, end: str) -> dict[str, float]:
    """`hits_at_K/END` and `mrr/END` of ranks (N,)."""
    metrics = {f"hits_at_{k}/{end}": hits_at(k, rank) for k in HITS_AT}
    return {**metrics, f"mrr/{end}": mean_reciprocal_rank(rank)}


def _split(division: Division, horizon: int) -> tuple[tuple[str, torch.Tensor], ...]:
    """Both parts, unless one of them is empty and the other says nothing new."""
    known, (first, second) = division.known[horizon], division.names
    if bool(known.all()) or not bool(known.any()):
        return ()
    return ((first, known), (second, ~known))
