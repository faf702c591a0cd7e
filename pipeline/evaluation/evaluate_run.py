"""Evaluate one checkpoint of a run on one split, on any number of ranks.

Event files have their own folder: TensorBoard stops reading an event file when a newer one is in
the same folder, and training may continue.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orbit import __version__
from orbit.core.code import measured_by
from orbit.core.files.listing import list_folder
from orbit.core.metrics import statements_for
from orbit.core.printing import rank_of_environment, say, world_size_of_environment
from orbit.core.progress import Progress
from orbit.core.store.manifest import Manifest
from orbit.core.store.reader import PairStore, SplitReader
from pipeline.arithmetic import exact_float32, use_threads
from pipeline.data.batches import EvaluationBatches
from pipeline.data.loader import Loader, LoaderConfig
from pipeline.data.packing import global_places
from pipeline.description.facts import describe_loaded
from pipeline.description.words import in_words
from pipeline.loggers import open_events
from pipeline.measuring import Subject, device_of
from pipeline.methods.table import method_of
from pipeline.referee.statements import STATEMENTS
from pipeline.run_files.checkpoint import MODEL_FILE
from pipeline.runs import Run, load_run, open_data
from pipeline.settings import EvaluateConfig, curves_file, evaluation_file
from pipeline.training.distributed import evaluate, join_world
from pipeline.training.run_directory import RunDirectory
from pipeline.training.settings import TrainConfig

if TYPE_CHECKING:
    from pipeline.referee.measure import Findings as RefereeFindings

FOLDER = "evaluations"


def write_events(run_dir: Path, step: int, split: str, metrics: Mapping[str, float]) -> None:
    """Write metrics and the run's pictures as events into `run_dir/evaluations`, replacing those of
    the same step and split."""
    from PIL import Image

    suffix = f".step_{step:08d}-{split}"
    folder = run_dir / FOLDER
    for file in list_folder(folder, f"events.out.tfevents.*{suffix}"):
        file.unlink()
    writer = open_events(folder, filename_suffix=suffix)
    for name, value in metrics.items():
        writer.add_scalar(f"{split}/{name}", value, step)
    for file in [run_dir / "orbits.png", *list_folder(run_dir / "pictures", "*.png")]:
        if file.is_file():
            with Image.open(file) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            writer.add_image(file.stem, pixels, step, dataformats="HWC")
    writer.flush()  # Raises an error of its thread; `close` alone would not.
    writer.close()


@exact_float32()
def evaluate_run(config: EvaluateConfig, num_batches: int | None = None) -> dict[str, Any]:
    """Write `evaluations/step_XXXXXXXX-<split>.json`, curves, and pictures.

    Returns the JSON's content. On another dataset than the run's own, file names contain the start
    of that dataset's fingerprint. `num_batches` limits the batches that are measured, for a
    rehearsal, and the result records it. Raises FileNotFoundError or ValueError for files that
    cannot be read, and for metrics that are not finite. Ranks other than the first return the
    common metrics, without the analyses.
    """
    use_threads(config.num_threads)
    run = RunDirectory(Path(config.run_dir))
    store = open_data(run, config.data)
    store.manifest.check_has_targets(config.split, f"split={config.split}", "split=val or test")
    if config.referee:
        _check_referee(run, store, config.split)
    reader = store.open_all((config.split,))[config.split]
    with join_world(config.device) as world:
        loaded = load_run(run.path, str(config.checkpoint), store.root, world.device)
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
        "orbit": __version__,
        "step": loaded.step,
        "split": config.split,
        "dataset": fingerprint,
        "weights": loaded.checkpoint.meta["files"][MODEL_FILE]["sha256"],
        "attempt": loaded.checkpoint.meta.get("attempt", 0),
        "trained_in": loaded.config.precision,
        "code": measured_by(loaded.config.plugins, store.manifest.plugins),
        **({} if num_batches is None else {"num_batches": num_batches}),
        "metrics": metrics,
    }
    if not world.is_first:
        return result
    # Outside the process group, so that other ranks do not wait for the work of one.
    other = None if fingerprint == loaded.checkpoint.meta["dataset"] else fingerprint
    name = f"evaluations/{evaluation_file(loaded.step, config.split, other)}"
    method = method_of(loaded.config.task)
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
        found = method.measure(subject)
        result["metrics"], curves = {**metrics, **found.metrics}, found.curves
    if config.referee:
        refereed = _referee(loaded, store, subject)
        result["metrics"] = {**result["metrics"], **refereed.metrics}
        result["not_measured"] = refereed.refused
        curves = {**curves, "pose_r2_of_components": refereed.components}
    result["meanings"] = statements_for(result["metrics"], (*method.metrics, *STATEMENTS))
    _refuse_non_finite(result["metrics"], f"{run.path}, step {loaded.step}")
    (run.path / "evaluations").mkdir(exist_ok=True)
    if curves:
        run.write_json(curves_file(name), curves)
    run.write_json(name, result)
    if config.analyses and config.split == "test" and other is None and num_batches is None:
        _describe(run, loaded, store.root)
    if config.pictures:
        method.draw(subject)
        write_events(run.path, loaded.step, config.split, result["metrics"])
    return result


def _check_referee(run: RunDirectory, store: PairStore, split: str) -> None:
    """Raise ValueError if a run has no latent, or the dataset no views, to measure."""
    from pipeline.referee.measure import check_can_measure

    task = run.read_config().task
    if method_of(task).latents is None:
        raise ValueError(f"referee=true: task.name={task.name} offers no latent (Method.latents)")
    try:
        check_can_measure(store.manifest, split)
    except ValueError as error:
        raise ValueError(f"referee=true needs views of objects: {error}") from None


def _referee(run: Run, store: PairStore, subject: Subject) -> RefereeFindings:
    """The measures that methods share; says what was not measured, and why."""
    from pipeline.probing.features import untrained_model
    from pipeline.referee.measure import measure

    offered = method_of(run.config.task).latents
    assert offered is not None
    models = run.model, untrained_model(run, store.manifest, device_of(run.model))
    found = measure(offered, models, store, subject.split, subject.batch)
    for names, reason in found.refused.items():
        say(f"not measured: {names}: {reason}", error=True)
    return found


def _describe(run: RunDirectory, loaded: Run, data: Path) -> None:
    """Write the text of `pipeline/describe.py` for readers that load no model: reports."""
    facts = describe_loaded(loaded, "evaluated", data)
    said = {"orbit": __version__, "step": loaded.step, "words": in_words(facts), "facts": facts}
    run.write_json("description.json", said)


def _refuse_non_finite(metrics: Mapping[str, float], of: str) -> None:
    guilty = [name for name, value in metrics.items() if not math.isfinite(value)]
    if guilty:
        raise ValueError(
            f"{', '.join(guilty)} of {of} is not finite: nothing was written; did that run diverge?"
        )


def untransformed_records(manifest: Manifest, reader: SplitReader) -> np.ndarray | None:
    """Numbers of the records that are not in rotated copies, (M,) int64; None for all.

    Episodes of a test split come with rotated copies, which the metrics of training leave out: they
    would multiply the work by four or eight, and would be compared with each other.
    """
    if "element" not in manifest.columns:
        return None
    copy = reader.read_column("element", np.arange(reader.num_records))
    return np.flatnonzero(copy == 0) if copy.any() else None


NUM_ANALYSIS_RECORDS = 64


def rehearse_evaluation(config: TrainConfig, data_copy: Path | None) -> None:
    """Evaluate the last checkpoint of a run with `debug.evaluate`, on one rank."""
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
