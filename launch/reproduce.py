"""Reproduce a paper's experiments: every missing run, a small result file each, and the tables.

Examples:
  python launch/reproduce.py paper1 work=DIR mnist=DIR meshes=DIR
  python launch/reproduce.py paper1 work=DIR only=planes,brain_mri seeds=[0] num_parallel=1
  python launch/reproduce.py paper2 work=DIR only=shapes_2d_up controls=ours,none
  python launch/reproduce.py paper1 tables=true

Keys: work (datasets, runs and logs), mnist (a folder that holds MNIST/raw), meshes (a folder of OBJ
files), preset (small, measured or full; measured has further seeds and longer runs), only
(datasets), controls (variants of the method), seeds, num_parallel (runs at a time, one core each),
results (the folder of result files; by default docs/results/NAME; preset=full needs another one),
document (the text whose tables are rewritten; by default docs/NAME.md if results is the default),
dry_run (print what would run), tables (rewrite tables and figures, run nothing), dirty (also run
code with changes that are not committed; results are marked). Run it again at any time: it does
runs that are missing or were made with other overrides, and continues stopped ones. Exit codes: 0
all done, 1 a mistake or a failed run, 75 stopped.
"""

from orbit.core.config.program import run_program

GROUPS = ("reproduction",)


def main(arguments: list[str]) -> int:
    from launch.reproduction.command import reproduce

    return reproduce(arguments)


if __name__ == "__main__":
    run_program(main, __doc__, GROUPS)
