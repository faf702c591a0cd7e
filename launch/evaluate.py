"""Evaluate checkpoints of many runs on a cluster, each once.

Examples:
  python launch/evaluate.py runs='SWEEP_DIR/runs/*' cluster=slurm
  python launch/evaluate.py runs='SWEEP_DIR/runs/*' cluster=slurm checkpoints=all follow=true \\
      num_evaluators=2

Keys: runs (a glob of run directories), checkpoints (best, last or all), split, data (another
dataset), batch, num_threads, analyses, redo (measure again what other code measured),
checkpoints_per_job, jobs_dir, dry_run, cluster and cluster.*. follow=true submits jobs that stay
and evaluate what the runs save until they end, as many as num_evaluators says, which look every
poll_s seconds.
Results are evaluations/step_XXXXXXXX-SPLIT.json in each run directory.
"""

from orbit.core.config.program import run_program

GROUPS = ("cluster",)


def main(arguments: list[str]) -> int:
    from launch.evaluation.command import run_evaluation

    return run_evaluation(arguments)


if __name__ == "__main__":
    run_program(main, __doc__, GROUPS)
