"""Sets of frames to slide through: small PNG files and `frames.json` that says what they are.

FOLDER/
  000.png 001.png ...   a frame for each value of the slider, `rows` x `num_columns` cells
  frames.json           written last: the set is complete

Cells have `cell` pixels, height and width, and stand a grey line of one pixel apart. Of volumes
a file holds `num_slices` such pictures one below the other, along the first axis.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orbit.core.config.schema import build
from orbit.core.files.atomic import parse_json, replacing, write_json
from orbit.core.files.listing import list_folder
from orbit.core.pictures.figures import SEPARATOR

FRAMES_FILE = "frames.json"


@dataclass(frozen=True)
class FrameSet:
    """What a folder of frames shows. `labels` name the values of the slider `slider`."""

    title: str
    description: str
    slider: str
    labels: tuple[str, ...]
    files: tuple[str, ...]
    rows: tuple[str, ...]
    num_columns: int
    num_slices: int
    cell: tuple[int, int]
    step: int | None = None

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.files) or not self.files:
            raise ValueError("a set of frames has as many labels as files, and one at least")
        if min(self.num_columns, self.num_slices, *self.cell) < 1 or not self.rows:
            raise ValueError("a set of frames has rows, columns, slices and cells")
        for file in self.files:
            if Path(file).name != file:
                raise ValueError(f"{file} is not the name of a file in the folder")


def write_frames(
    folder: Path,
    frames: Iterable[np.ndarray],
    labels: Sequence[str],
    rows: Sequence[str],
    title: str,
    description: str,
    slider: str = "group element",
    step: int | None = None,
) -> FrameSet:
    """Write frames (R, N, C, H, W) or (R, N, C, D, H, W) on [0, 1] and what they are.

    One for each value of the slider, taken when it is written; R rows, N columns. Of two
    channels the first is shown, of more than three the first three. A set that was there before
    is replaced.
    """
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    (folder / FRAMES_FILE).unlink(missing_ok=True)
    files = [f"{number:03d}.png" for number in range(len(labels))]
    shape: tuple[int, ...] = ()
    for file, each in zip(files, frames, strict=True):
        shape = each.shape
        picture = Image.fromarray(mosaic(each))
        with replacing(folder / file) as draft:
            picture.save(draft, format="PNG", optimize=True)
    found = FrameSet(
        title=title,
        description=description,
        slider=slider,
        labels=tuple(labels),
        files=tuple(files),
        rows=tuple(rows),
        num_columns=shape[1],
        num_slices=shape[3] if len(shape) == 6 else 1,
        cell=(shape[-2], shape[-1]),
        step=step,
    )
    for stale in set(list_folder(folder, "[0-9]*.png")) - {folder / file for file in files}:
        stale.unlink()
    write_json(folder / FRAMES_FILE, dataclasses.asdict(found))
    return found


def read_frame_set(folder: Path) -> FrameSet | None:
    """What a folder holds, None if it is no complete set of frames."""
    try:
        content = parse_json((folder / FRAMES_FILE).read_bytes())
        found = build(FrameSet, content)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return found if all((folder / file).is_file() for file in found.files) else None


def mosaic(frames: np.ndarray) -> np.ndarray:
    """Cells (R, N, C, H, W) or (R, N, C, D, H, W) on [0, 1] as one picture of bytes.

    (R H + R - 1, N W + N - 1) where one channel is shown, with a last axis of 3 otherwise;
    of volumes D of these one below the other.
    """
    if frames.ndim == 6:
        return np.concatenate([mosaic(one) for one in np.moveaxis(frames, 3, 0)])
    shown = frames[:, :, :3] if frames.shape[2] >= 3 else frames[:, :, :1]
    rows, columns, channels, height, width = shown.shape
    shape = (rows * (height + 1) - 1, columns * (width + 1) - 1, channels)
    picture = np.full(shape, SEPARATOR, np.float32)
    for row in range(rows):
        for column in range(columns):
            top, left = row * (height + 1), column * (width + 1)
            cell = np.moveaxis(shown[row, column], 0, -1)
            picture[top : top + height, left : left + width] = cell
    levels: np.ndarray = np.rint(255 * picture.clip(0, 1)).astype(np.uint8)
    return levels[..., 0] if channels == 1 else levels
