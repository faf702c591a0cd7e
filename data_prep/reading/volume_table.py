"""A CSV table that says which label, and which subject, each file of a folder has."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.reading.labels import number_labels


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
    rows = _rows(path)
    by_file: dict[str, dict[str, str]] = {}
    for row in rows:
        name = row["file"]
        if name in by_file:
            raise ValueError(f"{path} lists {name} twice")
        by_file[name] = row
    if unknown := sorted(by_file.keys() - set(files)):
        raise ValueError(f"{path} names {unknown[0]}, which is not below source.root")
    if missing := [name for name in files if name not in by_file]:
        raise ValueError(f"{path} does not list {missing[0]}, which is below source.root")
    ordered = [by_file[name] for name in files]
    labels, names = number_labels(
        [row["label"] for row in ordered], lambda row: f"{path}, file {files[row]}"
    )
    if "subject" not in rows[0]:
        return VolumeTable(labels, names, None)
    subjects = [row["subject"] for row in ordered]
    return VolumeTable(labels, names, np.unique(subjects, return_inverse=True)[1].astype(np.int64))


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise FileNotFoundError(f"source.table={path}: there is no such file")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or ())
            wanted: list[str] = [name for name in ("file", "label", "subject") if name in columns]
            if missing := {"file", "label"} - set(columns):
                raise ValueError(
                    f"{path} has no column {min(missing)}: it has {', '.join(columns) or 'none'}"
                )
            rows: list[dict[str, str]] = []
            for row in reader:
                cells = {name: (row[name] or "").strip() for name in wanted}
                if empty := [name for name, cell in cells.items() if not cell]:
                    raise ValueError(f"{path} line {reader.line_num} has no {empty[0]}")
                rows.append(cells)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a CSV table in UTF-8: {error}") from None
    if not rows:
        raise ValueError(f"{path} has no rows")
    return rows
