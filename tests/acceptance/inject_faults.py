"""Make one file-system call of a program fail, or kill it there; repeat the command; compare bytes.

Examples:
  python tests/acceptance/inject_faults.py minutes=40 out=faults.json
  python tests/acceptance/inject_faults.py subjects=train,export faults='kill,node lost'
  python tests/acceptance/inject_faults.py subjects=train call='rename run/checkpoints/last.json 2'

Keys: minutes (of trials), lines (how many points at once), subjects (names separated by commas),
faults (likewise), call (OP PATH OCCURRENCE), num_cold (points that start a process of their own),
work (where; a folder in memory unless given), out (every trial as a line of JSON).

Prints each trial that went wrong, what was left behind, and a table. docs/explanation/faults.md
says what is made to fail and what cannot be. Exit code 1 if a trial went wrong.
"""

import sys
from pathlib import Path

from orbit.core.config.program import run_program

HELPERS = Path(__file__).resolve().parents[1]


def main(words: list[str]) -> int:
    sys.path.insert(0, str(HELPERS))

    from helpers.injection.command import run_campaign

    return run_campaign(words)


if __name__ == "__main__":
    run_program(main, __doc__)
