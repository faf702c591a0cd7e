"""Manifests of version 1, in which `generator` held the settings of a dataset flat and untyped.

They did not record the facts that a world declares today. The facts of the six worlds of that
version are listed here, so that nobody has to prepare a dataset again.
"""

import dataclasses
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orbit.core.config.schema import build
from orbit.core.store.facts import (
    HeldOut,
    ListedActions,
    RangeOfActions,
    SeenActions,
    Solid,
    StateAngles,
    WorldFacts,
)
from orbit.core.store.origin import Origin

FIRST_VERSION, SECOND_VERSION = 1, 2
NUM_OBJECTS, MIDDLE = 5, 2.0
"""Of the boards of 5 x 5 cells."""
ABSOLUTE, RELATIVE = ("up", "right", "down", "left"), ("forward", "right", "back", "left")
SMALL_COSINE, SMALL_SINE = 0.9945219159126282, 0.10452846437692642
"""Of half a thirtieth of a turn, in float32."""
TURN_TOLERANCE = 2e-6


def upgraded(values: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest, or the description of an unfinished dataset, with `origin` instead of
    `generator`.

    Values without `generator` are returned unchanged. Raises ValueError with the remedy for
    settings that no version has written.
    """
    if "generator" not in values:
        return dict(values)
    changed = {key: value for key, value in values.items() if key != "generator"}
    try:
        origin = origin_of(values["generator"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(
            f"its generator cannot be converted to an origin ({reason}): prepare the dataset again"
        ) from None
    changed["origin"] = json.loads(json.dumps(dataclasses.asdict(origin)))
    if changed.get("schema_version") == FIRST_VERSION:
        changed["schema_version"] = SECOND_VERSION
    return changed


@dataclass(frozen=True)
class _Recorded:
    origin: Origin


def origin_of(generator: Mapping[str, Any]) -> Origin:
    """The typed origin of flat settings: for the built-in sources and worlds,
    `origin_of(origin.flat())` equals the origin."""
    told = dict(generator)
    if "world" in told:
        values = _episodes(told)
    elif told.pop("sequences", None) is not None:
        values = {"kind": "sequences", **told}
    elif told["source"] == "table":
        del told["source"]
        values = {"kind": "table", **told}
    else:
        values = _orbits(told)
    return build(_Recorded, {"origin": values}).origin


ORBIT_KEYS = (
    *("scene", "num_drawn", "train_bins", "num_samples", "val_fraction", "test_fraction"),
    *("shard_mib", "pairs"),
)


def _orbits(told: dict[str, Any]) -> dict[str, Any]:
    own = {key: told.pop(key) for key in ORBIT_KEYS if key in told}
    if own.get("scene") == "blocked":
        own["block_side"] = told.pop("side")
    return {"kind": "orbits", "source": {"name": told.pop("source"), "settings": told}, **own}


def _episodes(told: dict[str, Any]) -> dict[str, Any]:
    name, settings = told.pop("world"), dict(told.pop("settings"))
    mesh = settings.pop("mesh", None)
    actions = told.get("actions")
    facts = _facts_of(name, settings, None if actions is None else tuple(actions), mesh)
    world = {"name": name, "settings": settings}
    return {"kind": "episodes", "world": world, "facts": dataclasses.asdict(facts), **told}


def _facts_of(
    name: str, settings: Mapping[str, Any], actions: tuple[str, ...] | None, mesh: str | None
) -> WorldFacts:
    match name:
        case "shapes_2d" | "blocks_3d":
            fixed = 2 * NUM_OBJECTS if settings.get("num_backdrops") else None
            return _board(2, ABSOLUTE, actions, fixed)
        case "rush_hour":
            return _board(3, RELATIVE, actions, None)
        case "reacher" | "reacher_planar":
            seen = None if actions is None else RangeOfActions("range", (-1.0, 0.0), (1.0, 1.0))
            return WorldFacts(angles=StateAngles("first link", (0,), (1,)), seen_actions=seen)
        case "teapot":
            held_out = settings.get("held_out")
            return WorldFacts(
                seen_actions=_seen_turns(actions),
                held_out=None if held_out is None else build(HeldOut, held_out),
                solid=Solid(settings["size"], mesh),
            )
    return WorldFacts()


def _board(
    num_each: int, names: tuple[str, ...], actions: tuple[str, ...] | None, fixed: int | None
) -> WorldFacts:
    """Five objects on cells; a state holds `num_each` numbers for each, row and column first."""
    cells = tuple((num_each * which, num_each * which + 1) for which in range(NUM_OBJECTS))
    rows, columns = zip(*cells, strict=True)
    moves = []
    for action in actions or ():
        number, _, way = action.rpartition(" ")
        objects = [int(number)] if number else range(NUM_OBJECTS)
        moves += [(float(which), float(names.index(way))) for which in objects]
    return WorldFacts(
        angles=StateAngles("cell", columns, rows, MIDDLE, counts_down=True),
        cells=cells,
        fixed_part=fixed,
        directions="absolute" if names == ABSOLUTE else "relative",
        seen_actions=None if actions is None else ListedActions("listed", tuple(sorted(moves))),
    )


def _seen_turns(actions: tuple[str, ...] | None) -> SeenActions | None:
    if actions is None:
        return None
    if actions == ("haar",):
        return RangeOfActions("range", (-1.0,) * 4, (1.0,) * 4)
    vectors = []
    for sign, axis in itertools.product((1.0, -1.0), range(3)):
        vector = [SMALL_COSINE, 0.0, 0.0, 0.0]
        vector[1 + axis] = sign * SMALL_SINE
        vectors.append(tuple(vector))
    return ListedActions("listed", tuple(vectors), TURN_TOLERANCE)
