"""Train a model on a prepared dataset, or continue a run that was interrupted.

Examples:
  python pipeline/train.py experiment=rotated_digits data=DIR run_dir=DIR
  torchrun --standalone --nproc-per-node=2 pipeline/train.py \\
      experiment=rotated_mnist data=DIR run_dir=DIR
  python pipeline/train.py debug=fast experiment=rotated_mnist data=DIR run_dir=DIR

Keys: data, run_dir, seed, epochs, global_batch, pairs, precision, compile, deterministic,
checkpoint_every, resume, num_threads, init_from, ... and optimizer.*, schedule.*, task.*,
collapse.*, loader.*. config=FILE takes all keys from a run's config.yaml instead of an experiment;
other keys override it. debug=overfit overfits one batch, debug=fast goes through everything in two
steps, debug=profile writes a trace of ten steps to RUN_DIR/profile. print_config=true only prints
all keys and where each value came from. data_copy=DIR reads the records from a copy of the dataset,
such as one on a node's own disk. Exit codes: 0 finished, 1 mistake in the call, 75 stopped and
saved (run again to continue), 76 loss not finite, 77 collapsed, 78 fault of the cluster (lost
ranks, network, file system).
"""

from pathlib import Path

from orbit.core.config.program import run_program, take_switch, take_value
from orbit.core.printing import metrics_table, rank_of_environment, say

GROUPS = ("experiment", "task", "control", "debug")


def main(arguments: list[str]) -> None:
    from orbit.core.config.compose import compose, read_composed
    from orbit.core.config.roots import take_configs
    from orbit.core.config.schema import build, path_keys
    from pipeline.training.settings import TrainConfig

    is_asked = take_switch(arguments, "print_config")
    data_copy = take_value(arguments, "data_copy", "")
    file = take_value(arguments, "config", "")
    if file:
        composed = read_composed(Path(file), arguments, path_keys(TrainConfig))
    else:
        arguments = take_configs(arguments)
        composed = compose("train", arguments, path_keys(TrainConfig))
    config = build(TrainConfig, composed)
    if is_asked:
        from orbit.core.config.origins import file_text, print_text

        is_file = bool(file)
        text = (
            file_text(config, Path(file), arguments)
            if is_file
            else print_text(config, "train", arguments)
        )
        say(text)
        return

    from pipeline.training.distributed import cluster_faults_end_the_program
    from pipeline.training.run import train

    copy = Path(data_copy) if data_copy else None
    with cluster_faults_end_the_program():
        result = train(config, data_copy=copy)
    if config.debug.evaluate:
        from pipeline.evaluation.evaluate_run import rehearse_evaluation

        rehearse_evaluation(config, copy)
    if rank_of_environment() == 0:
        best = f"best validation at step {result['best_step']}"
        early = f" ({result['ended_early']})" if "ended_early" in result else ""
        say(f"finished after step {result['step']}{early}; {best}:")
        say(metrics_table(result["metrics"]))
        say(f"run directory: {config.run_dir}")


if __name__ == "__main__":
    run_program(main, __doc__, GROUPS)
