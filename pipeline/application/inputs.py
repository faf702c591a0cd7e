"""Which files a user means, and what their results are called."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ENDINGS = re.compile(r"\.(nii\.gz|[^.]+)$", re.IGNORECASE)


@dataclass(frozen=True)
class Input:
    """A file to read, and the path without ending, below `out`, of what is made of it."""

    path: Path
    stem: Path


def find_inputs(images: Path, suffixes: tuple[str, ...], kind: str) -> list[Input]:
    """The file, or all files of a folder and its subfolders, hidden ones left out.

    `kind` says in words what the model takes. Raises FileNotFoundError if there is nothing
    there, ValueError for a file of another suffix, or two whose results would have one name.
    """
    if not images.exists():
        raise FileNotFoundError(f"images={images}: there is no such file or folder")
    is_folder = images.is_dir()
    root = images if is_folder else images.parent
    files = _visible_files(images) if is_folder else [images]
    if not files:
        raise ValueError(f"images={images} holds no file of {', '.join(suffixes)}")
    stems: dict[Path, Path] = {}
    for path in files:
        if not path.name.lower().endswith(suffixes):
            raise ValueError(f"{path}: this model takes {kind}, files of {', '.join(suffixes)}")
        stem = path.relative_to(root).with_name(ENDINGS.sub("", path.name))
        if stem in stems:
            raise ValueError(f"{stems[stem]} and {path} would both be written as {stem}")
        stems[stem] = path
    return [Input(path, stem) for stem, path in stems.items()]


def file_labels(names: Sequence[str]) -> list[str]:
    """A part of a file name for each element's name; ValueError if two are the same."""
    labels = [re.sub(r"[^\w.+-]+", "_", name).strip("_") for name in names]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"element: two of them would be written as {label}")
    return labels


def _visible_files(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if not path.is_dir())
    return sorted(
        path
        for path in found
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
