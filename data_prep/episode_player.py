"""An animated picture of episodes: one a row, its transforms beside it."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from data_prep.episode_records import Trajectories, read_trajectories
from data_prep.store.reader import PairStore
from pipeline.files.atomic import replacing

NUM_EPISODES, NUM_STEPS = 2, 30
COLUMNS = 3
"""Episodes side by side where there are no transforms of them."""
NUM_COLOURS = 128
SMALLEST_SIDE = 96
"""Pixels that frames are magnified to, at least."""
GAP, HEADER = 4, 14
BACKGROUND, TEXT = (32, 33, 36), (232, 234, 237)
STEP_MS, LAST_MS = 350, 1200
MAX_PIXELS_ACROSS = 1000


def write_episode_player(path: Path, store: PairStore, split: str) -> None:
    """Some episodes of a split with their transforms, as a GIF; ValueError for an unknown split."""
    store.manifest.split(split)
    num_elements = int(store.manifest.generator["num_elements"][split])
    # Without transforms the episodes themselves stand side by side.
    num_episodes = NUM_EPISODES if num_elements > 1 else NUM_EPISODES * COLUMNS
    shown = read_trajectories(store, split, num_episodes, NUM_STEPS)
    num_frames = shown.frames.shape[2]
    images = [_image(shown, time) for time in range(num_frames)]
    # All from one palette, so that still parts stay the same and cost nothing.
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
    """Those of the elements, where all episodes have the same; none without transforms."""
    if len(elements[0]) == 1:
        return []
    is_same = all(names == elements[0] for names in elements)
    return elements[0] if is_same else ["0", *(f"twin {k}" for k in range(1, len(elements[0])))]
