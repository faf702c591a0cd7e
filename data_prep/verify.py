"""Verify a prepared dataset: manifest, checksums, shapes, finite values, recomputed targets.

Targets must be the action applied to their sources, and transitions must follow from state and
action in their world.

Example:
  python data_prep/verify.py DIR

Prints a line per split and exits 0, or one line naming file, dataset and row and exits 1.
"""

from pathlib import Path

from orbit.core.config.program import run_program, take_directory


def main(arguments: list[str]) -> None:
    root = Path(take_directory(arguments, "dataset"))

    from data_prep.verification.datasets import verify_dataset
    from orbit.core.progress import Progress
    from orbit.core.store.manifest import read_manifest

    splits = read_manifest(root).splits.values()
    num_records = sum(split.num_records for split in splits)
    with Progress(num_records, "records", "verifying") as progress:
        for line in verify_dataset(root, lambda shard: progress.advance(shard.num_records)):
            progress.say(line)


if __name__ == "__main__":
    run_program(main, __doc__)
