"""What the frames of a record must show, by the scene that the manifest names.

Used by verification: each check gets the source and target frames (B, C, ...) of some
records, their elements and columns, and says which records are at fault.
"""

from collections.abc import Mapping

import numpy as np
import torch

from data_prep.drawing.backgrounds import plain_backdrop
from data_prep.scenes.acting import differs_from_action, moved_each
from data_prep.scenes.kinds import WHITE, is_blue
from orbit.core.groups import Group, make_group
from orbit.core.rendering.rasteriser import FILLING
from orbit.core.store.facts import in_block
from orbit.core.store.manifest import Manifest
from orbit.core.store.origin import Orbits, Table

CUT = 127.5
ROUNDING_TOLERANCE = 1.0
"""Largest difference, in stored units, if this program interpolated and rounded."""
SLACK = 1e-4
"""What rounding makes of a share of 0 or 1."""
POSES = ("source_pose", "target_pose")
POSE_TOLERANCE = 1e-2
"""Largest angle, in radians, between a pose and the one to which an element leads."""
OUTLINE = 1.0
"""Largest distance, in pixels, from the centre of a pixel on an outline to the outline."""


def what_is_checked(manifest: Manifest) -> str | None:
    """A clause that says what can be checked of a record's frames; None if nothing can."""
    if manifest.target_is_action_on_source or _scene(manifest) in ("blocked", "checkerboard"):
        return "pairs recomputed"
    if _has_poses(manifest):
        return "elements compared with poses"
    if _scene(manifest) == "views":
        return "backdrops compared"
    if _scene(manifest) != "composite":
        return None
    return "objects recomputed" if _acts_on_pixels(manifest) else "backgrounds compared"


def faults(
    manifest: Manifest,
    source: np.ndarray,
    target: np.ndarray,
    action: np.ndarray,
    columns: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Whether each record contradicts its own columns, (B,) bool."""
    group = make_group(manifest.group)
    if manifest.target_is_action_on_source and isinstance(manifest.origin, Table):
        return differs_from_action(group, source, target, action)
    if manifest.target_is_action_on_source:
        everywhere = np.ones_like(target, bool)
        is_binary = manifest.frames.values == "binary"
        return _differs(group, source, target, action, everywhere, is_binary)
    if _has_poses(manifest):
        before, after, g = (
            group.decode(torch.from_numpy(vectors))
            for vectors in (*(columns[name] for name in POSES), action)
        )
        off = group.distance(group.compose(g, before), after)
        return np.asarray(off.numpy() > POSE_TOLERANCE)
    if _scene(manifest) == "blocked":
        assert isinstance(manifest.origin, Orbits)
        assert manifest.origin.block_side is not None
        side = manifest.origin.block_side
        hidden = in_block(columns["block"], side, source.shape[2:])
        block = np.where(hidden[:, None], np.uint8(255), np.zeros_like(source))
        g = group.decode(torch.from_numpy(action))
        turned = group.act_on_image(torch.from_numpy(block), g).numpy()
        return _differs(group, source, target, action, (block == 0) & (turned == 0))
    if _scene(manifest) == "checkerboard":
        return _shows_another_board(group, source, target, action)
    ends = (("source", source), ("target", target))
    if _scene(manifest) == "views":
        return np.asarray(_covers_backdrop(source) | _covers_backdrop(target))
    wrong = [_shows_no_background(frames, columns, end) for end, frames in ends]
    if _acts_on_pixels(manifest):
        wrong.append(_shows_another_object(group, source, target, action, columns))
    return np.asarray(np.any(wrong, axis=0))


def _has_poses(manifest: Manifest) -> bool:
    """Whether the poses of both ends are known, which fix the element."""
    return manifest.columns.keys() >= set(POSES)


def _acts_on_pixels(manifest: Manifest) -> bool:
    try:
        make_group(manifest.group).check_spatial_shape(manifest.frames.shape[1:])
    except ValueError:
        return False
    return True


def _shows_another_object(
    group: Group,
    source: np.ndarray,
    target: np.ndarray,
    action: np.ndarray,
    columns: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Records whose target does not show the moved object: by its mask, and by its colour in pixels
    that the object covers completely, if the group only moves pixels."""
    g = group.decode(torch.from_numpy(action))
    mask = columns["source_mask"].astype(np.float32)
    moved = group.act_on_image(torch.from_numpy(mask), g).numpy()
    error = np.abs(moved - columns["target_mask"].astype(np.float32))
    wrong = error.reshape(len(source), -1).max(1) > ROUNDING_TOLERANCE
    if group.is_exact:
        wrong |= _differs(
            group, source, target, action, np.broadcast_to(moved == 255, target.shape)
        )
    return np.asarray(wrong)


def _shows_another_board(
    group: Group, source: np.ndarray, target: np.ndarray, action: np.ndarray
) -> np.ndarray:
    """Records whose digit is not the turned one, or whose background differs where both show it.

    Of an interpolated digit only the pixels count whose neighbours are all part of it, or none.
    """
    before, after = is_blue(source), is_blue(target)
    g = group.decode(torch.from_numpy(action))
    turned = group.act_on_image(torch.from_numpy(before.astype(np.float32)), g).numpy()
    wrong = ((turned > 1 - SLACK) & ~after) | ((turned < SLACK) & after)
    for frames, digit in ((source, before), (target, after)):
        is_board = (frames == 0).all(1, keepdims=True) | (frames == WHITE).all(1, keepdims=True)
        wrong |= ~digit & ~is_board
    wrong |= ~before & ~after & (source != target).any(1, keepdims=True)
    return np.asarray(wrong.reshape(len(source), -1).any(1))


def _covers_backdrop(frames: np.ndarray) -> np.ndarray:
    """Views that show anything but the backdrop outside the ball of the objects."""
    size = frames.shape[-1]
    squares = (np.arange(size) - (size - 1) / 2) ** 2
    is_beyond = squares + squares[:, None] > (FILLING * size / 2 + OUTLINE) ** 2
    differs = (frames != plain_backdrop(size)) & is_beyond
    return np.asarray(differs.reshape(len(frames), -1).any(1))


def _scene(manifest: Manifest) -> str:
    return manifest.origin.scene if isinstance(manifest.origin, Orbits) else ""


def _differs(
    group: Group,
    source: np.ndarray,
    target: np.ndarray,
    action: np.ndarray,
    where: np.ndarray,
    is_binary: bool = False,
) -> np.ndarray:
    """Records whose target differs from the action on the source in the pixels of `where`."""
    g = group.decode(torch.from_numpy(action))
    if group.is_exact:
        moved = moved_each(group, source, g)
        return np.asarray(((moved != target) & where).reshape(len(source), -1).any(1))
    moved = group.act_on_image(torch.from_numpy(source.astype(np.float32)), g).numpy()
    if is_binary:
        undecided = np.abs(moved - CUT) <= ROUNDING_TOLERANCE
        moved, where = np.where(moved > CUT, 255.0, 0.0), where & ~undecided
    error = np.where(where, np.abs(moved - target.astype(np.float32)), 0.0)
    return np.asarray(error.reshape(len(source), -1).max(1) > ROUNDING_TOLERANCE)


def _shows_no_background(
    frames: np.ndarray, columns: Mapping[str, np.ndarray], end: str
) -> np.ndarray:
    """Records that do not show their background where their mask is 0."""
    is_clear = columns[f"{end}_mask"] == 0
    covered = (frames != columns["background"]) & is_clear
    return np.asarray(covered.reshape(len(frames), -1).any(1))
