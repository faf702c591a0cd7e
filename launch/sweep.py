"""Train a sweep on a cluster: submits exactly the runs that are missing or failed, and returns.

Examples:
  python launch/sweep.py experiment=rotated_mnist data=DIR sweep=paper1_tau cluster=slurm \\
      sweep_dir=DIR
  python launch/sweep.py experiment=rotated_digits data=DIR sweep=paper1_losses cluster=local \\
      cluster.max_running=2 sweep_dir=DIR dry_run=true

Keys: sweep_dir, sweep and sweep.*, cluster and cluster.*, dry_run (print what would be submitted:
runs, seeds, expected hours), like (a run directory whose speed gives the expected hours), stage
(copy the dataset to the nodes' own disks), verify (sizes or full), retry_failed, hold; all other
keys are those of pipeline/train.py and apply to every run. print_config=true only prints the
launcher's own keys and where each value came from. Run it again at any time: finished, running and
waiting runs are left alone.
"""

from orbit.core.config.program import run_program

GROUPS = ("experiment", "task", "sweep", "cluster")


def main(arguments: list[str]) -> int:
    from launch.sweeps.command import run_sweep

    return run_sweep(arguments)


if __name__ == "__main__":
    run_program(main, __doc__, GROUPS)
