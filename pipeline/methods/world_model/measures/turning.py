"""Objects that turn in space: hits against close poses, and along whole turns (paper, HH and TH).

Both need frames that are not in any episode; they are drawn with the solid of the manifest.

* *Hard hits.* The six negatives of an episode are its true next pose turned by 2 pi / 30 one way
  or the other about x, y and z.
* *Traversals.* From the first pose of an episode 30 steps of 2 pi / 30 about the upright axis y
  (yaw), the axis x to the right (pitch) or the line of sight z (roll).
"""

from typing import NamedTuple

import numpy as np
import torch

from orbit.core.groups import Group, quaternions
from orbit.core.rendering.solid import draw_solid, turned
from orbit.core.store.facts import Solid
from orbit.core.store.manifest import Manifest
from pipeline.methods.world_model.measures.encoding import (
    Episodes,
    MeasuredModel,
    encode_frames,
    encode_latents,
    roll_out,
)
from pipeline.metrics.latents import traversal_hits
from pipeline.metrics.ranking import hard_ranks, hits_at

NUM_STEPS = 30
AXES = {"yaw": (0.0, 1.0, 0.0), "pitch": (1.0, 0.0, 0.0), "roll": (0.0, 0.0, 1.0)}
MAX_HARD_EPISODES = 1000
NUM_TRAVERSALS = 20
HARD_HITS_AT = (1, 5)


class Traversals(NamedTuple):
    """Turns of T first poses about one axis: frames (T, K + 1, C, ...) as stored, latents of them
    and rollouts from the first, (T, K + 1, ...), and whether each step 1 to K is a hit, (T, K)."""

    frames: np.ndarray
    encoded: torch.Tensor
    predicted: torch.Tensor
    hits: torch.Tensor


def turning_solid(manifest: Manifest, group: Group) -> Solid | None:
    """The object in the pictures if actions are rotations of space, else None."""
    is_turned = manifest.group == "so3" and manifest.action == group.action_components
    return manifest.facts.solid if is_turned else None


def turn_by(group: Group, name: str, num_steps: int) -> np.ndarray:
    """The action (1, A) of this number of steps about an axis; negative numbers turn back."""
    q = quaternions.from_axis(AXES[name], 360 / NUM_STEPS * num_steps)
    return np.asarray(group.encode(q[None].float()).numpy())


@torch.no_grad()
def hard_hit_metrics(
    model: MeasuredModel, episodes: Episodes, solid: Solid, batch: int, device: torch.device
) -> dict[str, float]:
    """`hard_hits_at_K/horizon_1` of the first steps of up to 1000 episodes."""
    ranks = []
    turns = [turn_by(episodes.group, name, sign) for name in AXES for sign in (1, -1)]
    for numbers in episodes.blocks(max(1, batch // (2 + len(turns)))):
        numbers = numbers[numbers < MAX_HARD_EPISODES]
        if not len(numbers):
            break
        after = episodes.column("next_state", numbers, 0, 1)[:, 0]
        close = [draw_solid(solid, turned(after, turn.repeat(len(after), 0))) for turn in turns]
        frames = np.concatenate([episodes.frames(numbers, 0, [0, 1]), np.stack(close, 1)], 1)
        _, latents = encode_frames(model, frames, batch, device)
        actions = episodes.actions(numbers, 0, 1)
        predicted = roll_out(model, latents[:, 0], actions, [1])[:, 0]
        ranks.append(hard_ranks(latents[:, 1], predicted, latents[:, 2:]))
    rank = torch.cat(ranks)
    return {f"hard_hits_at_{k}/horizon_1": hits_at(k, rank) for k in HARD_HITS_AT}


@torch.no_grad()
def traverse(
    model: MeasuredModel,
    episodes: Episodes,
    solid: Solid,
    name: str,
    num: int,
    batch: int,
    device: torch.device,
) -> Traversals:
    """Turn the first poses of the first `num` episodes once about an axis of `AXES`."""
    numbers = np.arange(min(num, episodes.num_episodes))
    action = turn_by(episodes.group, name, 1).repeat(len(numbers), 0)
    states = [episodes.column("state", numbers, 0, 1)[:, 0]]
    for _ in range(NUM_STEPS):
        states.append(turned(states[-1], action))
    frames = np.stack([draw_solid(solid, state) for state in states], 1)
    encoded = encode_latents(model, frames, batch, device).unflatten(0, frames.shape[:2])
    actions = torch.from_numpy(action)[:, None].expand(-1, NUM_STEPS, -1)
    predicted = roll_out(model, encoded[:, 0], actions, range(NUM_STEPS + 1))
    return Traversals(frames, encoded, predicted, traversal_hits(encoded[:, 1:], predicted[:, 1:]))


def traversal_metrics(
    model: MeasuredModel, episodes: Episodes, solid: Solid, batch: int, device: torch.device
) -> dict[str, float]:
    """`traversal_hits_at_1/AXIS`: share of hits among the steps of up to 20 turns."""
    return {
        f"traversal_hits_at_1/{name}": float(
            traverse(model, episodes, solid, name, NUM_TRAVERSALS, batch, device)
            .hits.double()
            .mean()
        )
        for name in AXES
    }
