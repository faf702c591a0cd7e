"""After a short run, what people do with a long one: evaluation and pictures, on little data."""

from pathlib import Path

from pipeline.evaluation.evaluate_run import evaluate_run
from pipeline.evaluation.settings import EvaluateConfig
from pipeline.printing import rank_of_environment, say, world_size_of_environment
from pipeline.training.settings import TrainConfig

NUM_ANALYSIS_RECORDS = 64


def rehearse_evaluation(config: TrainConfig, data_copy: Path | None) -> None:
    """Evaluate the last checkpoint of a run that asks for it (`debug.evaluate`), on one rank."""
    if world_size_of_environment() > 1:
        if rank_of_environment() == 0:
            say("debug.evaluate is for one rank: not evaluated")
        return
    evaluate_run(
        EvaluateConfig(
            run_dir=config.run_dir,
            checkpoint="last",
            data=str(data_copy) if data_copy else None,
            device=config.device,
            num_threads=config.num_threads,
            analysis_records=NUM_ANALYSIS_RECORDS,
        ),
        num_batches=config.debug.num_evaluation_batches,
    )
    say("evaluated, with pictures")
