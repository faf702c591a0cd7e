"""Pictures of a dataset: sheets of pairs and labelled sequences, animated trajectories."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from data_prep.worlds.make import is_world_known, world_of
from orbit.core.files.atomic import replacing
from orbit.core.groups import make_group
from orbit.core.pictures import as_picture, save_figure
from orbit.core.store.manifest import Manifest
from orbit.core.store.origin import Episodes, Sequences
from orbit.core.store.reader import PairStore


def write_pictures(store: PairStore, sheet: Path | None, split: str) -> dict[str, Path]:
    """Write a contact sheet, and for episodes an animation next to it; returns kinds and paths.

    An empty `split` chooses the one that shows most. Raises ValueError for an unknown split, and
    for a sheet with the ending of an animation.
    """
    if sheet is not None and sheet.suffix.lower() == ".gif":
        raise ValueError(
            f"out={sheet} names the contact sheet, a png file; the animation is written next to it"
            " as gif"
        )
    path = sheet or store.root / "contact_sheet.png"
    if isinstance(store.manifest.origin, Sequences):
        write_sequence_sheet(path, store, split or "train")
        return {"contact sheet": path}
    if not isinstance(store.manifest.origin, Episodes):
        write_contact_sheet(path, store, split or "train")
        return {"contact sheet": path}

    split = split or "test"
    animation = sheet.with_suffix(".gif") if sheet else store.root / "episodes.gif"
    write_episode_sheet(path, store, split)
    write_episode_player(animation, store, split)
    return {"contact sheet": path, "animation": animation}


@dataclass(frozen=True)
class Trajectories:
    """E episodes, each in K copies (the untransformed one first).

    `frames` (E, K, T + 1, C, H, W) within [0, 1], C being 1 or 3: of frames that stack several
    pictures only the last picture. `actions` E lists of K lists of T names; `elements` E lists of K
    names.
    """

    numbers: list[int]
    frames: np.ndarray
    actions: list[list[list[str]]]
    elements: list[list[str]]


def sizes_of(manifest: Manifest, split: str) -> tuple[int, int, int]:
    """The number of episodes of a split, their steps, and their copies (with the untransformed
    one)."""
    origin = manifest.origin
    assert isinstance(origin, Episodes)
    return origin.num_episodes[split], origin.episode_length[split], origin.num_elements[split]


def read_trajectories(
    store: PairStore, split: str, num_episodes: int, num_steps: int
) -> Trajectories:
    """The first `num_steps` steps of evenly spread episodes; ValueError for an unknown split."""
    manifest, reader = store.manifest, store.split(split)
    num, length, num_elements = sizes_of(manifest, split)
    numbers = np.unique(np.linspace(0, num - 1, min(num, num_episodes)).round().astype(int))
    steps = np.arange(min(length, num_steps))
    first = (numbers[:, None] * num_elements + np.arange(num_elements)) * length
    rows = (first[..., None] + steps).reshape(-1)
    records = reader.read(rows)
    shape = (len(numbers), num_elements, len(steps))
    before = records.source.reshape(*shape, *records.source.shape[1:])
    after = records.target.reshape(before.shape)[:, :, -1:]
    world = world_of(manifest) if is_world_known(manifest) else None
    action = records.action
    actions = world.action_names(action) if world else action_names(manifest, action)
    names = np.array(actions, object).reshape(shape)
    codes = reader.read_column("group_element", rows[:: len(steps)])
    group = make_group(manifest.group)
    elements = np.array(group.names(group.decode(torch.from_numpy(codes))), object)
    return Trajectories(
        numbers.tolist(),
        _pictures(np.concatenate([before, after], 2), manifest),
        names.tolist(),
        elements.reshape(shape[:2]).tolist(),
    )


def _pictures(frames: np.ndarray, manifest: Manifest) -> np.ndarray:
    """Pictures with values within [0, 1]; of stacked pictures the last."""
    num_channels = manifest.frames.shape[0]
    kept = 3 if num_channels % 3 == 0 else 1
    low, high = manifest.frames.stored_range
    return np.asarray((frames[:, :, :, -kept:].astype(np.float32) - low) / (high - low))


NUM_EPISODES, NUM_STEPS = 2, 30
COLUMNS = 3
"""Episodes side by side if there are no rotated copies."""
NUM_COLOURS = 128
SMALLEST_SIDE = 96
"""Frames are magnified to at least this number of pixels a side."""
GAP, HEADER = 4, 14
BACKGROUND, TEXT = (32, 33, 36), (232, 234, 237)
STEP_MS, LAST_MS = 350, 1200
MAX_PIXELS_ACROSS = 1000


def write_episode_player(path: Path, store: PairStore, split: str) -> None:
    """Some episodes of a split with their rotated copies, as a GIF; ValueError for an unknown
    split."""
    store.manifest.split(split)
    *_, num_elements = sizes_of(store.manifest, split)
    # Without rotated copies the episodes themselves are side by side.
    num_episodes = NUM_EPISODES if num_elements > 1 else NUM_EPISODES * COLUMNS
    shown = read_trajectories(store, split, num_episodes, NUM_STEPS)
    num_frames = shown.frames.shape[2]
    images = [_image(shown, time) for time in range(num_frames)]
    # One palette for all, so that still parts do not change and take no space.
    every = Image.fromarray(np.concatenate([np.asarray(image) for image in images]))
    palette = every.quantize(NUM_COLOURS, Image.Quantize.MEDIANCUT)
    frames = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    with replacing(path) as temporary:
        frames[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=frames[1:],
            duration=[STEP_MS] * (num_frames - 1) + [LAST_MS],
            loop=0,
            optimize=False,
        )


def _image(shown: Trajectories, time: int) -> Image.Image:
    """All episodes at one moment."""
    frames = shown.frames[:, :, time]
    if frames.shape[1] == 1:
        across = COLUMNS if len(frames) % COLUMNS == 0 else len(frames)
        frames = frames.reshape(-1, across, *frames.shape[2:])
    num_rows, num_columns, _, height, width = frames.shape
    scale = max(1, min(-(-SMALLEST_SIDE // height), MAX_PIXELS_ACROSS // (num_columns * width)))
    cell_height, cell_width = height * scale + GAP, width * scale + GAP
    size = (num_columns * cell_width + GAP, num_rows * cell_height + GAP + HEADER)
    image = Image.new("RGB", size, BACKGROUND)
    for row in range(num_rows):
        for column in range(num_columns):
            pixels = np.rint(frames[row, column] * 255).astype(np.uint8)
            pixels = np.moveaxis(np.broadcast_to(pixels, (3, height, width)), 0, -1)
            cell = Image.fromarray(np.ascontiguousarray(pixels))
            cell = cell.resize((width * scale, height * scale), Image.Resampling.NEAREST)
            corner = (GAP + column * cell_width, HEADER + GAP + row * cell_height)
            image.paste(cell, corner)
    draw = ImageDraw.Draw(image)
    for column, name in enumerate(_column_names(shown.elements)):
        draw.text((GAP + column * cell_width + 2, 2), name, TEXT)
    draw.text((size[0] - 40, 2), f"t = {time}", TEXT)
    return image


def _column_names(elements: list[list[str]]) -> list[str]:
    """The names of the elements if all episodes have the same ones; none without rotated copies."""
    if len(elements[0]) == 1:
        return []
    is_same = all(names == elements[0] for names in elements)
    return elements[0] if is_same else ["0", *(f"copy {k}" for k in range(1, len(elements[0])))]


NUM_COLUMNS, NUM_ROWS = 8, 8
MAX_SHARP_SIDE = 64
"""In pixels; frames above this side have more pixels than the figure shows and would be sampled."""
COLUMN_INCHES, ROW_INCHES, NAME_INCHES = 0.9, 1.04, 0.45


def write_episode_sheet(path: Path, store: PairStore, split: str) -> None:
    """The beginnings of some episodes of a split with their rotated copies, as a PNG.

    Raises ValueError for an unknown split.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    manifest = store.manifest
    manifest.split(split)
    _, length, num_elements = sizes_of(manifest, split)
    # Short episodes are side by side.
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
    """Draw an episode, one copy per row of `axes`, with each action above its first frame."""
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


NUM_PAIR_COLUMNS, NUM_VOLUME_COLUMNS, NUM_PAIR_ROWS = 8, 4, 3
NEW_LINE = "\n"
LONG_NAME = 6
"""Names of at least this many characters leave no room for the label beside them."""


def write_contact_sheet(path: Path, store: PairStore, split: str) -> None:
    """Evenly spread pairs of a split as a PNG; raises ValueError for an unknown split."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    reader = store.split(split)
    manifest = store.manifest
    is_volume = len(manifest.frames.shape) == 4
    num_columns = NUM_VOLUME_COLUMNS if is_volume else NUM_PAIR_COLUMNS
    num_pairs = min(num_columns * NUM_PAIR_ROWS, reader.num_records)
    # A stride coprime to the orbits' length shows all elements, and no pair twice.
    stride = max(1, reader.num_records // num_pairs)
    while math.gcd(stride, reader.num_records) > 1:
        stride += 1
    numbers = np.arange(num_pairs) * stride % reader.num_records
    names = action_names(manifest, reader.read_column("action", numbers))
    low, high = manifest.frames.stored_range
    figure, axes = plt.subplots(
        2 * NUM_PAIR_ROWS,
        num_columns,
        figsize=(
            num_columns * (2.9 if is_volume else 1.1),
            NUM_PAIR_ROWS * (2.3 if is_volume else 2.6),
        ),
        layout="constrained",
        squeeze=False,
    )
    figure.suptitle(f"{manifest.name}, {split}: source above target", fontsize=11)
    for axis in axes.flat:
        axis.set_axis_off()
    for place in range(num_pairs):
        row, column = divmod(place, num_columns)
        pair = reader.read(numbers[place : place + 1])
        for offset, frame in enumerate((pair.source[0], pair.target[0])):
            axis = axes[2 * row + offset][column]
            picture = as_picture((frame.astype(np.float32) - low) / (high - low))
            axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        is_long = len(names[place]) > LONG_NAME
        title = f"g = {names[place]}{NEW_LINE if is_long else '  '}y = {pair.label[0]}"
        axes[2 * row][column].set_title(title, fontsize=6 if is_long else 7, pad=2)
    save_figure(figure, path)


def action_names(manifest: Manifest, action: np.ndarray) -> list[str]:
    """The group's names of action vectors (N, A), or their numbers if they are actions of a
    world."""
    group = make_group(manifest.group)
    if tuple(manifest.action) == tuple(group.action_components):
        return group.names(group.decode(torch.from_numpy(action)))
    return [", ".join(f"{value:g}" for value in row) for row in action]


NUM_SEQUENCE_COLUMNS, NUM_SEQUENCE_ROWS = 4, 3


def write_sequence_sheet(path: Path, store: PairStore, split: str) -> None:
    """The first sequences of a split as a PNG; raises ValueError for an unknown split."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    reader, manifest = store.split(split), store.manifest
    records = reader.read(
        np.arange(min(NUM_SEQUENCE_COLUMNS * NUM_SEQUENCE_ROWS, reader.num_records))
    )
    figure, axes = plt.subplots(
        NUM_SEQUENCE_ROWS,
        NUM_SEQUENCE_COLUMNS,
        figsize=(NUM_SEQUENCE_COLUMNS * 2.2, NUM_SEQUENCE_ROWS * 1.4),
        layout="constrained",
        sharex=True,
        sharey=True,
    )
    figure.suptitle(f"{manifest.name}, {split}: sequences, dots where the label is 1", fontsize=11)
    for axis in axes.flat:
        axis.tick_params(labelsize=6)
        axis.axhline(0, color="0.8", linewidth=0.6)
    for axis, source, target in zip(axes.flat, records.source, records.target, strict=False):
        values, labels = source.reshape(-1).astype(np.float32), target.reshape(-1) > 0.5
        points = np.arange(len(values))
        axis.plot(points, values, linewidth=1.2, color="#377eb8")
        axis.plot(points[labels], values[labels], "o", markersize=4, color="#e41a1c")
    save_figure(figure, path)
