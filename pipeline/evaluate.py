"""Evaluate a checkpoint of a run and write metrics and pictures into the run directory.

Examples:
  python pipeline/evaluate.py run_dir=DIR
  python pipeline/evaluate.py run_dir=DIR checkpoint=750 split=val json=true

Keys: run_dir, checkpoint (best, last or a step), data (if the dataset has moved), split, batch,
num_threads, device, json, pictures, analyses, analysis_records (the most records that an analysis
reads; for worlds: episodes), referee (also take the measures that methods share).
print_config=true only prints all keys and where each value came from.
"""

import json

from orbit.core.config.program import run_program, take_switch
from orbit.core.printing import metrics_table, rank_of_environment, say


def main(arguments: list[str]) -> None:
    from orbit.core.config.compose import compose
    from orbit.core.config.schema import build, path_keys
    from pipeline.settings import EvaluateConfig

    is_asked = take_switch(arguments, "print_config")
    config = build(EvaluateConfig, compose("evaluate", arguments, path_keys(EvaluateConfig)))
    if is_asked:
        from orbit.core.config.origins import print_text

        say(print_text(config, "evaluate", arguments))
        return

    from pipeline.evaluation.evaluate_run import evaluate_run
    from pipeline.training.distributed import cluster_faults_end_the_program

    with cluster_faults_end_the_program():
        result = evaluate_run(config)
    if rank_of_environment() != 0:
        return
    if config.json:
        say(json.dumps(result, indent=2))
        return
    trained = f"step {result['step']}, trained in {result['trained_in']}"
    say(f"{config.split} split, checkpoint of {trained}:")
    say(metrics_table(result["metrics"]))
    pictures = " and pictures" if config.pictures else ""
    say(f"written to {config.run_dir}: evaluations/{pictures}")


if __name__ == "__main__":
    run_program(main, __doc__)
