"""Exporting a run's model as programs that do not need Orbit, with their signature.

out/
  model.safetensors    the weights alone
  NAME.pt2             torch.export programs with their weights, for any batch size
  signature.json       what goes in and comes out; written last
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_safetensors

from orbit import __version__
from orbit.core.files.atomic import replacing_folder, write_json
from orbit.core.groups import Group
from orbit.core.groups.words import MAX_LISTED
from orbit.core.progress import Progress
from orbit.core.store.manifest import Manifest
from pipeline.arithmetic import exact_float32, use_threads
from pipeline.methods.table import METHODS, method_of
from pipeline.programs import Program, greatest_difference, write_program
from pipeline.run_files.checkpoint import MODEL_FILE
from pipeline.runs import Run, load_run
from pipeline.settings import ExportConfig


def programs_of(run: Run, manifest: Manifest) -> list[Program]:
    """The programs of a run's model; ValueError for a method that has none."""
    task: str = run.config.task.name
    programs = method_of(run.config.task).programs
    if programs is None:
        allowed = ", ".join(name for name, method in METHODS.items() if method.programs)
        raise ValueError(f"task.name={task} cannot be exported yet; allowed: {allowed}")
    return programs(run, manifest)


FORMAT = 1


def make_signature(
    run: Run,
    manifest: Manifest,
    programs: Sequence[Program],
    differences: Mapping[str, float],
) -> dict[str, Any]:
    """The signature as plain values: programs, frames, group with its elements, origin of the
    model."""
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
    """Components of action vectors, and the vectors of all elements if there are few, otherwise of
    some."""
    is_listed = group.num_elements is not None and group.num_elements <= MAX_LISTED
    elements = group.elements() if is_listed else group.examples()
    vectors = zip(group.names(elements), group.encode(elements).tolist(), strict=True)
    return {
        "name": group.name,
        "num_elements": group.num_elements,
        "components": [dataclasses.asdict(component) for component in group.action_components],
        "elements": dict(vectors),
    }


WEIGHTS, SIGNATURE = "model.safetensors", "signature.json"


@exact_float32()
def export_run(config: ExportConfig) -> dict[str, Any]:
    """Write the folder `config.out_dir`, completely or not at all; returns the signature.

    Raises FileNotFoundError or ValueError for files that cannot be read, a method that cannot be
    exported, an existing folder, or programs that do not agree with the model.
    """
    out = config.out_dir
    _check_place(out, config.overwrite)
    use_threads(config.num_threads)
    run = load_run(config.run_dir, str(config.checkpoint), config.data)
    manifest = run.manifest
    programs = programs_of(run, manifest)
    differences: dict[str, float] = {}
    with replacing_folder(out.absolute()) as draft:
        weights = {name: values.contiguous() for name, values in run.model.state_dict().items()}
        step = {"step": str(run.step), "run": config.run_dir, "task": run.config.task.name}
        (draft / WEIGHTS).write_bytes(save_safetensors(weights, step))
        with Progress(len(programs), "programs", "exporting") as progress:
            for program in programs:
                progress.note(program.name)
                write_program(program, draft / program.file)
                difference = greatest_difference(program, draft / program.file, run.places())
                if not difference <= config.tolerance:
                    raise ValueError(
                        f"{program.file} is off the model by {difference:.3g}, more than"
                        f" tolerance={config.tolerance:g}"
                    )
                differences[program.name] = difference
                progress.advance()
        signature = make_signature(run, manifest, programs, differences)
        write_json(draft / SIGNATURE, signature)
    return signature


def _check_place(out: Path, overwrite: bool) -> None:
    """Raise ValueError unless the folder is free or holds an earlier export that may be
    replaced."""
    if not out.exists():
        return
    if not overwrite:
        raise ValueError(f"{out} exists: choose another out, or set overwrite=true")
    if not (out / SIGNATURE).is_file():
        raise ValueError(f"{out} is not an earlier export: overwrite=true does not replace it")
