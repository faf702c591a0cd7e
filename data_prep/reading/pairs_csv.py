"""A CSV of pairs whose frames are files: pictures, or arrays in NPY files."""

import os
from pathlib import Path

import numpy as np

from data_prep.reading.csv_table import read_csv_table
from data_prep.reading.npy_file import load_npy
from data_prep.reading.pairs import (
    Pairs,
    Places,
    checked_actions,
    checked_labels,
    checked_splits,
    frame_shape,
)
from data_prep.reading.pictures import SUFFIXES, Limit, read_header, read_picture
from pipeline.config.user_text import parse_number
from pipeline.files.atomic import sha256_of_file
from pipeline.files.hiccups import raise_passing
from pipeline.groups import make_group


class FileFrames:
    """Files named by a table, relative to its folder; uint8 arrays, pictures as grey or RGB."""

    def __init__(
        self,
        table: Path,
        names: tuple[str, ...],
        shape: tuple[int, ...],
        is_grey: bool,
        limit: Limit,
    ) -> None:
        self._table, self._names, self._is_grey, self.shape = table, names, is_grey, shape
        self._limit = limit
        self._checksums: dict[str, str] | None = None

    def read(self, numbers: np.ndarray) -> np.ndarray:
        frames = np.empty((len(numbers), *self.shape), np.uint8)
        for row, number in enumerate(numbers):
            path = self._table.parent / self._names[number]
            if _is_array(path):
                frame = _open_array(path)
            else:
                frame = read_picture(path, self._is_grey, None, limit=self._limit)
            frame = frame.reshape(frame_shape(frame.shape))
            if frame.shape != self.shape:
                raise ValueError(f"{path} is not of the size that its header states")
            frames[row] = frame
        return frames

    def checksums(self) -> dict[str, str]:
        if self._checksums is None:
            paths = {name: self._table.parent / name for name in self._names}
            sums = {name: sha256_of_file(path) for name, path in paths.items()}
            self._checksums = {self._table.name: sha256_of_file(self._table), **sums}
        return dict(self._checksums)


def read_csv_pairs(path: Path, group: str, limit: Limit = Limit()) -> Pairs:  # noqa: B008
    """The pairs of a CSV with columns source, target, those of the action, [label], [split].

    Raises ValueError or FileNotFoundError in one line naming the table and row.
    """
    components = [component.name for component in make_group(group).action_components]
    needed = ("source", "target", *components)
    table = read_csv_table(path, needed, ("label", "split"))
    columns, places = table.columns, Places(path, "line", table.lines)
    num_rows = len(columns["source"])
    for name in ("source", "target"):
        if "" in columns[name]:
            raise ValueError(f"{places[columns[name].index('')]} has no {name}")
    action = np.empty((num_rows, len(components)))
    for number, component in enumerate(components):
        for row, text in enumerate(columns[component]):
            action[row, number] = _number(component, text, places[row])
    given = [os.path.normpath(name) for name in columns["source"] + columns["target"]]
    names = tuple(dict.fromkeys(given))
    number_of = {name: number for number, name in enumerate(names)}
    numbers = np.array([number_of[name] for name in given], np.int64).reshape(2, -1)
    first_rows = {name: row % num_rows for row, name in reversed(list(enumerate(given)))}
    shape, is_grey = _check_files(
        path.parent, {name: places[first_rows[name]] for name in names}, limit
    )
    label, meaning = checked_labels(columns.get("label"), places)
    split = columns.get("split")
    return Pairs(
        FileFrames(path, names, shape, is_grey, limit),
        numbers[0],
        numbers[1],
        checked_actions(group, action, places),
        label,
        meaning,
        None if split is None else checked_splits(split, places),
        places,
    )


def _number(name: str, text: str, place: str) -> float:
    number = parse_number(text)
    if number is None:
        raise ValueError(f"{place}: {name}={text!r} is not a number")
    return number


def _check_files(
    folder: Path, places: dict[str, str], limit: Limit
) -> tuple[tuple[int, ...], bool]:
    """Shape that all frames have and whether pictures are grey, from the files' headers."""
    spatial: dict[str, tuple[int, ...]] = {}
    are_grey = []
    for name, place in places.items():
        file = folder / name
        try:
            _check_place(folder, name)
            if _is_array(file):
                spatial[name] = frame_shape(_open_array(file).shape)
            elif name.lower().endswith(SUFFIXES):
                header = read_header(file, limit)
                spatial[name] = (header.height, header.width)
                are_grey.append(header.is_grey)
            else:
                raise ValueError(f"{file} is no file of {', '.join((*SUFFIXES, '.npy'))}")
        except (ValueError, FileNotFoundError) as error:
            raise type(error)(f"{place}: {error}") from None
        except OSError as error:
            raise_passing(error, file)
            raise ValueError(f"{place}: {file}: {error.strerror}") from None
    channels = (1,) if all(are_grey) else (3,)
    shapes = {
        name: size if _is_array(Path(name)) else channels + size for name, size in spatial.items()
    }
    first_name, first = next(iter(shapes.items()))
    for name, shape in shapes.items():
        if shape != first:
            raise ValueError(
                f"{places[name]}: {name} has shape {shape} where {first_name} has {first}"
            )
    return first, all(are_grey)


def _check_place(folder: Path, name: str) -> None:
    """Refuse a name that leaves the table's folder, and one that is no file."""
    file = folder / name
    if os.path.isabs(name) or name.split("/")[0] == "..":
        raise ValueError(f"{name} leaves the folder of the table: files have to lie below it")
    if file.is_dir():
        raise ValueError(f"{file} is a directory")
    if not file.is_file():
        is_windows = (folder / name.replace("\\", "/")).is_file()
        raise FileNotFoundError(f"{file} is missing{': write paths with /' if is_windows else ''}")
    try:
        os.close(os.open(file, os.O_RDONLY))
    except PermissionError:
        raise ValueError(f"{file} may not be read") from None


def _is_array(path: Path) -> bool:
    return path.name.lower().endswith(".npy")


def _open_array(path: Path) -> np.ndarray:
    array = load_npy(path)
    if array.dtype != np.uint8:
        raise ValueError(f"{path} does not hold an array of uint8")
    return array
