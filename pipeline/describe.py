"""Describe a trained run in plain words: sizes, cost, latent, mask, exactness of equivariance.

Examples:
  python pipeline/describe.py RUN_DIR
  python pipeline/describe.py RUN_DIR checkpoint=last data=DIR json=true

Keys: checkpoint (best, last or a step), data (if the dataset has moved), json. Exactness is read
from the run's evaluation of the test split; without one, up to 256 test records are measured, or
fewer if frames are large.
"""

import json
from pathlib import Path

from orbit.core.config.program import run_program, take_directory, take_switch, take_value
from orbit.core.printing import say


def main(arguments: list[str]) -> None:
    as_json = take_switch(arguments, "json")
    checkpoint = take_value(arguments, "checkpoint", "best")
    data = take_value(arguments, "data", "")
    run_dir = take_directory(arguments, "run directory").removeprefix("run_dir=")

    from pipeline.description.facts import describe_run
    from pipeline.description.words import in_words
    from pipeline.training.distributed import cluster_faults_end_the_program

    with cluster_faults_end_the_program():
        facts = describe_run(Path(run_dir), checkpoint, Path(data) if data else None)
    say(json.dumps(facts, indent=2) if as_json else in_words(facts))


if __name__ == "__main__":
    run_program(main, __doc__)
