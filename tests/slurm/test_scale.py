"""A thousand points: planned, submitted and looked at in bounded time."""

import time
from pathlib import Path

from helpers.launching import Launcher

NUM_POINTS = 1000


def test_thousand_points(launcher: Launcher, tmp_path: Path) -> None:
    sweep_dir = tmp_path / "sweep"
    words = ("sweep=random_search", f"sweep.search.num_points={NUM_POINTS}", "hold=true")
    started = time.monotonic()
    try:
        said = launcher.sweep(sweep_dir, *words)
        submitting = time.monotonic() - started
        assert said.count("submitted 100 runs") == NUM_POINTS // 100
        started = time.monotonic()
        states = launcher.states(sweep_dir)
        looking = time.monotonic() - started
        print(f"submitted in {submitting:.1f} s, looked at in {looking:.2f} s")
        assert {state["state"] for state in states.values()} == {"waiting"}
        assert len(states) == NUM_POINTS
    finally:
        launcher.call("cancel", str(sweep_dir))
    assert submitting < 20
    assert looking < 2
