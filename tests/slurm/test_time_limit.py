"""A run at its time limit goes on from what it saved. The last file: others fill the wait."""

import json
import time

from helpers.launching import Launcher, Limited, attempts, logged_step

EARLY_S = 60
"""Long before its limit a run that is told to stop was not told so because of it."""


def test_a_run_goes_on_after_its_time_limit(launcher: Launcher, limited: Limited) -> None:
    cluster, run = launcher.cluster, limited.run_dir
    cluster.wait_until(lambda: len(attempts(run)) >= 2)
    limited.wake()
    first, second = attempts(run)[:2]
    assert first["reason"] == "timeout"
    assert second["restart"] == 1
    assert second["first_step"] > 0
    newest = attempts(run)[-1]
    if time.time() - newest["started"] > EARLY_S:
        cluster.wait_until(lambda: attempts(run)[-1]["name"] != newest["name"])
        newest = attempts(run)[-1]
    cluster.wait_until(lambda: logged_step(run) > newest["first_step"])
    cluster.run(["scancel", launcher.states(limited.sweep_dir)[run.name]["job"]])
    cluster.wait_until(lambda: not cluster.queue())
    state = launcher.states(limited.sweep_dir)[run.name]
    assert (state["state"], state["detail"]) == (
        "cancelled",
        "by scancel; does not return by itself",
    )
    told = json.loads((run / "attempts" / newest["name"] / "signal.json").read_text())
    assert (told["reason"], told["by"]) == ("cancelled", "scancel")
