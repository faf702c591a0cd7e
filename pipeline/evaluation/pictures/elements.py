"""The same sources under one group element after another: the frames of pictures/elements/."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from data_prep.store.manifest import Manifest
from data_prep.store.reader import SplitReader
from pipeline.analysis.records import spread_sources
from pipeline.evaluation.pictures.prediction import predict, unit_range
from pipeline.files.frames import FrameSet, write_frames
from pipeline.groups import Group
from pipeline.runs import Run

NUM_IMAGES, NUM_VOLUMES = 8, 3
MAX_PIXELS, MAX_VOXELS = 160, 64
"""A side of what is shown; larger frames are shrunk by a whole factor."""
MAX_ELEMENTS = 48
"""All elements of a finite group of this order or less."""
NUM_TURNS = 24
"""Elements of a full turn in a continuous group; half as many where frames are volumes."""
TILT = 1 / math.sqrt(3)
"""Components of the axis (1, 1, 1) about which space is turned."""


def slider_elements(group: Group, num_turns: int = NUM_TURNS) -> torch.Tensor:
    """Elements in an order to slide through, the identity first.

    All of a small finite group, some of a large one, and of a continuous one those of a
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
    """`num_sources` sources all over a split under K elements, whose names are `labels`.

    `frames` makes (R, N, C, ...) on [0, 1] of N sources, for one element after the other. Rows
    are source, output and, where it is known, truth: where the group acts on whole frames, or
    the split holds the orbits of a finite group.
    """

    labels: list[str]
    rows: list[str]
    num_sources: int
    frames: Iterator[np.ndarray]


def element_frames(run: Run, manifest: Manifest, reader: SplitReader) -> ElementFrames:
    """What the model makes of the same sources under one element after the other."""
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
    """Frames (N, C, ...) with sides of `most` at most: means over blocks of a whole side, what
    does not fill a block left out."""
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


def write_elements(folder: Path, run: Run, manifest: Manifest, reader: SplitReader) -> FrameSet:
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
    """From an element's place to truths (N, C, ...) on [0, 1]; None where they are not known."""
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
    # The orbit's order need not be that of the elements.
    places = stored.numpy().reshape(orbits.shape).argsort(1)

    def read(index: int) -> np.ndarray:
        records = orbits[np.arange(len(numbers)), places[:, index]]
        return unit_range(reader.read_frames("target", records), reader.frames)

    return read
