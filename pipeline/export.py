"""Export a trained model as safetensors and torch.export programs that need no Orbit.

Examples:
  python pipeline/export.py RUN_DIR
  python pipeline/export.py RUN_DIR out=DIR checkpoint=last overwrite=true

DIR (default RUN_DIR/export) gets model.safetensors, signature.json, which describes inputs and
outputs, and programs for any batch size, with normalisation: for a latent action model
transform.pt2 (frames and action vectors to images), encode.pt2 and decode.pt2; for a world model
encode.pt2 (frames to latents) and predict.pt2 (latents and action vectors to the next latents). In
any program with torch, torch.export.load("transform.pt2").module() is the model.

Keys: out, checkpoint (best, last or a step), data (if the dataset has moved), overwrite, tolerance
(the largest allowed difference between the written programs and the model), num_threads.
"""

from orbit.core.config.program import run_program, take_run_directory
from orbit.core.printing import say


def main(arguments: list[str]) -> None:
    from orbit.core.config.compose import compose
    from orbit.core.config.schema import build, path_keys
    from pipeline.settings import ExportConfig

    composed = compose("export", take_run_directory(arguments), path_keys(ExportConfig))
    config = build(ExportConfig, composed)

    from pipeline.exporting import export_run
    from pipeline.training.distributed import cluster_faults_end_the_program

    with cluster_faults_end_the_program():
        signature = export_run(config)
    for program in signature["programs"].values():
        names = [", ".join(t["name"] for t in program[end]) for end in ("inputs", "outputs")]
        off = program["greatest_difference_to_model"]
        say(f"{program['file']:14} {' -> '.join(names)}; off the model by at most {off:.1g}")
    say(f"written to {config.out_dir}: model.safetensors, signature.json and the programs")


if __name__ == "__main__":
    run_program(main, __doc__)
