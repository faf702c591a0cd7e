"""Evaluate one checkpoint of a run on one split, on any number of ranks."""

from pathlib import Path
from typing import Any

import torch

from data_prep.store.reader import PairStore, check_files
from pipeline.analysis.analyse import analyse
from pipeline.data.batches import EvaluationBatches
from pipeline.data.loader import Loader, LoaderConfig
from pipeline.evaluation.pictures import write_pictures
from pipeline.evaluation.settings import EvaluateConfig, evaluation_file
from pipeline.progress import Progress
from pipeline.runs import load_run
from pipeline.training.checkpoint import MODEL_FILE
from pipeline.training.distributed import join_world
from pipeline.training.evaluation import evaluate
from pipeline.training.run_directory import RunDirectory


def evaluate_run(config: EvaluateConfig, num_batches: int | None = None) -> dict[str, Any]:
    """Write `evaluations/step_XXXXXXXX-<split>.json` and pictures; returns the JSON's content.

    On another dataset than the run's own, the file name carries the start of that
    dataset's fingerprint. `num_batches` measures no more than so many, for a rehearsal, and
    the result says so. Raises FileNotFoundError or ValueError for what cannot be read.
    """
    torch.set_num_threads(config.num_threads)
    run = RunDirectory(Path(config.run_dir))
    data = Path(config.data if config.data is not None else run.read_config().data)
    store = PairStore(data)
    check_files(store.root, store.manifest)
    reader = store.split(config.split)
    with join_world(config.device) as world:
        loaded = load_run(run.path, str(config.checkpoint), data, world.device)
        share = -(-config.batch // world.world_size) * world.world_size
        batches = EvaluationBatches(reader, share, world.rank, world.world_size)
        num_steps = min(batches.num_steps, num_batches or batches.num_steps)
        loader = Loader(batches, 0, num_steps, world.device, LoaderConfig())
        shown = {"enabled": world.is_first, "lines": not config.json}
        with Progress(num_steps, "batches", f"evaluating {config.split}", **shown) as progress:
            evaluation = loaded.task.evaluation(loaded.model)
            metrics = evaluate(evaluation, progress.over(loader), world)
        fingerprint = store.manifest.fingerprint
        is_own_data = fingerprint == loaded.checkpoint.meta["dataset"]
        result: dict[str, Any] = {
            "step": loaded.step,
            "split": config.split,
            "dataset": fingerprint,
            "weights": loaded.checkpoint.meta["files"][MODEL_FILE]["sha256"],
            **({} if num_batches is None else {"num_batches": num_batches}),
            "metrics": metrics,
        }

        def write() -> dict[str, Any]:
            if config.analyses:
                found = analyse(
                    loaded, store.manifest, reader, config.analysis_records, config.batch
                )
                result["metrics"] = {**metrics, **found}
            folder = run.path / "evaluations"
            folder.mkdir(exist_ok=True)
            name = evaluation_file(loaded.step, config.split, None if is_own_data else fingerprint)
            run.write_json(f"evaluations/{name}", result)
            if config.pictures:
                write_pictures(run.path, loaded, store.manifest, reader)
            return result

        return world.first_decides(write)
