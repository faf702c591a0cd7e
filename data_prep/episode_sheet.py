"""A picture of episodes: time from left to right, their transforms below one another."""

from pathlib import Path

import numpy as np

from data_prep.episode_records import Trajectories, read_trajectories
from data_prep.store.reader import PairStore
from pipeline.files.figures import as_picture, save_figure

NUM_COLUMNS, NUM_ROWS = 8, 8
MAX_SHARP_SIDE = 64
"""Pixels; larger frames have more than the picture, and would lose some."""
COLUMN_INCHES, ROW_INCHES, NAME_INCHES = 0.9, 1.04, 0.45


def write_episode_sheet(path: Path, store: PairStore, split: str) -> None:
    """The beginnings of some episodes of a split with their transforms, as a PNG.

    Raises ValueError for an unknown split.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    manifest = store.manifest
    manifest.split(split)
    length, num_elements = (
        int(manifest.generator[key][split]) for key in ("episode_length", "num_elements")
    )
    # Short episodes stand side by side.
    num_steps = min(length, NUM_COLUMNS - 1)
    across = NUM_COLUMNS // (num_steps + 1)
    shown = read_trajectories(store, split, across * max(1, NUM_ROWS // num_elements), num_steps)
    num_down = -(-len(shown.numbers) // across)
    num_rows, num_columns = num_down * num_elements, across * (num_steps + 1)
    figure, axes = plt.subplots(
        num_rows,
        num_columns,
        figsize=(num_columns * COLUMN_INCHES + NAME_INCHES, num_rows * ROW_INCHES + 0.4),
        layout="constrained",
        squeeze=False,
    )
    below = f", each above its transforms by {manifest.group}" if num_elements > 1 else ""
    figure.suptitle(f"{manifest.name}, {split}: episodes{below}", fontsize=11)
    for axis in axes.flat:
        axis.set_axis_off()
    for place in range(len(shown.numbers)):
        row, column = divmod(place, across)
        part = axes[row * num_elements :, column * (num_steps + 1) :]
        _draw_episode(part, shown, place)
    save_figure(figure, path)


def _draw_episode(axes: np.ndarray, shown: Trajectories, place: int) -> None:
    """Element by element in the rows of `axes`, with the action above the frame it begins at."""
    num_elements, num_frames = shown.frames.shape[1:3]
    way = "nearest" if shown.frames.shape[-1] <= MAX_SHARP_SIDE else "antialiased"
    for element in range(num_elements):
        for time in range(num_frames):
            axis, frame = axes[element, time], shown.frames[place, element, time]
            axis.imshow(as_picture(frame), cmap="gray", vmin=0, vmax=1, interpolation=way)
            if time < num_frames - 1:
                title = f"{shown.actions[place][element][time]} →"
                axis.set_title(title, fontsize=6, pad=2, loc="right")
        name = shown.elements[place][element] if element else f"episode {shown.numbers[place]}"
        axes[element, 0].text(
            -0.08,
            0.5,
            name,
            rotation=90,
            fontsize=6,
            ha="right",
            va="center",
            transform=axes[element, 0].transAxes,
        )
