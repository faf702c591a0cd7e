"""Show the end of a run's log: of the newest attempt, and the rank that failed first.

Examples:
  python launch/logs.py RUN_DIR
  python launch/logs.py SWEEP/runs/NAME rank=1 lines=200
  python launch/logs.py RUN_DIR attempt=first

Keys: rank (default the one that failed first, otherwise 0), attempt (a name below attempts/,
`first` or `last`, the default), lines (the number of last lines, default 40; 0 for all). A run that
was started by hand wrote to its terminal only: for such a run the recorded reason of its end is
shown.
"""

from pathlib import Path

from orbit.core.config.program import run_program, take_directory, take_value
from orbit.core.printing import say

DEFAULT_LINES = "40"


def main(arguments: list[str]) -> None:
    rank, attempt = take_value(arguments, "rank", ""), take_value(arguments, "attempt", "last")
    lines = take_value(arguments, "lines", DEFAULT_LINES)
    run_dir = Path(take_directory(arguments, "run"))

    from launch.reports.output import read_output

    say("\n".join(read_output(run_dir, attempt, rank, lines)))


if __name__ == "__main__":
    run_program(main, __doc__)
