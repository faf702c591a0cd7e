"""How long a run worked, and what its restarts cost, from the clock in its log. Pure.

The first line of each process states a speed of 0. The time between it and the line before
holds the end of one process, the wait for the next and its start; the steps in between are
taken to have cost what steps of this run cost on average.
"""

from dataclasses import dataclass

import numpy as np

from launch.reports.html.log import SplitLog

TIME, SPEED = "time/unix", "speed/samples_per_second"


@dataclass(frozen=True)
class Clock:
    """`hours` (L,): hours of work up to each training line, restarts left out.

    `lost_hours`: wall-clock time of restarts beyond the steps they contain, waiting included.
    """

    hours: np.ndarray
    num_restarts: int
    lost_hours: float
    first_time: float
    last_time: float


def read_clock(log: SplitLog) -> Clock | None:
    """The clock of training lines, None if they tell no time."""
    times = log.values.get(TIME)
    if times is None or not len(times) or not np.isfinite(times).all():
        return None
    speeds = log.values.get(SPEED, np.ones(len(times)))
    is_first = speeds == 0
    is_first[0] = True
    passed = np.diff(times, prepend=times[0])
    steps = np.diff(log.steps, prepend=0)
    usual = ~is_first & (passed >= 0)
    num_steps = int(steps[usual].sum())
    seconds_per_step = float(passed[usual].sum()) / num_steps if num_steps else 0.0
    worked = np.where(usual, passed, steps * seconds_per_step)
    lost = np.maximum(0.0, passed - worked)[1:][is_first[1:]]
    return Clock(
        hours=np.cumsum(worked) / 3600,
        num_restarts=int(is_first[1:].sum()),
        lost_hours=float(lost.sum()) / 3600,
        first_time=float(times[0]),
        last_time=float(times[-1]),
    )


def steps_per_epoch(log: SplitLog) -> float | None:
    """Steps of an epoch, from the line that ends the last whole one; None before that."""
    rises = np.flatnonzero(np.diff(log.epochs, prepend=0) > 0)
    if not len(rises):
        return None
    epoch = float(log.epochs[rises[-1]])
    return float(log.steps[rises[-1]]) / epoch if epoch > 0 else None
