"""Acting on many images with several elements each."""

import numpy as np
import torch

from data_prep.scenes.axis_motions import axis_motions, moved_by
from pipeline.groups import Group
from pipeline.groups.targets import make_targets


def repeated(values: np.ndarray, num: int) -> torch.Tensor:
    """Each of n values `num` times in a row, (n * num, ...)."""
    return torch.from_numpy(np.ascontiguousarray(values)).repeat_interleave(num, dim=0)


def move_images(
    group: Group, images: np.ndarray, g: torch.Tensor, out: np.ndarray, is_binary: bool = False
) -> None:
    """Images (n, C, ...) under elements (n, k, ...), into `out` (n, k, C, ...) of their dtype."""
    num_images, num_elements = g.shape[:2]
    motions = axis_motions(group.name, images.ndim - 2)
    if motions is None:
        action = group.encode(g.flatten(0, 1))
        made = make_targets(group, repeated(images, num_elements), action, is_binary)
        out[:] = made.numpy().reshape(out.shape)
        return
    index = group.element_index(g.flatten(0, 1)).view(g.shape[:2]).numpy()
    for column in range(num_elements):
        for element in np.unique(index[:, column]).tolist():
            rows = np.flatnonzero(index[:, column] == element)
            if len(rows) == num_images:
                np.copyto(out[:, column], moved_by(images, motions[element]))
            else:
                out[rows, column] = moved_by(images[rows], motions[element])


def moved_each(group: Group, images: np.ndarray, g: torch.Tensor) -> np.ndarray:
    """Images (n, C, ...), each under its own element (n, ...), by a group that moves values."""
    moved = np.empty((len(images), 1, *images.shape[1:]), images.dtype)
    move_images(group, images, g.unsqueeze(1), moved)
    return moved[:, 0]


INTERPOLATION_TOLERANCE = 2.0
"""Largest difference in stored units, on average, to a target that somebody else interpolated."""


def differs_from_action(
    group: Group, source: np.ndarray, target: np.ndarray, action: np.ndarray
) -> np.ndarray:
    """Which targets (B, C, ...) are not the action on their sources, (B,) bool.

    Exactly for an exact group, else within `INTERPOLATION_TOLERANCE`.
    """
    g = group.decode(torch.from_numpy(action))
    if group.is_exact:
        moved = moved_each(group, source, g)
        return np.asarray((moved != target).reshape(len(source), -1).any(1))
    moved = group.act_on_image(torch.from_numpy(source.astype(np.float32)), g).numpy()
    error = np.abs(moved - target.astype(np.float32))
    return np.asarray(error.reshape(len(source), -1).mean(1) > INTERPOLATION_TOLERANCE)


def with_identity(group: Group, g: torch.Tensor) -> torch.Tensor:
    """Elements (n, k, ...) with the identity before them, (n, 1 + k, ...)."""
    first = group.identity(len(g)).to(g.dtype)
    return torch.cat([first.unsqueeze(1), g], dim=1)
