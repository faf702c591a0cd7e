"""Apply group elements to your own images or volumes through a trained model.

Examples:
  python pipeline/apply.py RUN_DIR images=FOLDER element=90
  python pipeline/apply.py RUN_DIR images=cat.png element=all out=DIR resize=crop
  python pipeline/apply.py RUN_DIR images=heads/ element='[30 z,57 [0.3 0.5 0.8]]' out=DIR

The model encodes every file, the element acts on its variant latent, and the result is decoded:
out/NAME__ELEMENT.png for pictures (PNG, JPEG, TIFF, WebP, BMP, GIF), .npy or .nii.gz for volumes,
with sheet.png and applied.json. Elements have the names that metrics and pictures use: 90, "90
mirrored", "120 [1 1 1]", "(4, 0)"; for continuous groups any angle in degrees, "30 + (2.5, -1)", or
angle and axis.

Keys: images, element (one, a list, all, examples), out (RUN_DIR/applied unless given), checkpoint
(best, last or a step), data (if the dataset has moved), resize (as_prepared, none, crop, pad),
to_grey, percentiles, max_megapixels, sheet, overwrite, batch, num_threads, device.
"""

from orbit.core.config.program import run_program, take_run_directory
from orbit.core.printing import say


def main(arguments: list[str]) -> None:
    from orbit.core.config.compose import compose
    from orbit.core.config.schema import build, path_keys
    from pipeline.settings import ApplyConfig

    keys = path_keys(ApplyConfig) | {"element"}  # elements of a group have words of their own
    config = build(ApplyConfig, compose("apply", take_run_directory(arguments), keys))

    from pipeline.application.apply_run import apply_run
    from pipeline.training.distributed import cluster_faults_end_the_program

    with cluster_faults_end_the_program():
        record = apply_run(config)
    num_files = sum(len(files) for files in record["files"].values())
    say(record["preparation"])
    sheet = ", sheet.png" if config.sheet else ""
    say(f"{num_files} files written to {config.out_dir}{sheet}")


if __name__ == "__main__":
    run_program(main, __doc__)
