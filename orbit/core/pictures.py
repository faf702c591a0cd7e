"""Figures as files, with texts drawn literally, and sets of frames for sliders.

A dollar or a backslash has no special meaning. Letters that the plot's font lacks come from another
installed font, or become escapes such as \\u4e2d if no font has them.

A set of frames for a slider consists of small PNG files and `frames.json`, which describes them.

FOLDER/
  000.png 001.png ...   a frame for each value of the slider, `rows` x `num_columns` cells
  frames.json           written last: the set is complete

`cell` is the height and width of a cell in pixels; a grey line of one pixel separates cells. For
volumes a file holds `num_slices` such pictures, stacked along the first axis.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from orbit.core.config.schema import build
from orbit.core.files.atomic import (
    TEMPORARY_SUFFIX,
    make_directory,
    parse_json,
    replacing,
    write_json,
)
from orbit.core.files.listing import list_folder

SEPARATOR = 0.5
"""Grey between the slices of a volume, on [0, 1]."""


LIGHT = np.array([0.45, 0.55, 0.70], np.float32) / np.float32(np.linalg.norm([0.45, 0.55, 0.70]))
AMBIENT = 0.35
"""The direction to the light of rendered objects (right, up, towards the viewer), and the share of
ambient light."""


def as_picture(frame: np.ndarray) -> np.ndarray:
    """A frame (C, H, W) with values in [0, 1] for imshow, (H, W) or (H, W, 3).

    A volume (C, D, H, W) becomes its three middle slices side by side: seen along the
    first axis, along the second and along the third, the last two with the end of the
    first axis on top.
    """
    frame = flattened(frame)
    return frame[0] if frame.shape[0] == 1 else np.moveaxis(frame[:3], 0, -1)


def flattened(frame: np.ndarray) -> np.ndarray:
    """The frame as `as_picture` shows it, (C, h, w): slices of a volume, or the unchanged
    picture."""
    if frame.ndim == 3:
        return frame
    _, depth, height, width = frame.shape
    upright = frame[:, ::-1]
    slices = [frame[:, depth // 2], upright[:, :, height // 2], upright[..., width // 2]]
    return _side_by_side(slices)


def _side_by_side(slices: list[np.ndarray]) -> np.ndarray:
    """Slices (C, h, w) in a row, with a line of grey between them, padded to one height."""
    height = max(part.shape[1] for part in slices)
    columns: list[np.ndarray] = []
    for part in slices:
        below = height - part.shape[1]
        padded = np.pad(part, ((0, 0), (0, below), (0, 0)), constant_values=SEPARATOR)
        columns += [padded, np.full((len(part), height, 1), SEPARATOR, part.dtype)]
    return np.concatenate(columns[:-1], axis=2)


def save_figure(figure: Any, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a matplotlib figure atomically, with literal texts, and close it.

    Raises FileNotFoundError naming the folder if it does not exist, OSError naming the file if it
    cannot be written.
    """
    import matplotlib.pyplot as plt

    if not path.parent.is_dir():
        plt.close(figure)
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
    try:
        make_plain(figure)
        with replacing(path) as draft:
            figure.savefig(draft, format="png", dpi=110, metadata=dict(metadata or {}))
    finally:
        plt.close(figure)


NO_GLYPH_NEEDED = frozenset("\n")
NOT_FOR_TEXT = ("Last Resort", ".LastResort", "cm", "STIXNonUnicode", "STIXSize")
"""Beginnings of the names of fonts that draw boxes or symbols instead of letters."""
REGULAR = 400
"""The usual weight of a font."""


def make_plain(figure: Any) -> None:
    """Prepare all texts of a matplotlib figure except the numbers along its axes."""
    from matplotlib.text import Text

    _escape_ticks(figure)
    numbers = {id(text) for text in _numbers(figure)}
    for text in figure.findobj(Text):
        if id(text) in numbers:
            continue
        text.set_parse_math(False)
        content = text.get_text()
        if content.isascii() and content.isprintable():
            continue
        families = _families(text.get_fontfamily(), content)
        text.set_fontfamily(families)
        text.set_text(_escaped(content, families))


def drawable(name: str) -> str:
    """A name as figures show it in their usual font, to measure or cut it."""
    import matplotlib

    return _escaped(name, _families(matplotlib.rcParams["font.family"], name))


def _numbers(figure: Any) -> Iterable[Any]:
    """Labels of ticks that consist of numbers, such as powers of ten."""
    for axes in figure.get_axes():
        for axis in (axes.xaxis, axes.yaxis):
            yield axis.get_offset_text()
            if not _makes_names(axis.get_major_formatter()):
                yield from axis.get_majorticklabels()
            if not _makes_names(axis.get_minor_formatter()):
                yield from axis.get_minorticklabels()


def _makes_names(formatter: Any) -> bool:
    from matplotlib.category import StrCategoryFormatter
    from matplotlib.ticker import FixedFormatter, FuncFormatter

    return isinstance(formatter, (FixedFormatter, FuncFormatter, StrCategoryFormatter))


def _escape_ticks(figure: Any) -> None:
    """Escape the names at ticks whenever a figure is drawn, because they are made again then."""
    from matplotlib.ticker import FuncFormatter

    for axes in figure.get_axes():
        for axis in (axes.xaxis, axes.yaxis):
            formatter = axis.get_major_formatter()
            if _makes_names(formatter):
                axis.set_major_formatter(
                    FuncFormatter(lambda at, place, make=formatter: drawable(make(at, place)))
                )


def _families(families: Iterable[str], content: str) -> list[str]:
    """These font families, and further ones for the letters of a text that they lack."""
    chosen = list(families)
    missing = _missing(content, chosen)
    for family, path in _installed() if missing else ():
        found = {letter for letter in missing if ord(letter) in _letters(path)}
        if found:
            chosen.append(family)
            missing -= found
        if not missing:
            break
    return chosen


def _escaped(content: str, families: Iterable[str]) -> str:
    missing = _missing(content, families)
    return "".join(
        letter.encode("unicode_escape").decode() if letter in missing else letter
        for letter in content
    )


def _missing(content: str, families: Iterable[str]) -> set[str]:
    letters = set(content) - NO_GLYPH_NEEDED
    for family in families:
        letters = {each for each in letters if ord(each) not in _letters(_path_of(family))}
    return letters


@lru_cache(maxsize=64)
def _path_of(family: str) -> str:
    from matplotlib.font_manager import FontProperties, findfont

    return str(findfont(FontProperties(family=[family])))


@lru_cache(maxsize=1)
def _installed() -> tuple[tuple[str, str], ...]:
    """Families of installed fonts, each with the file of its most regular weight."""
    from matplotlib.font_manager import fontManager, weight_dict

    def unlikeness(font: Any) -> tuple[Any, ...]:
        weight = weight_dict.get(font.weight, font.weight)
        return font.style != "normal", abs(int(weight) - REGULAR), font.fname

    usual: dict[str, str] = {}
    for font in sorted(fontManager.ttflist, key=unlikeness):
        if not font.name.startswith(NOT_FOR_TEXT):
            usual.setdefault(font.name, font.fname)
    return tuple(sorted(usual.items()))


@lru_cache(maxsize=4096)
def _letters(path: str) -> frozenset[int]:
    """Code points that a font file draws; none for a font that cannot be scaled, as of emoji."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError):
        return frozenset()


FRAMES_FILE = "frames.json"


@dataclass(frozen=True)
class FrameSet:
    """The description of a folder of frames. `labels` name the values of the slider `slider`."""

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
            raise ValueError("a set of frames needs as many labels as files, and at least one")
        if min(self.num_columns, self.num_slices, *self.cell) < 1 or not self.rows:
            raise ValueError("a set of frames needs rows, columns, slices and cells")
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
    """Write frames (R, N, C, H, W) or (R, N, C, D, H, W) on [0, 1] and their description.

    One array for each value of the slider, read from the iterable when it is written; R rows, N
    columns. With two channels the first is shown, with more than three the first three. An existing
    set is replaced.
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


STEP_SLIDER = "training step"


class Strip:
    """A set of frames that grows: one for each of some steps of training, all of one shape."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def steps(self) -> list[int]:
        """The steps that are there, ascending."""
        names = (path.stem[len("step_") :] for path in list_folder(self.folder, "step_*.png"))
        return sorted(int(name) for name in names if name.isdecimal())

    def cut(self, last_step: int) -> None:
        """Delete what is later than `last_step`, and what is half-written."""
        late = [step for step in self.steps() if step > last_step]
        if late:
            (self.folder / FRAMES_FILE).unlink(missing_ok=True)
        for step in late:
            self._file(step).unlink(missing_ok=True)
        for draft in list_folder(self.folder, f".*{TEMPORARY_SUFFIX}*"):
            draft.unlink(missing_ok=True)

    def add(
        self, step: int, frames: np.ndarray, rows: Sequence[str], title: str, description: str
    ) -> FrameSet:
        """Write one more frame, (R, N, C, H, W) on [0, 1], and what there is by now."""
        from PIL import Image

        make_directory(self.folder)
        with replacing(self._file(step)) as draft:
            Image.fromarray(mosaic(frames)).save(draft, format="PNG")
        steps = self.steps()
        found = FrameSet(
            title=title,
            description=description,
            slider=STEP_SLIDER,
            labels=tuple(f"{one:,}" for one in steps),
            files=tuple(self._file(one).name for one in steps),
            rows=tuple(rows),
            num_columns=frames.shape[1],
            num_slices=1,
            cell=(frames.shape[-2], frames.shape[-1]),
        )
        write_json(self.folder / FRAMES_FILE, dataclasses.asdict(found))
        return found

    def _file(self, step: int) -> Path:
        return self.folder / f"step_{step:08d}.png"


def read_frame_set(folder: Path) -> FrameSet | None:
    """The set of frames in a folder, None if it is not complete."""
    try:
        content = parse_json((folder / FRAMES_FILE).read_bytes())
        found = build(FrameSet, content)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return found if all((folder / file).is_file() for file in found.files) else None


def mosaic(frames: np.ndarray) -> np.ndarray:
    """Cells (R, N, C, H, W) or (R, N, C, D, H, W) on [0, 1] as one picture of bytes.

    (R H + R - 1, N W + N - 1) where one channel is shown, with a last axis of 3 otherwise; for
    volumes, D of these stacked.
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
