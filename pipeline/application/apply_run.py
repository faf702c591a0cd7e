"""A user's images under group elements, moved by a run's model and written in their own format."""

import gzip
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orbit.core.files.atomic import replacing, write_json
from orbit.core.groups.words import read_elements
from orbit.core.pictures import drawable, flattened, save_figure
from orbit.core.printing import say
from orbit.core.progress import Progress
from orbit.core.reading.files import import_extra
from orbit.core.store.manifest import Manifest
from pipeline.application.reading import (
    HALF,
    WHITE,
    Frame,
    Input,
    Preparation,
    check_file,
    file_labels,
    find_inputs,
    make_preparation,
    read_frame,
    remarks,
    suffixes,
)
from pipeline.arithmetic import exact_float32, use_threads
from pipeline.measuring import Row, picture_grid
from pipeline.models.latent_action import LatentActionModel, LatentParts
from pipeline.run_files.checkpoint import MODEL_FILE
from pipeline.runs import Run, latent_action_model, load_run
from pipeline.settings import ApplyConfig
from pipeline.training.distributed import choose_device


def to_file_values(images: np.ndarray, is_binary: bool) -> np.ndarray:
    """Model outputs (N, C, ...) on [0, 1] as uint8; shapes are thresholded at one half."""
    values: np.ndarray = np.clip(np.rint(images * WHITE), 0, WHITE).astype(np.uint8)
    return np.where(values >= HALF, WHITE, 0).astype(np.uint8) if is_binary else values


def write_picture(path: Path, frame: np.ndarray) -> None:
    """A frame (1 or 3, H, W) uint8 as a PNG."""
    from PIL import Image

    pixels = frame[0] if frame.shape[0] == 1 else np.moveaxis(frame, 0, -1)
    with replacing(path) as temporary:
        Image.fromarray(np.ascontiguousarray(pixels)).save(temporary, format="PNG")


def write_npy(path: Path, volume: np.ndarray) -> None:
    """A volume (D, H, W) uint8 as NPY."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, volume, allow_pickle=False)


def write_nifti(path: Path, volume: np.ndarray, voxel_mm: tuple[float, ...]) -> None:
    """A volume (D, H, W) uint8 with the axes of `orbit.core.reading.nifti` as .nii.gz.

    In the file its axes are RAS and its centre is the origin.
    """
    nibabel = import_extra("nibabel", "volumes", "volumes")
    ras = np.ascontiguousarray(volume[:, ::-1].transpose(2, 1, 0))
    sizes = np.array(voxel_mm[::-1])
    affine = np.diag([*sizes, 1.0])
    affine[:3, 3] = -sizes * (np.array(ras.shape) - 1) / 2
    image = nibabel.Nifti1Image(ras, affine)
    image.header.set_xyzt_units("mm")
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(image.to_bytes(), mtime=0))


MAX_FILES, MAX_ELEMENTS = 8, 8
MAX_NAME = 14


class Sheet:
    """A sheet of the first files: a column for each, with the file's name above."""

    def __init__(self, elements: list[str]) -> None:
        self._elements = elements[:MAX_ELEMENTS]
        self._names: list[str] = []
        self._columns: list[np.ndarray] = []

    def add(self, name: str, frame: np.ndarray, moved: np.ndarray) -> None:
        """Add a file's frame (C, ...) and its transforms (num_elements, C, ...), all uint8."""
        if len(self._columns) < MAX_FILES:
            shown = drawable(name)
            self._names.append(shown if len(shown) <= MAX_NAME else f"{shown[: MAX_NAME - 1]}…")
            frames = [frame, *moved[:MAX_ELEMENTS]]
            self._columns.append(np.stack([flattened(each) for each in frames]))

    def write(self, path: Path, title: str) -> None:
        """Write the sheet as a PNG."""
        pictures = np.stack(self._columns, 1).astype(np.float32) / 255
        rows: list[Row] = [("file", pictures[0], self._names)]
        for name, row in zip(self._elements, pictures[1:], strict=True):
            rows.append((f"g = {name}", row, []))
        save_figure(picture_grid(rows, title), path)


RECORD, SHEET = "applied.json", "sheet.png"


@exact_float32()
def apply_run(config: ApplyConfig) -> dict[str, Any]:
    """Write g x for every file and element below `config.out_dir`, `applied.json`, the sheet.

    Returns the content of applied.json. Raises FileNotFoundError or ValueError, before anything is
    written, for an unknown element, for files whose headers do not suit the model, and for files
    that would be overwritten. A file that turns out to be damaged ends the work at this file.
    """
    use_threads(config.num_threads)
    device = choose_device(config.device, 0)
    run = load_run(config.run_dir, str(config.checkpoint), config.data, device)
    model = latent_action_model(run)
    manifest = run.manifest
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
        sheet.write(out / SHEET, f"{run.group.name}, {run.path}, step {run.step}")
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
            raise ValueError(f"{path} exists: choose another out, or set overwrite=true")


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
