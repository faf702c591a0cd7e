"""The facts about a run, as plain values: data, parameters, costs, exactness."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from orbit.core.store.manifest import MANIFEST_NAME, Manifest
from orbit.core.store.reader import PairStore
from pipeline.arithmetic import exact_float32
from pipeline.data.packing import Batch
from pipeline.measuring import batches, device_of, spread_records
from pipeline.methods.latent_action.measures import composition_metrics, equivariance_metrics
from pipeline.methods.table import method_of
from pipeline.models.latent_action import LatentActionModel, LatentParts
from pipeline.runs import Run, evaluation_of, load_run, open_data
from pipeline.settings import evaluation_file
from pipeline.training.run_directory import RunDirectory, parameters


@torch.no_grad()
def flops_by_part(model: LatentActionModel) -> dict[str, int]:
    """Operations of encoding, acting and decoding one image, by torch's FlopCounterMode.

    A multiplication and an addition count as two. Only products count (convolutions, linear layers,
    matrices), not moving values or pointwise functions.
    """
    device = next(model.parameters()).device
    images = torch.zeros(1, *model.frames.shape, device=device)
    g = model.group.identity(1).to(device)
    parts = model.encode(images)
    return {
        "encode": _count(lambda: model.encode(images)),
        "act": _count(lambda: model.act(parts.variant, g)),
        "decode": _count(lambda: model.decode(LatentParts(*parts))),
    }


def _count(work: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


MAX_RECORDS, MIN_RECORDS = 256, 16
MAX_VALUES = 1 << 23
"""The most values of all measured frames together, so that the program answers at once."""


NOT_MEASURED = "not evaluated, and the dataset is not at its recorded path: set data=DIR"


class Exactness(NamedTuple):
    """Metrics by name, and their origin in words."""

    metrics: dict[str, float]
    origin: str


def read_or_measure(run: Run, data: Path | None) -> Exactness:
    """The evaluation of this checkpoint on the test split, if there is one of these weights.

    Otherwise up to 256 test records are measured, or fewer if frames are large; none if the run's
    own dataset is not where it was. Raises FileNotFoundError or ValueError if `data` is given and
    cannot be read.
    """
    written = evaluation_of(run, "test")
    if written is not None and "equivariance_error/latent" in written["metrics"]:
        name = evaluation_file(run.step, "test")
        return Exactness(written["metrics"], f"evaluations/{name}")
    try:
        store = open_data(RunDirectory(run.path), data)
    except FileNotFoundError:
        if data is not None:
            raise
        return Exactness({}, NOT_MEASURED)
    if store.manifest.fingerprint != run.manifest.fingerprint:
        return Exactness({}, NOT_MEASURED)
    metrics, num = measure(run, store)
    return Exactness(metrics, f"measured just now on {num} test records")


def measure(run: Run, store: PairStore) -> tuple[dict[str, float], int]:
    """Metrics of some records spread over the test split, and their number."""
    model = run.model
    assert isinstance(model, LatentActionModel)
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


MAX_NAMES = 8


@exact_float32()
def describe_run(
    run_dir: Path, checkpoint: str = "best", data: Path | None = None
) -> dict[str, Any]:
    """All facts of a run's checkpoint.

    `data` is the dataset's current path. Facts that only a latent action model has (latents, mask,
    costs by part, exactness) are left out for other models; `further` holds the method's own lines.
    Raises FileNotFoundError or ValueError for what cannot be read.
    """
    return describe_loaded(load_run(run_dir, checkpoint, data), checkpoint, data)


@exact_float32()
def describe_loaded(run: Run, checkpoint: str, data: Path | None = None) -> dict[str, Any]:
    """The same for a loaded run."""
    run_dir, manifest = run.path, run.manifest
    place = data if data is not None else Path(run.config.data)
    result = RunDirectory(run_dir).read_json("result.json")
    facts: dict[str, Any] = {
        "run_dir": str(run_dir),
        "checkpoint": checkpoint,
        "step": run.step,
        "epochs": run.config.epochs,
        "state": "finished" if result is not None else "unfinished",
        "task": run.config.task.name,
        "precision": run.config.precision,
        "dataset": _dataset(place, manifest, run),
        "group": _group(run),
        "parameters": parameters(run.model),
    }
    if isinstance(run.model, LatentActionModel):
        facts |= _latent_action(run, run.model, data)
    describe = method_of(run.config.task).describe
    if describe is not None:
        facts["further"] = dict(describe(run, manifest))
    return facts


def _dataset(place: Path, manifest: Manifest, run: Run) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "path": str(place),
        "is_there": (place / MANIFEST_NAME).is_file(),
        "is_own": manifest.fingerprint == run.checkpoint.meta["dataset"],
        "frame": list(manifest.frames.shape),
        "values": manifest.frames.values,
        "num_records": {name: split.num_records for name, split in manifest.splits.items()},
        "target_is_action_on_source": manifest.target_is_action_on_source,
    }


def _group(run: Run) -> dict[str, Any]:
    group = run.group
    names = group.names(group.examples())
    return {
        "name": group.name,
        "num_elements": group.num_elements,
        "is_exact": group.is_exact,
        "names": names[:MAX_NAMES],
        "components": [dataclasses.asdict(component) for component in group.action_components],
    }


def _latent_action(run: Run, model: LatentActionModel, data: Path | None) -> dict[str, Any]:
    is_variant = model.mask.is_variant()
    flops = flops_by_part(model)
    exactness = read_or_measure(run, data)
    return {
        "network": dataclasses.asdict(model.network),
        "action": dataclasses.asdict(model.action_settings),
        "output": model.output_kind,
        "reconstruct": getattr(run.config.task, "reconstruct", "action"),
        "latent": {
            "shape": list(model.latent_shape),
            "num_values": math.prod(model.latent_shape),
            "num_cells": math.prod(model.latent_shape[1:]),
        },
        "mask": {
            "name": model.mask_settings.name,
            "tau": model.tau,
            "num_channels": len(is_variant),
            "num_variant": int(is_variant.sum()),
        },
        "flops": {"total": sum(flops.values()), "parts": flops},
        "exactness": {"origin": exactness.origin, "metrics": exactness.metrics},
    }
