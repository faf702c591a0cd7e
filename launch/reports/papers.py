"""A paper's tables of numbers, from a YAML file in docs/papers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orbit.core.config.roots import shipped
from orbit.core.config.schema import build, suggestion
from orbit.core.config.yaml_files import read_yaml
from orbit.core.files.listing import list_folder

FOLDER = shipped("papers", "docs/papers")
EARLIER = "data.generator."
"""The name of a dataset's origin in manifests of version 1."""


@dataclass(frozen=True)
class PaperColumn:
    """A column of a table. `metric` is our metric, null if we have none; ours times `factor` has
    the paper's unit."""

    title: str
    metric: str | None = None
    factor: float = 1.0


@dataclass(frozen=True)
class PaperRow:
    """A row of the paper: `values` by column, a mean, or a mean and its spread.

    `match` says which of our runs to compare with it: values (or a list of allowed ones, or
    patterns as of file names) by dotted key of their configuration, or of their dataset's manifest
    with `data.` before it; `*` is anything but null. An empty `match` has none. `notes` are keys of
    the paper's.
    """

    name: str
    values: dict[str, tuple[float, ...]]
    match: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PaperTable:
    """Rows under a caption; `source` says where the numbers come from."""

    caption: str
    source: str
    columns: dict[str, PaperColumn]
    rows: tuple[PaperRow, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Paper:
    """A paper and its tables. `notes` are footnotes by key."""

    title: str
    reference: str
    tables: tuple[PaperTable, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for table in self.tables:
            for row in table.rows:
                for key in row.match:
                    if key.startswith(EARLIER):
                        raise ValueError(
                            f"{row.name}: {key} is an earlier name: facts of the manifest are now"
                            " below data.origin, such as data.origin.world.name"
                        )
                for column, value in row.values.items():
                    if column not in table.columns:
                        known = list(table.columns)
                        raise ValueError(
                            f"{row.name}: unknown column {column!r}{suggestion(column, known)}"
                        )
                    if len(value) not in (1, 2):
                        raise ValueError(f"{row.name}: {column} is a mean, or a mean and a spread")
            for note in (*table.notes, *(note for row in table.rows for note in row.notes)):
                if note not in self.notes:
                    known = list(self.notes)
                    raise ValueError(f"{table.caption}: unknown note {note!r}; known: {known}")


def read_paper(name: str) -> Paper:
    """A paper by the name of a file in docs/papers, or by the path of one.

    Raises FileNotFoundError, or ValueError with one line for a file that is not one.
    """
    known = sorted(file.stem for file in list_folder(FOLDER, "*.yaml"))
    file = FOLDER / f"{name}.yaml" if name in known else Path(name)
    if not file.is_file():
        raise FileNotFoundError(f"paper={name}: no such file; shipped: {', '.join(known)}")
    try:
        return build(Paper, read_yaml(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{file} cannot be read: {error}") from None
