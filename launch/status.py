"""Show how the runs of a sweep, of a folder of runs, or a single run stand.

Examples:
  python launch/status.py DIR
  python launch/status.py RUN_DIR
  python launch/status.py DIR json=true
  python launch/status.py DIR watch=true          # until nothing runs or waits, or Ctrl-C

States: planned, waiting (and why), starting, running, stopped (by whom), preempted, timed_out,
failed (with the last lines of its error), collapsed, cancelled, lost, pruned (given up by a
search), finished, evaluated, unknown (SLURM does not answer). Each line ends in the command that
helps. Keys: json, watch, every (seconds between updates while watching, default 5). Exit code 0 if
every run is done, pruned, waiting, starting or running, 3 otherwise.
"""

import json
from pathlib import Path

from orbit.core.config.program import run_program, take_directory, take_switch, take_value
from orbit.core.printing import say

EXIT_NOT_WELL = 3


def main(arguments: list[str]) -> int:
    as_json, is_watching = take_switch(arguments, "json"), take_switch(arguments, "watch")
    every = take_value(arguments, "every", "")
    path = Path(take_directory(arguments, "sweep or folder of runs"))
    if as_json and is_watching:
        raise ValueError("json=true has no effect with watch=true")
    if every and not is_watching:
        raise ValueError("every has no effect without watch=true")
    if is_watching:
        from launch.reports.watching import DEFAULT_EVERY_S, watch
        from orbit.core.user_text import read_period

        return 0 if watch(path, read_period(every, DEFAULT_EVERY_S)).is_well else EXIT_NOT_WELL

    from launch.reports.status_table import as_plain, read_status, status_table

    status = read_status(path)
    if as_json:
        say(json.dumps(as_plain(status), indent=2, allow_nan=False))
    else:
        say(status_table(status))
    return 0 if status.is_well else EXIT_NOT_WELL


if __name__ == "__main__":
    run_program(main, __doc__)
