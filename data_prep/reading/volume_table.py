"""A CSV table that says which label, and which subject, each file of a folder has."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.reading.csv_table import read_csv_table
from data_prep.reading.labels import check_words, number_labels


class VolumeTable(NamedTuple):
    """Labels and subjects (n,) int64 in the order of the files asked for.

    `names` are the texts that the labels number, or none where labels are integers.
    """

    labels: np.ndarray
    names: list[str]
    subjects: np.ndarray | None


def read_table(path: Path, files: list[str]) -> VolumeTable:
    """The rows of a table with columns file, label and, if wanted, subject.

    `files` are the paths that the rows must name, each once, with forward slashes.
    Labels that are not all integers, and subjects, are numbered in sorted order.
    Raises FileNotFoundError or ValueError naming the table and what is wrong with it.
    """
    try:
        table = read_csv_table(path, ("file", "label"), ("subject",), has_others=True)
    except FileNotFoundError:
        raise FileNotFoundError(f"source.table={path}: there is no such file") from None
    row_of: dict[str, int] = {}
    for row, name in enumerate(table.columns["file"]):
        if name in row_of:
            raise ValueError(f"{path} lists {name} twice")
        row_of[name] = row
    if unknown := sorted(row_of.keys() - set(files)):
        raise ValueError(
            f"{table.place(row_of[unknown[0]])} names {unknown[0]!r}, which is not below"
            f" source.root{_hint(unknown[0], files)}"
        )
    if missing := [name for name in files if name not in row_of]:
        raise ValueError(f"{path} does not list {missing[0]}, which is below source.root")
    order = [row_of[name] for name in files]

    def place(number: int) -> str:
        return f"{table.place(order[number])}, file {files[number]}"

    labels, names = number_labels([table.columns["label"][row] for row in order], place)
    if "subject" not in table.columns:
        return VolumeTable(labels, names, None)
    subjects = [table.columns["subject"][row] for row in order]
    check_words(subjects, place, "subject")
    return VolumeTable(labels, names, np.unique(subjects, return_inverse=True)[1].astype(np.int64))


def _hint(name: str, files: list[str]) -> str:
    if name.replace("\\", "/") in files:
        return ": write paths with /"
    if name.removeprefix("./") in files:
        return ": write it without ./"
    return ""
