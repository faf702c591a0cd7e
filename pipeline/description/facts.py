"""What there is to know about a run, as plain values for text or JSON."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from data_prep.store.manifest import Manifest, read_manifest
from pipeline.description.costs import flops_by_part, num_parameters, parameters_by_part
from pipeline.description.exactness import read_or_measure
from pipeline.models.latent_action import LatentActionModel
from pipeline.runs import Run, load_run
from pipeline.tasks.latent_action.settings import LatentActionConfig
from pipeline.training.float32 import exact_float32
from pipeline.training.run_directory import RunDirectory

MAX_NAMES = 8


@exact_float32()
def describe_run(
    run_dir: Path, checkpoint: str = "best", data: Path | None = None
) -> dict[str, Any]:
    """All facts of a run's checkpoint.

    `data` is where the dataset lies now. What only a latent action model has (latents,
    mask, costs by part, exactness) is left out for other tasks. Raises FileNotFoundError or
    ValueError for what cannot be read.
    """
    run = load_run(run_dir, checkpoint, data)
    place = data if data is not None else Path(run.config.data)
    manifest = read_manifest(place)
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
        "parameters": {
            "total": num_parameters(run.model),
            "parts": parameters_by_part(run.model),
        },
    }
    if isinstance(run.model, LatentActionModel):
        facts |= _latent_action(run_dir, run, run.model, place)
    return facts


def _dataset(place: Path, manifest: Manifest, run: Run) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "path": str(place),
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


def _latent_action(
    run_dir: Path, run: Run, model: LatentActionModel, place: Path
) -> dict[str, Any]:
    task = run.config.task
    assert isinstance(task, LatentActionConfig)
    is_variant = model.mask.is_variant()
    flops = flops_by_part(model)
    exactness = read_or_measure(run_dir, run, place)
    return {
        "network": dataclasses.asdict(model.network),
        "action": dataclasses.asdict(task.action),
        "output": model.output_kind,
        "reconstruct": task.reconstruct,
        "latent": {
            "shape": list(model.latent_shape),
            "num_values": math.prod(model.latent_shape),
            "num_cells": math.prod(model.latent_shape[1:]),
        },
        "mask": {
            "name": task.mask.name,
            "tau": task.tau,
            "num_channels": len(is_variant),
            "num_variant": int(is_variant.sum()),
        },
        "flops": {"total": sum(flops.values()), "parts": flops},
        "exactness": {"origin": exactness.origin, "metrics": exactness.metrics},
    }
