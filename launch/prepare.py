"""Prepare a dataset on a cluster: its shards as a job array, then a job that writes the manifest.

Examples:
  python launch/prepare.py dataset=rotated_mnist source.root=DIR out=DIR cluster=slurm
  python launch/prepare.py dataset=rotated_digits out=DIR cluster=local cluster.max_running=2

Keys: cluster and cluster.*, shards_per_task, dry_run (say what would be submitted); all other keys
are those of data_prep/prepare.py. Every task takes one CPU and no GPU. Run it again at any time: it
prints the progress of the jobs, or submits missing shards. Jobs, logs and code are in OUT.jobs;
python launch/cancel.py OUT.jobs cancels the remaining jobs.
"""

from orbit.core.config.program import run_program

GROUPS = ("dataset", "source", "cluster")


def main(arguments: list[str]) -> int:
    from launch.preparation.command import run_preparation

    return run_preparation(arguments)


if __name__ == "__main__":
    run_program(main, __doc__, GROUPS)
