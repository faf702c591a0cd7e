"""Write a trained run as a folder to hand on: model card, weights, configuration, pictures.

Examples:
  python pipeline/share.py RUN_DIR out=DIR license=mit
  python pipeline/share.py RUN_DIR out=DIR checkpoint=last name="Turned digits" pictures=false

The folder has the layout that hubs of models take: README.md with a YAML header, model.safetensors,
config.yaml, the dataset's manifest, numbers and pictures. Paths become names, and the names of the
dataset's files are left out; pictures show records of the test split. Every program that takes a
run directory also takes this folder, and so does orbit.load_run.

Keys: out, checkpoint (best, last or a step), name, license, pictures, data (if the dataset has
moved and the run is not evaluated), overwrite, num_threads.
"""

from orbit.core.config.program import run_program, take_run_directory
from orbit.core.printing import say


def main(words: list[str]) -> None:
    from orbit.core.config.compose import compose
    from orbit.core.config.schema import build, path_keys
    from pipeline.settings import ShareConfig

    config = build(ShareConfig, compose("share", take_run_directory(words), path_keys(ShareConfig)))

    from pipeline.sharing import share_run
    from pipeline.training.distributed import cluster_faults_end_the_program

    with cluster_faults_end_the_program():
        files = share_run(config)
    if config.license is None:
        say("no licence given: license=NAME says what others may do with it", error=True)
    if not any(name.startswith("evaluations/") for name in files):
        say("not evaluated: evaluate the run first and the card says how good it is", error=True)
    say(f"{len(files)} files written to {config.out}: {', '.join(files[:4])}, ...")


if __name__ == "__main__":
    run_program(main, __doc__)
