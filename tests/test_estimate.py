"""Expected hours of a sweep, as a dry run tells them.

Protects that waiting and restarts do not count as work, that runs of the same settings tell more
than others, and that nothing is guessed where nothing was measured.
"""

import json
from pathlib import Path

import pytest
from helpers.reporting import write_log, write_run
from helpers.training import make_config
from hypothesis import given
from hypothesis import strategies as st

from launch.cluster.settings import LocalConfig
from launch.sweeps.expansion import PlannedRun
from launch.sweeps.plan import (
    Pace,
    describe_hours,
    describe_points,
    hours_of,
    mean_pace,
    pace_of,
)
from orbit.core.files.atomic import write_json

CONFIG = make_config(Path("d"), Path("r"))


def runs(num_points: int, num_seeds: int) -> list[PlannedRun]:
    return [
        PlannedRun(f"{point}_{seed}", {"width": point, "seed": seed}, CONFIG)
        for point in range(num_points)
        for seed in range(num_seeds)
    ]


def measured(path: Path, **how: float) -> Path:
    write_log(write_run(path), 30, **how)  # type: ignore[arg-type]
    write_json(path / "heartbeat.json", {"num_steps": 300})
    return path


def test_a_pace_is_that_of_the_work(tmp_path: Path) -> None:
    """300 steps of 3 epochs at 2 s a line of 10 steps: 20 s an epoch."""
    run = measured(tmp_path / "run", seconds_per_line=2.0)
    pace = pace_of(run)
    assert pace is not None
    assert pace.hours_per_epoch * 3600 == pytest.approx(20.0)
    # A night between two processes, whose first line says a speed of 0.
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines[15:]:
        if line["split"] == "train":
            line["time/unix"] += 40_000
    first = next(line for line in lines[15:] if line["split"] == "train")
    first["speed/samples_per_second"] = 0.0
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    again = pace_of(run)
    assert again is not None
    assert again.hours_per_epoch == pytest.approx(pace.hours_per_epoch)


def test_a_run_of_two_steps_tells_nothing(tmp_path: Path) -> None:
    assert pace_of(write_run(tmp_path / "new")) is None
    assert pace_of(write_run(tmp_path / "fast", "debug.num_steps=2")) is None


def test_the_mean_of_what_is_measured(tmp_path: Path) -> None:
    for seconds in (2.0, 4.0):
        measured(tmp_path / str(seconds), seconds_per_line=seconds)
    write_run(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    pace = mean_pace(sorted(tmp_path.iterdir()))
    assert pace is not None
    assert pace.hours_per_epoch * 3600 == pytest.approx(30.0)
    assert mean_pace([tmp_path / "new"]) is None


@given(st.dictionaries(st.sampled_from([run.name for run in runs(3, 3)]), st.floats(0.01, 9)))
def test_what_is_known_of_a_point_counts_for_it(known: dict[str, float]) -> None:
    planned = runs(3, 3)
    own = {name: Pace(hours, name) for name, hours in known.items()}
    found = hours_of(planned, own, None)
    for run, hours in zip(planned, found, strict=True):
        same = [h for name, h in known.items() if name.split("_")[0] == run.name.split("_")[0]]
        if same:
            assert hours == pytest.approx(sum(same) / len(same) * CONFIG.epochs)
        else:
            assert (hours is None) == (not known)
    if not known:
        assert hours_of(planned, own, Pace(2.0, "x")) == [2.0 * CONFIG.epochs] * 9


def test_the_lines_of_a_dry_run() -> None:
    planned = runs(2, 3)
    assert describe_points(planned) == "2 settings with 3 seeds (0, 1, 2)"
    line = describe_hours(planned, {}, Pace(1.0, "runs/mine"), LocalConfig("local", max_running=2))
    assert line.startswith("expected hours: 18 h in all, 3 h a run, 9 h with 2 at a time (at the")
    assert "not known" in describe_hours(planned, {}, None, LocalConfig("local"))
