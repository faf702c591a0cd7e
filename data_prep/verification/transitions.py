"""Check the transitions of a world by simulating them again from their states and actions."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from data_prep.worlds.interface import World
from data_prep.worlds.make import is_world_known, world_of
from orbit.core.groups import make_group
from orbit.core.store.manifest import Manifest

ROUNDING_TOLERANCE = 1.0
"""Largest difference of a pixel, in stored units, for a world that computes with rounding."""

Arrays = Mapping[str, np.ndarray]


def what_is_checked(manifest: Manifest) -> str | None:
    """A clause that says what can be checked of the records; None if the dataset's world is
    unknown."""
    if not is_world_known(manifest):
        return None
    return (
        "simulated again" if world_of(manifest).can_render else "simulated again without pictures"
    )


def check_transitions(path: Path, manifest: Manifest, arrays: Arrays, rows: np.ndarray) -> None:
    """Raise ValueError naming file, dataset and row of the first record (of these rows of a shard)
    that does not follow from its state, action and rotated copy, or whose frames show another
    state."""
    world = world_of(manifest)
    original = arrays["columns/original"][rows]
    num_records = len(arrays["label"])
    is_outside = (original < 0) | (original >= num_records)
    _refuse(path, "columns/original", rows, is_outside, "points outside the records")
    _check_steps(path, world, arrays, rows)
    _check_copies(path, world, arrays, rows, original)
    if world.can_render:
        ends = (("source", "state"), ("target", "next_state"))
        states = np.concatenate([arrays[f"columns/{column}"][rows] for _, column in ends])
        # Both at once: a world may draw only once what several frames show.
        pictures = np.split(world.render(states), len(ends))
        for (end, column), drawn in zip(ends, pictures, strict=True):
            shown = arrays["frames"][arrays[end][rows]]
            error = np.abs(shown.astype(np.float32) - drawn.astype(np.float32))
            limit = ROUNDING_TOLERANCE if world.tolerance else 0.0
            is_wrong = error.reshape(len(rows), -1).max(1) > limit
            fault = f"does not show columns/{column} of record {{row}}"
            _refuse(path, "frames", rows, is_wrong, fault, arrays[end][rows])


def _check_steps(path: Path, world: World, arrays: Arrays, rows: np.ndarray) -> None:
    state, following = (arrays[f"columns/{name}"] for name in ("state", "next_state"))
    stepped = world.step(state[rows], arrays["action"][rows])
    is_wrong = _differs(world, following[rows], stepped)
    fault = "is not the state after the record's action"
    _refuse(path, "columns/next_state", rows, is_wrong, fault)
    goes_on = rows[(arrays["columns/time"][rows] > 0) & (rows > 0)]
    is_wrong = _differs(world, state[goes_on], following[goes_on - 1])
    _refuse(path, "columns/state", goes_on, is_wrong, "does not follow from the row before it")


def _check_copies(
    path: Path, world: World, arrays: Arrays, rows: np.ndarray, original: np.ndarray
) -> None:
    group = make_group(world.group)
    element, code = arrays["columns/element"][rows], arrays["columns/group_element"][rows]
    for name in ("episode", "time"):
        column = arrays[f"columns/{name}"]
        is_wrong = column[rows] != column[original]
        _refuse(path, f"columns/{name}", rows, is_wrong, "differs from that of its original")
    of_original = arrays["columns/element"][original]
    is_wrong = (of_original != 0) | ((element == 0) & (original != rows))
    _refuse(path, "columns/original", rows, is_wrong, "does not name the untransformed record")
    identity = group.encode(group.identity(len(rows))).numpy()
    is_wrong = (element == 0) & (code != identity).any(1)
    _refuse(path, "columns/group_element", rows, is_wrong, "is not the identity")
    g = group.decode(torch.from_numpy(np.array(code)))
    for name in ("columns/state", "columns/next_state", "action"):
        act = world.act_on_action if name == "action" else world.act_on_state
        moved = act(arrays[name][original], g)
        is_wrong = _differs(world, arrays[name][rows], moved) & (element != 0)
        fault = "is not its group element applied to that of its original"
        _refuse(path, name, rows, is_wrong, fault)


def _differs(world: World, found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Which rows differ by more than rounding."""
    error = np.abs(found.astype(np.float64) - expected)
    return np.asarray(~(error <= world.tolerance).all(-1))


def _refuse(
    path: Path,
    name: str,
    rows: np.ndarray,
    is_wrong: np.ndarray,
    fault: str,
    named: np.ndarray | None = None,
) -> None:
    """Raise ValueError for the first wrong row, with its number in `named` if given."""
    if is_wrong.any():
        first = int(np.argmax(is_wrong))
        row = int((rows if named is None else named)[first])
        raise ValueError(f"{path}: dataset {name}, row {row} {fault.format(row=rows[first])}")
