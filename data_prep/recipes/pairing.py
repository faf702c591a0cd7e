"""From the views of a scene to the frames and records of a block."""

from typing import Any

import numpy as np
import torch

from data_prep.scenes import Views
from data_prep.store.shard import Block
from pipeline.groups import Group


def pair_views(group: Group, views: Views, g: torch.Tensor) -> Block:
    """Records from each image to its k moved frames, for elements `g` (n, k, ...).

    Frames that an identity would repeat are left out; rows count from 0.
    """
    num_per_image = g.shape[1]
    flat = g.flatten(0, 1)
    is_moved = (group.bin_index(flat) != 0).view(g.shape[:2]).numpy()
    is_new = np.concatenate([np.ones((len(g), 1), bool), is_moved], axis=1)
    rows = np.cumsum(is_new).reshape(is_new.shape) - 1
    source = np.repeat(rows[:, :1], num_per_image, axis=1)
    target = np.where(is_moved, rows[:, 1:], source)
    # The view that a record's source and target show: 0 is the image itself.
    seen = np.where(is_moved, np.arange(1, num_per_image + 1), 0)
    columns: dict[str, Any] = {
        name: np.repeat(values, num_per_image, axis=0)
        for name, values in views.image_columns.items()
    }
    images = np.arange(len(g))[:, None]
    for name, values in views.view_columns.items():
        columns[f"source_{name}"] = np.repeat(values[:, 0], num_per_image, axis=0)
        columns[f"target_{name}"] = values[images, seen].reshape(-1, *values.shape[2:])
    return Block(
        views.frames[is_new],
        source.reshape(-1),
        target.reshape(-1),
        group.encode(flat).numpy(),
        np.repeat(views.label, num_per_image),
        columns,
        views.constant,
        _weights(is_new) if views.is_permuted else None,
    )


def _weights(is_new: np.ndarray) -> np.ndarray:
    """The first frame of each image counts for all of its frames, (F,) int64."""
    weights = np.zeros(is_new.shape, np.int64)
    weights[:, 0] = is_new.sum(1)
    return np.asarray(weights[is_new])


def with_all_sources(group: Group, block: Block, kept: torch.Tensor) -> Block:
    """Records from every member of an orbit, given those from its first member in full.

    Each member is the source of the elements at the positions `kept`.
    """
    elements = group.elements()
    num, num_kept = len(elements), len(kept)
    every, each = kept.repeat(num), torch.arange(num).repeat_interleave(num_kept)
    reached = group.element_index(group.compose(elements[every], elements[each])).numpy()
    from_member, to_member = each.numpy(), reached
    members = block.target.reshape(-1, num)
    columns: dict[str, Any] = {}
    for name, values in block.columns.items():
        by_member = values.reshape(-1, num, *values.shape[1:])
        if name.startswith("source_"):
            shown = block.columns[f"target_{name.removeprefix('source_')}"]
            by_member = shown.reshape(by_member.shape)[:, from_member]
        elif name.startswith("target_"):
            by_member = by_member[:, to_member]
        else:
            by_member = np.repeat(by_member, num_kept, axis=1)
        columns[name] = by_member.reshape(-1, *values.shape[1:])
    return Block(
        block.frames,
        members[:, from_member].reshape(-1),
        members[:, to_member].reshape(-1),
        group.encode(elements[every]).repeat(len(members), 1).numpy(),
        np.repeat(block.label, num_kept),
        columns,
        block.constant,
        block.weights,
    )
