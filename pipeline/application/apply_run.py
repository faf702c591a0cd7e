"""Encode a user's files, act on their latents, decode, and write what comes out."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_prep.store.manifest import Manifest, read_manifest
from pipeline.application.inputs import Input, file_labels, find_inputs
from pipeline.application.preparation import Preparation, make_preparation
from pipeline.application.reading import Frame, check_file, read_frame, remarks, suffixes
from pipeline.application.settings import ApplyConfig
from pipeline.application.sheet import Sheet
from pipeline.application.writing import to_file_values, write_nifti, write_npy, write_picture
from pipeline.files.atomic import write_json
from pipeline.groups.element_words import read_elements
from pipeline.models.latent_action import LatentActionModel, LatentParts
from pipeline.printing import say
from pipeline.progress import Progress
from pipeline.runs import Run, latent_action_model, load_run
from pipeline.threads import use_threads
from pipeline.training.checkpoint import MODEL_FILE
from pipeline.training.distributed import choose_device
from pipeline.training.float32 import exact_float32

RECORD, SHEET = "applied.json", "sheet.png"


@exact_float32()
def apply_run(config: ApplyConfig) -> dict[str, Any]:
    """Write g x for every file and element below `config.out_dir`, `applied.json`, the sheet.

    Returns the content of applied.json. Raises FileNotFoundError or ValueError, before
    anything is written, for what cannot be understood, does not suit the model by its header,
    or would be overwritten. Damage that shows only on reading ends the work there.
    """
    use_threads(config.num_threads)
    device = choose_device(config.device, 0)
    run = load_run(config.run_dir, str(config.checkpoint), config.data, device)
    model = latent_action_model(run)
    manifest = read_manifest(Path(config.data if config.data is not None else run.config.data))
    names, elements = read_elements(run.group, config.element)
    labels = file_labels(names)
    preparation = make_preparation(config, manifest, run.group)
    kind = "volumes" if preparation.is_volume else "pictures"
    inputs = find_inputs(Path(config.images), suffixes(preparation), kind)
    out = config.out_dir
    if Path(config.images).is_dir() and out.resolve().is_relative_to(Path(config.images).resolve()):
        raise ValueError(f"out={out} must not lie in images={config.images}")
    targets = {source: [out / source.result(label) for label in labels] for source in inputs}
    for source in inputs:
        check_file(source.path, preparation)
    for line in remarks([source.path for source in inputs], preparation):
        say(line, error=True)
    if not config.overwrite:
        whole = [RECORD, SHEET] if config.sheet else [RECORD]
        _check_free([*(out / name for name in whole), *itertools.chain(*targets.values())])
    sheet = Sheet(names)
    elements, places = elements.to(device), config.batch or run.places()
    with Progress(len(inputs), "files", "applying") as progress:
        for first in range(0, len(inputs), places):
            part = inputs[first : first + places]
            frames = [read_frame(each.path, preparation) for each in part]
            moved = transform(model, preparation, frames, elements)
            for index, (source, frame) in enumerate(zip(part, frames, strict=True)):
                for path, result in zip(targets[source], moved[:, index], strict=True):
                    _write(path, result, frame, preparation)
                sheet.add(source.stem.name, frame.values, moved[:, index])
                progress.advance()
    record = _record(run, manifest, preparation, names, elements, targets, out)
    write_json(out / RECORD, record)
    if config.sheet:
        sheet.write(out / SHEET, f"{run.group.name}, {run.config.run_dir}, step {run.step}")
    return record


@torch.no_grad()
def transform(
    model: LatentActionModel, preparation: Preparation, frames: list[Frame], elements: torch.Tensor
) -> np.ndarray:
    """All frames under each element, (num_elements, N, C, ...) uint8."""
    low, high = preparation.frames.stored_range
    grey = torch.from_numpy(np.stack([frame.values for frame in frames])).to(elements.device)
    stored = grey if (low, high) == (0, 255) else low + grey / 255 * (high - low)
    parts = model.encode(model.normalise(stored))
    results = []
    for g in elements:
        moved = model.act(parts.variant, g.expand(len(grey), *g.shape))
        output = model.to_unit_range(model.decode(LatentParts(moved, parts.invariant)))
        results.append(to_file_values(output.float().cpu().numpy(), preparation.is_binary))
    return np.stack(results)


def _check_free(paths: list[Path]) -> None:
    for path in paths:
        if path.exists():
            raise ValueError(f"{path} exists: choose another out, or say overwrite=true")


def _write(path: Path, result: np.ndarray, frame: Frame, preparation: Preparation) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not preparation.is_volume:
        write_picture(path, result)
        return
    volume = (result[0] > 0).astype(np.uint8) if preparation.is_binary else result[0]
    if frame.voxel_mm is None:
        write_npy(path, volume)
    else:
        write_nifti(path, volume, frame.voxel_mm)


def _record(
    run: Run,
    manifest: Manifest,
    preparation: Preparation,
    names: list[str],
    elements: torch.Tensor,
    targets: dict[Input, list[Path]],
    out: Path,
) -> dict[str, Any]:
    return {
        "run": run.config.run_dir,
        "step": run.step,
        "weights": run.checkpoint.meta["files"][MODEL_FILE]["sha256"],
        "dataset": manifest.fingerprint,
        "group": run.group.name,
        "elements": dict(zip(names, run.group.encode(elements).tolist(), strict=True)),
        "preparation": preparation.in_words(),
        "files": {
            str(source.path): [path.relative_to(out).as_posix() for path in paths]
            for source, paths in targets.items()
        },
    }
