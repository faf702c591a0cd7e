"""The one reader of CSV tables: named columns of text, and the line on which each row stands."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

OTHER_ENCODINGS = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"PK\x03\x04": "a spreadsheet or another archive",
}
OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
MAX_LINE = 2**20
"""No line of a table has more characters."""


class CsvTable(NamedTuple):
    """Values (N) of each column, without the blanks around them; `lines` (N,) from 1."""

    path: Path
    columns: dict[str, list[str]]
    lines: np.ndarray

    def place(self, row: int) -> str:
        """Where a row stands, for messages."""
        return f"{self.path}, line {self.lines[row]}"


def read_csv_table(
    path: Path, needed: tuple[str, ...], optional: tuple[str, ...], has_others: bool = False
) -> CsvTable:
    """The columns `needed`, and those of `optional` that there are, of a CSV in UTF-8.

    A table that `has_others` may have further columns, which are passed over. Raises
    FileNotFoundError, or ValueError in one line naming the table, the line and what to do,
    for another encoding, delimiter or way of quoting, for columns that are missing, unknown
    or there twice, for rows of another length, and for a table without rows.
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
        what = "UTF-16" if any(len(start) > 3 and not any(half) for half in halves) else "no text"
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
    """The place of the first byte that is not UTF-8: the error's is one within a block."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as found:
                return f"line {number}, byte 0x{line[found.start]:02x}"
    return error.reason
