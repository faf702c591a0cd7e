"""Stored frames through a model: orbits.png and the frames under each element."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from orbit.core.groups import Group
from orbit.core.pictures import FrameSet, flattened, save_figure, write_frames
from orbit.core.store.manifest import FrameSpec, Manifest
from orbit.core.store.reader import Records, SplitReader
from pipeline.data.packing import slices
from pipeline.measuring import (
    Row,
    TrainedModel,
    device_of,
    picture_grid,
    spread_records,
    spread_sources,
)
from pipeline.models.latent_action import LatentActionModel

NUM_CANDIDATES = 512
MAX_PREVIEW_PIXELS = 96


@torch.no_grad()
def preview_rows(
    model: LatentActionModel, records: Records, spec: FrameSpec
) -> dict[str, np.ndarray]:
    """Sources, what a model makes of them, and truths, (N, C, h, w) each on [0, 1].

    Of volumes their middle slices; large frames are shrunk.
    """
    device = device_of(model)
    images = model.normalise(torch.from_numpy(records.source).to(device))
    g = model.group.decode(torch.from_numpy(records.action).to(device))
    output = model.to_unit_range(model.transform(images, g)).clamp(0, 1).float().cpu().numpy()
    rows = {
        "source": unit_range(records.source, spec),
        "output": output,
        "truth": unit_range(records.target, spec),
    }
    return {name: shrunk(_shown(frames), MAX_PREVIEW_PIXELS) for name, frames in rows.items()}


@torch.no_grad()
def predict(run: TrainedModel, source: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Model outputs in [0, 1] for stored frames (N, C, ...) and action vectors (N, A)."""
    model = run.model
    assert isinstance(model, LatentActionModel)
    device, outputs = device_of(model), []
    for part in slices(len(source), run.places()):
        images = model.normalise(torch.from_numpy(source[part]).to(device))
        g = run.group.decode(torch.from_numpy(action[part]).to(device))
        outputs.append(model.to_unit_range(model.transform(images, g)).clamp(0, 1).cpu().numpy())
    return np.concatenate(outputs)


def element_names(run: TrainedModel, action: np.ndarray) -> list[str]:
    """A short name of the element of each action vector (N, A)."""
    return run.group.names(run.group.decode(torch.from_numpy(action)))


def unit_range(frames: np.ndarray, spec: FrameSpec) -> np.ndarray:
    """Stored frames on [0, 1], float32."""
    low, high = spec.stored_range
    return np.asarray((frames.astype(np.float32) - low) / (high - low))


def middle_slice(frame: np.ndarray) -> np.ndarray:
    """The middle slice (C, H, W) of a volume (C, D, H, W) along its first axis; an image is
    unchanged."""
    return frame[:, frame.shape[1] // 2] if frame.ndim == 4 else frame


def varied_records(run: TrainedModel, reader: SplitReader, num: int) -> np.ndarray:
    """Up to `num` records, spread over the split and cycling through the bins of elements, (N,)
    int64."""
    candidates = spread_records(reader, NUM_CANDIDATES)
    action = torch.from_numpy(reader.read_column("action", candidates))
    bins = run.group.bin_index(run.group.decode(action)).numpy()
    present = np.unique(bins)
    num = min(num, len(candidates))
    chosen: list[int] = []
    for column in range(num):
        wanted = bins == present[column % len(present)]
        wanted[chosen] = False
        places = np.flatnonzero(wanted) if wanted.any() else np.arange(len(candidates))
        goal = (column + 0.5) * len(candidates) / num
        chosen.append(int(places[np.argmin(np.abs(places - goal))]))
    return candidates[chosen]


NUM_IMAGES, NUM_VOLUMES = 8, 3
MAX_PIXELS, MAX_VOXELS = 160, 64
"""The largest side of shown frames; larger ones are shrunk by an integer factor."""
MAX_ELEMENTS = 48
"""A slider shows all elements of finite groups up to this order."""
NUM_TURNS = 24
"""Elements of a full turn in a continuous group; half as many for volumes."""
TILT = 1 / math.sqrt(3)
"""Components of the axis (1, 1, 1) about which volumes turn."""


def slider_elements(group: Group, num_turns: int = NUM_TURNS) -> torch.Tensor:
    """Elements in the order of a slider, the identity first.

    All elements of a small finite group, some of a large one, and for a continuous group those of a
    full turn: of the plane, or of space about the axis (1, 1, 1).
    """
    if group.num_elements is not None:
        return group.elements() if group.num_elements <= MAX_ELEMENTS else group.examples()
    angles = torch.arange(num_turns, dtype=torch.float64) * (2 * math.pi / num_turns)
    half = (angles / 2).sin() * TILT
    by_name = {
        "cosine": angles.cos(),
        "sine": angles.sin(),
        "quaternion_w": (angles / 2).cos(),
        **{f"quaternion_{axis}": half for axis in "xyz"},
    }
    rest = torch.zeros_like(angles)
    columns = [by_name.get(part.name, rest) for part in group.action_components]
    return group.decode(torch.stack(columns, 1).float())


@dataclass(frozen=True)
class ElementFrames:
    """`num_sources` sources, spread over a split, under K elements, whose names are `labels`.

    `frames` makes (R, N, C, ...) on [0, 1] of N sources, for one element after the other. Rows
    are source, output and, where it is known, truth: where the group acts on whole frames, or
    the split holds the orbits of a finite group.
    """

    labels: list[str]
    rows: list[str]
    num_sources: int
    frames: Iterator[np.ndarray]


def element_frames(run: TrainedModel, manifest: Manifest, reader: SplitReader) -> ElementFrames:
    """The outputs of the model for the same sources under one element after the other."""
    is_volume = len(reader.frames.shape) == 4
    elements = slider_elements(run.group, NUM_TURNS // 2 if is_volume else NUM_TURNS)
    most = MAX_VOXELS if is_volume else MAX_PIXELS
    numbers = spread_sources(reader, NUM_VOLUMES if is_volume else NUM_IMAGES)
    source = reader.read(numbers).source
    truth = _truth(run.group, manifest, reader, elements, numbers, source)

    def frames() -> Iterator[np.ndarray]:
        for index, g in enumerate(elements):
            action = run.group.encode(torch.stack([g] * len(source))).numpy()
            shown = [unit_range(source, reader.frames), predict(run, source, action)]
            shown = shown if truth is None else [*shown, truth(index)]
            yield np.stack([shrunk(frames, most) for frames in shown]).astype(np.float32)

    rows = ["source", "output"] + ([] if truth is None else ["truth"])
    return ElementFrames(run.group.names(elements), rows, len(source), frames())


def shrunk(frames: np.ndarray, most: int) -> np.ndarray:
    """Frames (N, C, ...) with sides of at most `most`: means over blocks of an integer side;
    incomplete blocks are left out."""
    factor = -(-max(frames.shape[2:]) // most)
    if factor == 1:
        return frames
    for axis in range(2, frames.ndim):
        num = max(1, frames.shape[axis] // factor)
        size = min(factor, frames.shape[axis])
        kept = np.take(frames, range(num * size), axis)
        shape = (*kept.shape[:axis], num, size, *kept.shape[axis + 1 :])
        frames = kept.reshape(shape).mean(axis + 1)
    return frames


def write_elements(
    folder: Path, run: TrainedModel, manifest: Manifest, reader: SplitReader
) -> FrameSet:
    """The frames of `element_frames` as files."""
    shown = element_frames(run, manifest, reader)
    return write_frames(
        folder,
        shown.frames,
        shown.labels,
        shown.rows,
        title=f"Sources under the elements of {run.group.name}",
        description=f"{shown.num_sources} sources, what the model makes of them"
        " under a group element" + (", and the truth." if "truth" in shown.rows else "."),
        step=run.step,
    )


def _truth(
    group: Group,
    manifest: Manifest,
    reader: SplitReader,
    elements: torch.Tensor,
    numbers: np.ndarray,
    source: np.ndarray,
) -> Callable[[int], np.ndarray] | None:
    """A function from an element's position to truths (N, C, ...) on [0, 1]; None if they are not
    known."""
    if manifest.target_is_action_on_source:
        frames = torch.from_numpy(source)
        frames = frames if group.is_exact else frames.float()

        def act(index: int) -> np.ndarray:
            g = torch.stack([elements[index]] * len(frames))
            return unit_range(group.act_on_image(frames, g).numpy(), reader.frames)

        return act
    if group.num_elements is None or reader.records_per_source != len(elements):
        return None
    orbits = numbers[:, None] + np.arange(len(elements))
    actions = torch.from_numpy(reader.read_column("action", orbits.ravel()))
    stored = group.element_index(group.decode(actions))
    # The order of the orbit may differ from that of the elements.
    places = stored.numpy().reshape(orbits.shape).argsort(1)

    def read(index: int) -> np.ndarray:
        records = orbits[np.arange(len(numbers)), places[:, index]]
        return unit_range(reader.read_frames("target", records), reader.frames)

    return read


NUM_ORBIT_IMAGES = 6
NUM_ORBIT_VOLUMES = 3
MAX_COLUMNS, MAX_DRAWN = 8, 4
"""The most elements for each source, of a finite group, and drawn ones of a continuous group."""


def orbit_records(
    reader: SplitReader, num_sources: int, max_elements: int = MAX_COLUMNS
) -> np.ndarray:
    """Record numbers (K, N): N evenly spread sources, each under some of its elements.

    Where records do not come in runs that share a source, K is 1.
    """
    length = reader.records_per_source or 1
    total = reader.num_records // length
    # If the members of an orbit are sources in turn, an odd stride reaches every pose.
    stride = max(1, total // num_sources - 1) | 1
    sources = np.arange(min(num_sources, total)) * stride % total
    elements = np.arange(0, length, -(-length // max_elements))
    return np.asarray(sources[None] * length + elements[:, None])


def write_orbits(path: Path, run: TrainedModel, reader: SplitReader) -> None:
    """A row of sources, then a row of outputs and one of truths for each element, as a PNG."""
    is_volume = len(reader.frames.shape) == 4
    num_sources = NUM_ORBIT_VOLUMES if is_volume else NUM_ORBIT_IMAGES
    max_elements = MAX_COLUMNS if run.group.num_elements is not None else MAX_DRAWN
    numbers = orbit_records(reader, num_sources, max_elements)
    rows: list[Row] = []
    for records in map(reader.read, numbers):
        source, truth = (unit_range(x, reader.frames) for x in records[:2])
        if not rows:
            rows.append(("source", _shown(source), []))
        names = element_names(run, records.action)
        is_same = len(set(names)) == 1
        label, captions = (f", g = {names[0]}", []) if is_same else ("", names)
        output = predict(run, records.source, records.action)
        rows += [(f"output{label}", _shown(output), captions), (f"truth{label}", _shown(truth), [])]
    save_figure(picture_grid(rows, f"Orbits under {run.group.name}, step {run.step}"), path)


def _shown(frames: np.ndarray) -> np.ndarray:
    """The part of frames (N, C, ...) that is shown, so that whole volumes are not kept for every
    row."""
    return np.stack([flattened(frame) for frame in frames])
