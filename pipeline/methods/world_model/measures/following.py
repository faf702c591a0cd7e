"""Encoding episodes and rolling them out: errors of embeddings, hits, seen and unseen rollouts.

    equivariance of S     | rho_Y(g) S(s) - S(g s) |         at all times that are read
    equivariance of E     | rho_Z(g) E(y) - E(rho_Y(g) y) |  at the start
    distances under S     | |S(s) - S(s')| - |S(g s) - S(g s')| |

for all rotated copies, each with the norm of S(s), or of E(y), of the same samples, and the typical
distance of the S(s) of different episodes.

Errors of embeddings, which are large, are summed block by block; latents at the start and at the
horizons are kept, (copy, episode, ...) each.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from orbit.core.store.facts import HeldOut
from orbit.core.store.manifest import Manifest
from pipeline.data.packing import slices
from pipeline.methods.world_model.measures.encoding import (
    Episodes,
    MeasuredModel,
    acted,
    encode_frames,
    partners,
    roll_out,
)
from pipeline.metrics.images import DistanceErrors, ErrorsByElement, distances, lengths
from pipeline.metrics.latents import Drift, TypicalDistance, latent_spread, share_distinct
from pipeline.metrics.ranking import hits_at, mean_reciprocal_rank, rank_predictions


class EmbeddingErrors:
    """`embedding`, `encoder`: equivariance; `distance`: distance invariance.

    The first two stay empty if the model has no action of the group there. States s and s' are the
    starts of two episodes, see `partners`. `typical` is the distance of untransformed S(s) at all
    times, `typical_start` that at the start.
    """

    def __init__(self, model: MeasuredModel) -> None:
        self.model = model
        self.embedding, self.encoder = (ErrorsByElement(model.group) for _ in range(2))
        self.distance = DistanceErrors(model.group)
        self.typical, self.typical_start = TypicalDistance(), TypicalDistance()

    @torch.no_grad()
    def add(self, embeddings: Sequence[torch.Tensor], elements: Sequence[torch.Tensor]) -> None:
        """Add, for each copy, embeddings (N, K, ...) of the next N episodes at K times, the start
        first, and elements (N, ...). N is even except in the last call."""
        own, *moved = embeddings
        self.typical.add(own.flatten(0, 1)[:, None])
        self.typical_start.add(own[:, :1])
        for each, g in zip(moved, elements[1:], strict=True):
            self._add_embedding(own, each, g)
            self._add_encoder(own[:, 0], g)
            first, second = partners(g)
            plain, after = (distances(y[first, 0], y[second, 0]) for y in (own, each))
            self.distance.add(g[first], plain, after, lengths(own[first, 0]))

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
    """`known[h]` (N,) bool marks the rollouts of h steps that belong to the first of `names`; the
    others belong to the second."""

    names: tuple[str, str]
    known: dict[int, torch.Tensor]


def divisions(
    manifest: Manifest, episodes: Episodes, actions: np.ndarray, horizons: Sequence[int]
) -> list[Division]:
    """All divisions of a dataset: by actions (N, H, A), and by the poses at both ends of a
    rollout."""
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
    """For each horizon h, whether the first h actions of (N, H, A) are all seen in training, (N,)
    bool.

    None for a dataset whose training uses all actions.
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
    """Latents of G copies of N episodes: `start` (G, N, ...); by horizon `true` and
    `predicted`, the rollouts from the start, (G, N, ...) float32 each.

    `elements` are the copies' group elements (N, ...); `actions` (G, N, H, A).
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
    """Encode and roll out; the untransformed trajectories up to `drift_steps` steps, and the
    rotated copies up to the last of `horizons`."""
    times = [0, *horizons]
    all_times = range(drift_steps + 1)
    every = np.arange(episodes.num_episodes)
    elements = [episodes.elements(every, copy) for copy in range(episodes.num_copies)]
    embedding = EmbeddingErrors(model)
    drift = Drift(drift_steps)
    blocks: list[tuple[torch.Tensor, ...]] = []
    # An even number of episodes, so that pairs stay together.
    for numbers in episodes.blocks(2 * max(1, batch // (2 * drift_steps + 2))):
        copies = []
        for copy in range(episodes.num_copies):
            steps = list(all_times) if copy == 0 else times
            y, z = _encoded(model, episodes, numbers, copy, steps, times, batch, device)
            actions = episodes.actions(numbers, copy, max(steps))
            rolled = roll_out(model, z[:, 0], actions, steps)
            if copy == 0:
                drift.add(z, rolled)
                z, rolled = z[:, times], rolled[:, times]
            copies.append((y, z, rolled, actions[:, : times[-1]]))
        embedding.add([y for y, *_ in copies], [g[numbers] for g in elements])
        blocks.append(
            tuple(torch.stack(part).cpu() for part in list(zip(*copies, strict=True))[1:])
        )
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
    copy: int,
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
        frames = episodes.frames(numbers, copy, some)
        y, z = encode_frames(model, frames, batch, device)
        embeddings.append(y[:, [place for place, step in enumerate(some) if step in kept]])
        latents.append(z)
    return torch.cat(embeddings, 1), torch.cat(latents, 1)


HITS_AT = (1, 5, 10)


def hit_metrics(
    followed: Followed, divisions: Sequence[Division], device: torch.device
) -> dict[str, float]:
    """Hits, ranks, ties and spreads by horizon, over untransformed trajectories.

    If trajectories are divided, for example by whether training used their actions, hits and errors
    are also measured for each part.
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
    """The names and episodes of both parts; empty if one part holds all episodes."""
    known, (first, second) = division.known[horizon], division.names
    if bool(known.all()) or not bool(known.any()):
        return ()
    return ((first, known), (second, ~known))
