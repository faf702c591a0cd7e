"""What somebody must know to call exported programs: signature.json."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from data_prep.store.manifest import Manifest
from pipeline import __version__
from pipeline.exporting.program import Program
from pipeline.groups import Group
from pipeline.groups.element_words import MAX_LISTED
from pipeline.runs import Run
from pipeline.training.checkpoint import MODEL_FILE

FORMAT = 1


def make_signature(
    run: Run,
    manifest: Manifest,
    programs: Sequence[Program],
    differences: Mapping[str, float],
) -> dict[str, Any]:
    """Plain values: programs, frames, group with its elements, and where the model comes from."""
    return {
        "format": FORMAT,
        "task": run.config.task.name,
        "programs": {
            program.name: {
                "file": program.file,
                "meaning": program.meaning,
                "inputs": [spec.as_json() for spec in program.inputs],
                "outputs": [spec.as_json() for spec in program.outputs],
                "greatest_difference_to_model": differences[program.name],
            }
            for program in programs
        },
        "frames": dataclasses.asdict(manifest.frames),
        "action": [dataclasses.asdict(component) for component in manifest.action],
        "group": _group(run.group),
        "origin": {
            "run": run.config.run_dir,
            "step": run.step,
            "weights": run.checkpoint.meta["files"][MODEL_FILE]["sha256"],
            "dataset": manifest.name,
            "fingerprint": manifest.fingerprint,
            "package": __version__,
            "torch": torch.__version__,
        },
    }


def _group(group: Group) -> dict[str, Any]:
    """Components of action vectors, and those of all elements where they are few, else of some."""
    is_listed = group.num_elements is not None and group.num_elements <= MAX_LISTED
    elements = group.elements() if is_listed else group.examples()
    vectors = zip(group.names(elements), group.encode(elements).tolist(), strict=True)
    return {
        "name": group.name,
        "num_elements": group.num_elements,
        "components": [dataclasses.asdict(component) for component in group.action_components],
        "elements": dict(vectors),
    }
