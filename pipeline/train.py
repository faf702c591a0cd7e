"""Train a model on a prepared dataset, or continue a run that was interrupted.

Examples:
  python pipeline/train.py experiment=rotated_digits data=DIR run_dir=DIR
  torchrun --standalone --nproc-per-node=2 pipeline/train.py \\
      experiment=rotated_mnist data=DIR run_dir=DIR

Keys: data, run_dir, seed, epochs, global_batch, pairs, precision, compile, deterministic,
checkpoint_every, resume, num_threads, init_from, ... and optimizer.*, schedule.*, task.*,
collapse.*, loader.*. config=FILE takes all keys from a run's config.yaml instead of an experiment;
other keys override it. debug=overfit overfits one batch, debug=fast goes through everything in two
steps, debug=profile writes a trace to RUN_DIR/profile. print_config=true only prints all keys and
where each value came from. data_copy=DIR reads records from a copy of the dataset. Exit codes: 0
finished, 1 mistake in the call, 75 stopped and saved (run again to continue), 76 loss not finite,
77 collapsed, 78 fault of the cluster (lost ranks, network, file system).
"""

from pathlib import Path

from orbit.core.config.program import run_program, take_switch, take_value
from orbit.core.printing import say

GROUPS = ("experiment", "task", "control", "debug")


def main(arguments: list[str]) -> None:
    from orbit.core.config.compose import compose, read_composed
    from orbit.core.config.roots import take_configs
    from orbit.core.config.schema import build, path_keys
    from pipeline.training.settings import TrainConfig

    is_asked = take_switch(arguments, "print_config")
    data_copy = take_value(arguments, "data_copy", "")
    file = take_value(arguments, "config", "")
    arguments, paths = arguments if file else take_configs(arguments), path_keys(TrainConfig)
    values = read_composed(Path(file), arguments, paths) if file else None
    config = build(TrainConfig, values or compose("train", arguments, paths))
    if is_asked:
        from orbit.core.config.origins import print_text

        say(print_text(config, "train", arguments, file=Path(file) if file else None))
        return

    from pipeline.training.distributed import cluster_faults_end_the_program
    from pipeline.training.lifecycle import say_result
    from pipeline.training.run import train

    copy = Path(data_copy) if data_copy else None
    with cluster_faults_end_the_program():
        result = train(config, data_copy=copy)
    if config.debug.evaluate:
        from pipeline.evaluation.evaluate_run import rehearse_evaluation

        rehearse_evaluation(config, copy)
    say_result(result, config.run_dir)


if __name__ == "__main__":
    run_program(main, __doc__, GROUPS)
