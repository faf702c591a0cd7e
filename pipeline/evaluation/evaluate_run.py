"""Evaluate one checkpoint of a run on one split, on any number of ranks."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_prep.store.manifest import Manifest
from data_prep.store.reader import PairStore, SplitReader, check_files
from pipeline.data.batches import EvaluationBatches
from pipeline.data.loader import Loader, LoaderConfig
from pipeline.evaluation.final import Subject
from pipeline.evaluation.settings import EvaluateConfig, curves_file, evaluation_file
from pipeline.evaluation.table import FINAL
from pipeline.evaluation.tensorboard import write_events
from pipeline.progress import Progress
from pipeline.runs import load_run
from pipeline.training.checkpoint import MODEL_FILE
from pipeline.training.distributed import join_world
from pipeline.training.evaluation import evaluate
from pipeline.training.run_directory import RunDirectory

PATIENCE = timedelta(days=1)
"""How long other ranks wait while the first analyses and draws."""


def evaluate_run(config: EvaluateConfig, num_batches: int | None = None) -> dict[str, Any]:
    """Write `evaluations/step_XXXXXXXX-<split>.json`, curves beside it, and pictures.

    Returns the JSON's content. On another dataset than the run's own, file names carry the
    start of that dataset's fingerprint. `num_batches` measures no more than so many, for a
    rehearsal, and the result says so. Raises FileNotFoundError or ValueError for what
    cannot be read.
    """
    torch.set_num_threads(config.num_threads)
    run = RunDirectory(Path(config.run_dir))
    data = Path(config.data if config.data is not None else run.read_config().data)
    store = PairStore(data)
    check_files(store.root, store.manifest)
    reader = store.split(config.split)
    with join_world(config.device, PATIENCE) as world:
        loaded = load_run(run.path, str(config.checkpoint), data, world.device)
        share = -(-config.batch // world.world_size) * world.world_size
        chosen = untransformed_records(store.manifest, reader)
        batches = EvaluationBatches(reader, share, world.rank, world.world_size, chosen)
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
            "attempt": loaded.checkpoint.meta.get("attempt", 0),
            **({} if num_batches is None else {"num_batches": num_batches}),
            "metrics": metrics,
        }

        def write() -> dict[str, Any]:
            other = None if is_own_data else fingerprint
            name = f"evaluations/{evaluation_file(loaded.step, config.split, other)}"
            final = FINAL[loaded.config.task.name]
            subject = Subject(
                run.path,
                loaded,
                store.manifest,
                reader,
                config.split,
                config.batch,
                config.analysis_records,
            )
            (run.path / "evaluations").mkdir(exist_ok=True)
            if config.analyses:
                found = final.measure(subject)
                result["metrics"] = {**metrics, **found.metrics}
                if found.curves:
                    run.write_json(curves_file(name), found.curves)
            run.write_json(name, result)
            if config.pictures:
                final.draw(subject)
                write_events(run.path, loaded.step, config.split, result["metrics"])
            return result

        return world.first_decides(write)


def untransformed_records(manifest: Manifest, reader: SplitReader) -> np.ndarray | None:
    """Numbers of the records that are no transforms of others, (M,) int64; None for all.

    Episodes of a test split come with twins, which the metrics of training leave out: they
    would be four or eight times the work, and each other's neighbours.
    """
    if "element" not in manifest.columns:
        return None
    twin = reader.read_column("element", np.arange(reader.num_records))
    return np.flatnonzero(twin == 0) if twin.any() else None
