"""Which rollouts keep to what training has seen, where it has not seen all."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from data_prep.settings.continuous_worlds import HeldOutConfig
from data_prep.store.manifest import Manifest
from data_prep.worlds.held_out import is_held_out
from data_prep.worlds.make import world_of
from pipeline.analysis.worlds.episodes import Episodes
from pipeline.config.schema import build


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
    held_out = manifest.generator.get("settings", {}).get("held_out")
    if held_out is not None:
        found.append(_by_pose(build(HeldOutConfig, dict(held_out)), episodes, horizons))
    return found


def seen_rollouts(
    manifest: Manifest, actions: np.ndarray, horizons: Sequence[int]
) -> dict[int, torch.Tensor] | None:
    """For each horizon whether the first so many actions of (N, H, A) are all known, (N,) bool.

    None for a dataset whose training knows all actions.
    """
    if manifest.generator.get("actions") is None:
        return None
    flat = actions.reshape(-1, actions.shape[-1])
    is_known = world_of(manifest).is_allowed(flat).reshape(actions.shape[:2])
    return {h: torch.from_numpy(is_known[:, :h].all(1)) for h in horizons}


def _by_pose(held_out: HeldOutConfig, episodes: Episodes, horizons: Sequence[int]) -> Division:
    """Whether neither the first nor the last orientation was held out of training."""
    every = np.arange(episodes.num_episodes)
    states = episodes.column("state", every, 0, 1)[:, 0]
    known = {}
    for horizon in horizons:
        last = episodes.column("next_state", every, 0, horizon)[:, -1]
        is_new = is_held_out(states, held_out) | is_held_out(last, held_out)
        known[horizon] = torch.from_numpy(~is_new)
    return Division(("known_poses", "held_out_poses"), known)
