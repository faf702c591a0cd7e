"""Classify images by the features of a run's frozen encoder; rotated images are always scored.

Examples:
  python pipeline/classify.py run_dir=DIR
  python pipeline/classify.py run_dir=DIR features=[pooled_z_v,pixels] fractions=[1.0] \\
      classifiers=[linear] seeds=[0] json=true

Keys: run_dir, checkpoint (best, last or a step), data (if the dataset has moved), features (z, z_v,
z_i, each also as pooled_ and untrained_; pixels; orbit_z, orbit_pixels and the like are means over
all elements of a finite group), labels (upright, rotated: how training images are posed), scored
(test, or val: validation images that no fit uses), max_train (the number of labelled images),
fractions (of these), classifiers (linear, mlp), seeds, batch, num_threads, device, json, overwrite.
"""

import json

from orbit.core.config.program import run_program
from orbit.core.printing import say


def main(arguments: list[str]) -> None:
    from orbit.core.config.compose import compose
    from orbit.core.config.schema import build, path_keys
    from pipeline.settings import ClassifyConfig

    config = build(ClassifyConfig, compose("classify", arguments, path_keys(ClassifyConfig)))

    from pipeline.probing.classify_run import classification_table, classify_run
    from pipeline.training.distributed import cluster_faults_end_the_program

    with cluster_faults_end_the_program():
        result, file = classify_run(config)
    if config.json:
        say(json.dumps(result, indent=2))
        return
    say(classification_table(result))
    say(f"written to {file}")


if __name__ == "__main__":
    run_program(main, __doc__)
