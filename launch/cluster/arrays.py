"""Cutting work into job arrays. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ArrayCut:
    """A job array: its tasks, how many may run at once, and the array it waits for, if any."""

    tasks: tuple[str, ...]
    num_parallel: int
    after: int | None


def cut_into_arrays(
    tasks: Sequence[str], array_limit: int, max_running: int | None
) -> list[ArrayCut]:
    """Arrays of at most `array_limit` tasks of which at most `max_running` run at once in all.

    The bound is shared out among the arrays; if there are more arrays than it allows,
    the later ones wait for an earlier one each.
    """
    pieces = [
        tuple(tasks[first : first + array_limit]) for first in range(0, len(tasks), array_limit)
    ]
    if max_running is None:
        return [ArrayCut(piece, len(piece), None) for piece in pieces]
    num_lanes = min(len(pieces), max_running)
    cuts = []
    for number, piece in enumerate(pieces):
        lane = number % num_lanes
        share = max_running // num_lanes + (lane < max_running % num_lanes)
        after = number - num_lanes if number >= num_lanes else None
        cuts.append(ArrayCut(piece, min(share, len(piece)), after))
    return cuts
