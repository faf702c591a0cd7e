"""CSV files as spreadsheets write them, and a CSV of pairs whose frames are files."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from orbit.core.files.atomic import sha256_of_file
from orbit.core.files.waiting import raise_passing
from orbit.core.groups import make_group
from orbit.core.reading.numpy_files import load_npy
from orbit.core.reading.pairs import (
    Pairs,
    Places,
    checked_actions,
    checked_labels,
    checked_splits,
    frame_shape,
)
from orbit.core.reading.pictures import SUFFIXES, Limit, read_header, read_picture
from orbit.core.user_text import parse_number

OTHER_ENCODINGS = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"PK\x03\x04": "a spreadsheet or another archive",
}
OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
MAX_LINE = 2**20
"""The longest line of a table, in characters."""


class CsvTable(NamedTuple):
    """Values (N) of each column, without surrounding spaces; `lines` (N,) from 1."""

    path: Path
    columns: dict[str, list[str]]
    lines: np.ndarray

    def place(self, row: int) -> str:
        """The position of a row, for messages."""
        return f"{self.path}, line {self.lines[row]}"


def read_csv_table(
    path: Path, needed: tuple[str, ...], optional: tuple[str, ...], has_others: bool = False
) -> CsvTable:
    """The columns `needed`, and those of `optional` that exist, of a CSV in UTF-8.

    With `has_others` further columns are allowed and ignored. Raises FileNotFoundError, or
    ValueError in one line naming the table, the line and what to do, for another encoding,
    delimiter or quoting, for columns that are missing, unknown or repeated, for rows of another
    length, and for a table without rows.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    _check_encoding(path)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(_lines(path, file), strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header, needed, (*needed, *optional), has_others)
            for values in reader:
                if not values:
                    continue
                if len(values) != len(header):
                    raise ValueError(
                        f"{path}, line {reader.line_num}: {len(values)} values in"
                        f" {len(header)} columns{_hint(values, len(header))}"
                    )
                rows.append([value.strip() for value in values])
                lines.append(reader.line_num)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not a CSV file in UTF-8 ({_first_bad_byte(path, error)}): save it in UTF-8"
        ) from None
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV file: line {reader.line_num}: {error}") from None
    if not rows:
        raise ValueError(f"{path} has no rows")
    columns = {
        name: [row[number] for row in rows]
        for number, name in enumerate(header)
        if name in (*needed, *optional)
    }
    return CsvTable(path, columns, np.array(lines))


def _check_encoding(path: Path) -> None:
    with open(path, "rb") as file:
        start = file.read(4096)
    for mark, what in OTHER_ENCODINGS.items():
        if start.startswith(mark):
            raise ValueError(f"{path} is {what}: save it as CSV in UTF-8")
    if b"\0" in start:
        halves = start[::2], start[1::2]
        what = "UTF-16" if any(len(start) > 3 and not any(half) for half in halves) else "not text"
        raise ValueError(f"{path} is {what} (it holds bytes of 0): save it as CSV in UTF-8")


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE:
            raise ValueError(f"{path}, line {number} has {MAX_LINE} characters or more")
        if "\0" in line:
            raise ValueError(f"{path}, line {number} holds a byte of 0")
        yield line


def _check_header(
    path: Path,
    header: list[str],
    needed: tuple[str, ...],
    allowed: tuple[str, ...],
    has_others: bool,
) -> None:
    for delimiter, word in OTHER_DELIMITERS.items():
        names = [name.strip(' "') for cell in header for name in cell.split(delimiter)]
        if len(names) > len(header) and sum(name in names for name in needed) > sum(
            name in header for name in needed
        ):
            raise ValueError(
                f"{path} is separated by {word}: save it with commas, and decimal points"
            )
    for name in needed:
        if name not in header:
            there = f"; it has {', '.join(header)}" if any(header) else ""
            raise ValueError(f"{path} has no column {name}; needed: {', '.join(needed)}{there}")
    for name in header:
        if name not in allowed and not has_others:
            hint = "" if name else " (index=False keeps pandas from writing one)"
            raise ValueError(
                f"{path}: unknown column {name!r}{hint}; allowed: {', '.join(allowed)}"
            )
        if name in allowed and header.count(name) > 1:
            raise ValueError(f"{path} has column {name} twice")


def _hint(values: list[str], num_columns: int) -> str:
    if len(values) > num_columns and any(value.endswith("\\") for value in values[:-1]):
        return ": put a text with commas in quotes, a backslash before them does not count"
    if len(values) > num_columns:
        return ": put a text with commas in quotes"
    return ""


def _first_bad_byte(path: Path, error: UnicodeDecodeError) -> str:
    """The line and value of the first byte that is not UTF-8; the error only gives one within a
    block."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as found:
                return f"line {number}, byte 0x{line[found.start]:02x}"
    return error.reason


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
    """The common shape of all frames and whether pictures are grey, from the files' headers."""
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
                raise ValueError(f"{file} is not a file of {', '.join((*SUFFIXES, '.npy'))}")
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
    """Refuse a name that leaves the table's folder or is not a file."""
    file = folder / name
    if os.path.isabs(name) or name.split("/")[0] == "..":
        raise ValueError(f"{name} is outside the folder of the table: files must be below it")
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
