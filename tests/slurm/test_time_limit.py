"""A run at its time limit goes on from what it saved. The last file: others fill the wait."""

from pathlib import Path

from helpers.launching import Launcher, attempts, logged_step, run_dirs


def test_a_run_goes_on_after_its_time_limit(launcher: Launcher, limited: Path) -> None:
    cluster = launcher.cluster
    (run,) = run_dirs(limited)
    cluster.wait_until(lambda: len(attempts(run)) >= 2)
    first, second = attempts(run)[:2]
    assert first["reason"] == "timeout"
    assert second["restart"] == 1
    assert second["first_step"] > 0
    cluster.wait_until(lambda: logged_step(run) > second["first_step"])
    assert "cancelled 1 SLURM tasks" in launcher.call("cancel", str(limited))
    cluster.wait_until(lambda: not cluster.queue())
    assert launcher.states(limited)[run.name]["state"] == "cancelled"
