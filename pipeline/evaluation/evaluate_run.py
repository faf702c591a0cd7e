"""Evaluate one checkpoint of a run on one split, on any number of ranks."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.store.manifest import Manifest
from data_prep.store.reader import PairStore, SplitReader, check_files
from pipeline.data.batches import EvaluationBatches
from pipeline.data.loader import Loader, LoaderConfig
from pipeline.data.places import global_places
from pipeline.evaluation.final import Subject
from pipeline.evaluation.settings import EvaluateConfig, curves_file, evaluation_file
from pipeline.evaluation.table import FINAL
from pipeline.evaluation.tensorboard import write_events
from pipeline.progress import Progress
from pipeline.runs import load_run
from pipeline.threads import use_threads
from pipeline.training.checkpoint import MODEL_FILE
from pipeline.training.distributed import join_world
from pipeline.training.evaluation import evaluate
from pipeline.training.float32 import exact_float32
from pipeline.training.run_directory import RunDirectory


@exact_float32()
def evaluate_run(config: EvaluateConfig, num_batches: int | None = None) -> dict[str, Any]:
    """Write `evaluations/step_XXXXXXXX-<split>.json`, curves beside it, and pictures.

    Returns the JSON's content. On another dataset than the run's own, file names carry the
    start of that dataset's fingerprint. `num_batches` measures no more than so many, for a
    rehearsal, and the result says so. Raises FileNotFoundError or ValueError for what
    cannot be read, and for metrics that are not finite. Ranks other than the first return
    what all of them measured, without the analyses.
    """
    use_threads(config.num_threads)
    run = RunDirectory(Path(config.run_dir))
    data = Path(config.data if config.data is not None else run.read_config().data)
    store = PairStore(data)
    check_files(store.root, store.manifest)
    store.manifest.check_has_targets(config.split, f"split={config.split}", "split=val or test")
    reader = store.open_all((config.split,))[config.split]
    with join_world(config.device) as world:
        loaded = load_run(run.path, str(config.checkpoint), data, world.device)
        chosen = untransformed_records(store.manifest, reader)
        num_records = reader.num_records if chosen is None else len(chosen)
        size = world.world_size
        places = loaded.places(size) if config.batch is None else -(-config.batch // size)
        share = global_places(num_records, places, size)
        batches = EvaluationBatches(reader, share, world.rank, size, chosen)
        num_steps = min(batches.num_steps, num_batches or batches.num_steps)
        loader = Loader(batches, 0, num_steps, world.device, LoaderConfig())
        shown = {"enabled": world.is_first, "lines": not config.json}
        with Progress(num_steps, "batches", f"evaluating {config.split}", **shown) as progress:
            evaluation = loaded.task.evaluation(loaded.model)
            metrics = evaluate(evaluation, progress.over(loader), world)
    fingerprint = store.manifest.fingerprint
    result: dict[str, Any] = {
        "step": loaded.step,
        "split": config.split,
        "dataset": fingerprint,
        "weights": loaded.checkpoint.meta["files"][MODEL_FILE]["sha256"],
        "attempt": loaded.checkpoint.meta.get("attempt", 0),
        "trained_in": loaded.config.precision,
        **({} if num_batches is None else {"num_batches": num_batches}),
        "metrics": metrics,
    }
    if not world.is_first:
        return result
    # Out of the group: the others are not kept waiting for what one process does alone.
    other = None if fingerprint == loaded.checkpoint.meta["dataset"] else fingerprint
    name = f"evaluations/{evaluation_file(loaded.step, config.split, other)}"
    final = FINAL[loaded.config.task.name]
    subject = Subject(
        run.path,
        loaded,
        store.manifest,
        reader,
        config.split,
        config.batch or loaded.places(),
        config.analysis_records,
    )
    curves: dict[str, Any] = {}
    if config.analyses:
        found = final.measure(subject)
        result["metrics"], curves = {**metrics, **found.metrics}, found.curves
    _refuse_non_finite(result["metrics"], f"{run.path}, step {loaded.step}")
    (run.path / "evaluations").mkdir(exist_ok=True)
    if curves:
        run.write_json(curves_file(name), curves)
    run.write_json(name, result)
    if config.pictures:
        final.draw(subject)
        write_events(run.path, loaded.step, config.split, result["metrics"])
    return result


def _refuse_non_finite(metrics: Mapping[str, float], of: str) -> None:
    guilty = [name for name, value in metrics.items() if not math.isfinite(value)]
    if guilty:
        raise ValueError(
            f"{', '.join(guilty)} of {of} is not finite: nothing was written; did that run diverge?"
        )


def untransformed_records(manifest: Manifest, reader: SplitReader) -> np.ndarray | None:
    """Numbers of the records that are no transforms of others, (M,) int64; None for all.

    Episodes of a test split come with twins, which the metrics of training leave out: they
    would be four or eight times the work, and each other's neighbours.
    """
    if "element" not in manifest.columns:
        return None
    twin = reader.read_column("element", np.arange(reader.num_records))
    return np.flatnonzero(twin == 0) if twin.any() else None
