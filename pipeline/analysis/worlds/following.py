"""One pass over all episodes: every frame that is needed goes through the model once.

What depends on embeddings, which are large, is summed on the way; latents at the start and
at the horizons are kept, (twin, episode, ...) each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.analysis.worlds.embedding_errors import EmbeddingErrors
from pipeline.analysis.worlds.encoding import encode_frames, roll_out
from pipeline.analysis.worlds.episodes import Episodes
from pipeline.analysis.worlds.face import WorldModel
from pipeline.data.places import slices
from pipeline.metrics.drift import Drift


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
    model: WorldModel,
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
    model: WorldModel,
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
