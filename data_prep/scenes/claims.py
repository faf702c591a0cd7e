"""What the frames of a record must show, by the scene that the manifest names.

Used by verification: each check gets the source and target frames (B, C, ...) of some
records, their elements and columns, and says which records are at fault.
"""

from collections.abc import Mapping

import numpy as np
import torch

from data_prep.scenes.blocked import paint_blocks
from data_prep.store.manifest import Manifest
from pipeline.groups import Group, make_group

INTERPOLATION_TOLERANCE = 2.0
"""Largest difference in stored units, on average, for a group that interpolates."""


def has_claims(manifest: Manifest) -> bool:
    """Whether records of this dataset can be checked against their frames."""
    return manifest.target_is_action_on_source or _scene(manifest) in ("blocked", "composite")


def faults(
    manifest: Manifest,
    source: np.ndarray,
    target: np.ndarray,
    action: np.ndarray,
    columns: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Which records are not what they claim to be, (B,) bool."""
    group = make_group(manifest.group)
    if manifest.target_is_action_on_source:
        everywhere = np.ones_like(target, bool)
        return _differs(group, source, target, action, everywhere)
    if _scene(manifest) == "blocked":
        side = manifest.generator["side"]
        hidden = np.zeros((len(source), 1, *source.shape[1:]), np.uint8)
        block = paint_blocks(hidden, columns["block"], side)[:, 0]
        g = group.decode(torch.from_numpy(action))
        turned = group.act_on_image(torch.from_numpy(block), g).numpy()
        return _differs(group, source, target, action, (block == 0) & (turned == 0))
    ends = (("source", source), ("target", target))
    wrong = [_shows_no_background(frames, columns, end) for end, frames in ends]
    return np.asarray(wrong[0] | wrong[1])


def _scene(manifest: Manifest) -> str:
    return str(manifest.generator.get("scene", ""))


def _differs(
    group: Group, source: np.ndarray, target: np.ndarray, action: np.ndarray, where: np.ndarray
) -> np.ndarray:
    """Records whose target is not the action on the source at the places of `where`."""
    g = group.decode(torch.from_numpy(action))
    if group.is_exact:
        moved = group.act_on_image(torch.from_numpy(source), g).numpy()
        return np.asarray(((moved != target) & where).reshape(len(source), -1).any(1))
    moved = group.act_on_image(torch.from_numpy(source.astype(np.float32)), g).numpy()
    error = np.where(where, np.abs(moved - target.astype(np.float32)), 0.0)
    return np.asarray(error.reshape(len(source), -1).mean(1) > INTERPOLATION_TOLERANCE)


def _shows_no_background(
    frames: np.ndarray, columns: Mapping[str, np.ndarray], end: str
) -> np.ndarray:
    """Records whose background is covered where their mask is 0."""
    is_clear = columns[f"{end}_mask"] == 0
    covered = (frames != columns["background"]) & is_clear
    return np.asarray(covered.reshape(len(frames), -1).any(1))
