"""Reproduce a paper's experiments: every missing run, a small result file each, and the tables.

Examples:
  python launch/reproduce.py paper1 work=DIR mnist=DIR meshes=DIR
  python launch/reproduce.py paper1 work=DIR only=planes,brain_mri seeds=[0] num_parallel=1
  python launch/reproduce.py paper2 work=DIR only=shapes_2d_up controls=ours,none
  python launch/reproduce.py paper1 tables=true

Keys: work (datasets, runs and logs), mnist (a folder that holds MNIST/raw), meshes (a folder of OBJ
files), preset (small or full), only (datasets), controls (variants of the method), seeds,
num_parallel (runs at a time, one core each), results (where result files go; by default
docs/results/NAME; preset=full needs a place of its own), document (the text whose tables are
rewritten; by default docs/NAME.md unless results lie elsewhere), dry_run (say what would run),
tables (rewrite tables and figures, run nothing).
Run it again at any time: it does what is missing, or was made by other words, and goes on with
what was stopped. Exit codes: 0 all there, 1 a mistake or a failed run, 75 stopped.
"""

from orbit.core.config.program import run_program

GROUPS = ("reproduction",)


def main(words: list[str]) -> int:
    from launch.reproduction.command import reproduce

    return reproduce(words)


if __name__ == "__main__":
    run_program(main, __doc__, GROUPS)
