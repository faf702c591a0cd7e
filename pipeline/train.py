"""Train a model on a prepared dataset, or continue a run that was interrupted.

Examples:
  python pipeline/train.py experiment=rotated_digits data=DIR run_dir=DIR
  torchrun --standalone --nproc-per-node=2 pipeline/train.py \\
      experiment=rotated_mnist data=DIR run_dir=DIR

Keys: data, run_dir, seed, epochs, global_batch, pairs, precision, compile, checkpoint_every,
resume, num_threads, init_from, ... and optimizer.*, schedule.*, task.*, collapse.*, loader.*.
Exit codes: 0 finished, 1 mistake in the call, 75 stopped and saved (run again to continue),
76 loss not finite, 77 collapsed.
"""

from pipeline.config.program import run_program

PATH_KEYS = frozenset({"data", "run_dir", "init_from"})


def main(words: list[str]) -> None:
    from pipeline.config.compose import compose
    from pipeline.config.schema import build
    from pipeline.training.settings import TrainConfig

    config = build(TrainConfig, compose("train", words, PATH_KEYS))

    from pipeline.report import print_result
    from pipeline.training.run import train

    print_result(train(config), config.run_dir)


if __name__ == "__main__":
    run_program(main, __doc__, groups=("experiment", "task"))
