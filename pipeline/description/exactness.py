"""How exact a run's equivariance is: from its evaluations, or measured here and now."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from data_prep.store.reader import PairStore, check_files
from pipeline.analysis.composition import composition_metrics
from pipeline.analysis.equivariance import equivariance_metrics
from pipeline.analysis.records import batches, device_of, spread_records
from pipeline.data.packing import Batch
from pipeline.evaluation.settings import evaluation_file
from pipeline.models.latent_action import LatentActionModel
from pipeline.runs import Run
from pipeline.training.run_directory import RunDirectory

MAX_RECORDS, MIN_RECORDS = 256, 16
MAX_VALUES = 1 << 23
"""Numbers of all frames that are measured, for a program that answers at once."""


class Exactness(NamedTuple):
    """Metrics by name, and where they come from, in words."""

    metrics: dict[str, float]
    origin: str


def read_or_measure(run_dir: Path, run: Run, data: Path) -> Exactness:
    """The test split's evaluation of this checkpoint, if there is one of these weights.

    Otherwise up to 256 test records are measured, of large frames fewer. Raises
    FileNotFoundError or ValueError if they cannot be read.
    """
    name = evaluation_file(run.step, "test")
    written = RunDirectory(run_dir).read_json(f"evaluations/{name}")
    if _is_of(written, run):
        return Exactness(written["metrics"], f"evaluations/{name}")
    metrics, num = measure(run, data)
    return Exactness(metrics, f"measured just now on {num} test records")


def measure(run: Run, data: Path) -> tuple[dict[str, float], int]:
    """Metrics of some records spread over the test split, and how many these are."""
    model = run.model
    assert isinstance(model, LatentActionModel)
    store = PairStore(data)
    check_files(store.root, store.manifest)
    reader, device = store.open_all(("test",))["test"], device_of(model)
    num_values = math.prod(reader.frames.shape)
    num_records = min(MAX_RECORDS, max(MIN_RECORDS, MAX_VALUES // num_values))
    records, places = spread_records(reader, num_records), run.places()
    evaluation = run.task.evaluation(model)
    for _, read in batches(reader, records, places):
        arrays = (*read, np.ones(len(read.label), np.float32))
        evaluation.update(Batch(*(torch.from_numpy(values).to(device) for values in arrays)))
    metrics = evaluation.metrics(evaluation.sums().cpu())
    metrics |= equivariance_metrics(model, reader, records, places)
    is_action = store.manifest.target_is_action_on_source
    metrics |= composition_metrics(model, reader, records, places, is_action)
    return metrics, len(records)


def _is_of(written: Any, run: Run) -> bool:
    """Whether an evaluation is of these weights, on the dataset that they were trained on."""
    meta = run.checkpoint.meta
    return (
        isinstance(written, dict)
        and written.get("weights") == meta["files"]["model.safetensors"]["sha256"]
        and written.get("dataset") == meta["dataset"]
        and "equivariance_error/latent" in written.get("metrics", {})
    )
