"""Cancel the waiting and running jobs of a sweep, and nothing else.

Example:
  python launch/cancel.py DIR

Runs keep what they have saved, and launch/sweep.py continues them.
"""

from pathlib import Path

from orbit.core.config.program import run_program, take_directory
from orbit.core.printing import say


def main(arguments: list[str]) -> None:
    path = Path(take_directory(arguments, "sweep"))

    from launch.jobs.liveness import cancel_jobs

    for line in cancel_jobs(path):
        say(line)


if __name__ == "__main__":
    run_program(main, __doc__)
