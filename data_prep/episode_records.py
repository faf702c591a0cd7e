"""Whole trajectories of a dataset with episodes, for pictures of them."""

from dataclasses import dataclass

import numpy as np
import torch

from data_prep.contact_sheet import action_names
from data_prep.store.manifest import Manifest
from data_prep.store.reader import PairStore
from data_prep.worlds.make import is_world_known, world_of
from pipeline.groups import make_group


@dataclass(frozen=True)
class Trajectories:
    """E episodes, each with its K transforms (the untransformed one first).

    `frames` (E, K, T + 1, C, H, W) within [0, 1], C being 1 or 3: of frames that stack
    several pictures the last. `actions` E lists of K lists of T names; `elements` E lists of
    K names.
    """

    numbers: list[int]
    frames: np.ndarray
    actions: list[list[list[str]]]
    elements: list[list[str]]


def read_trajectories(
    store: PairStore, split: str, num_episodes: int, num_steps: int
) -> Trajectories:
    """The first `num_steps` steps of evenly spread episodes; ValueError for an unknown split."""
    manifest, reader = store.manifest, store.split(split)
    generator = manifest.generator
    num, length, num_elements = (
        int(generator[key][split]) for key in ("num_episodes", "episode_length", "num_elements")
    )
    numbers = np.unique(np.linspace(0, num - 1, min(num, num_episodes)).round().astype(int))
    steps = np.arange(min(length, num_steps))
    first = (numbers[:, None] * num_elements + np.arange(num_elements)) * length
    rows = (first[..., None] + steps).reshape(-1)
    records = reader.read(rows)
    shape = (len(numbers), num_elements, len(steps))
    before = records.source.reshape(*shape, *records.source.shape[1:])
    after = records.target.reshape(before.shape)[:, :, -1:]
    world = world_of(manifest) if is_world_known(manifest) else None
    action = records.action
    actions = world.action_names(action) if world else action_names(manifest, action)
    names = np.array(actions, object).reshape(shape)
    codes = reader.read_column("group_element", rows[:: len(steps)])
    group = make_group(manifest.group)
    elements = np.array(group.names(group.decode(torch.from_numpy(codes))), object)
    return Trajectories(
        numbers.tolist(),
        _pictures(np.concatenate([before, after], 2), manifest),
        names.tolist(),
        elements.reshape(shape[:2]).tolist(),
    )


def _pictures(frames: np.ndarray, manifest: Manifest) -> np.ndarray:
    """Values within [0, 1]; of stacked pictures the last."""
    num_channels = manifest.frames.shape[0]
    kept = 3 if num_channels % 3 == 0 else 1
    low, high = manifest.frames.stored_range
    return np.asarray((frames[:, :, :, -kept:].astype(np.float32) - low) / (high - low))
