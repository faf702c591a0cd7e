"""Which files a user means, and what their results are called."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.reading.listing import find_all
from pipeline.files.atomic import MAX_NAME_BYTES
from pipeline.files.listing import checked_file, has_suffix

ENDINGS = re.compile(r"\.(nii\.gz|[^.]+)$", re.IGNORECASE)
DIGEST_LETTERS = 8


@dataclass(frozen=True)
class Input:
    """A file to read, and the path without ending, below `out`, of what is made of it."""

    path: Path
    stem: Path

    def result(self, label: str) -> Path:
        """Path below `out` of the result of an element; its name is never too long.

        Of a long name the beginning is kept, and a digest in place of the rest.
        """
        name = self.path.name.lower()
        ending = "npy" if name.endswith(".npy") else "nii.gz" if ".nii" in name[-7:] else "png"
        tail = f"__{label}.{ending}"
        whole = f"{self.stem.name}{tail}"
        if len(os.fsencode(whole)) > MAX_NAME_BYTES:
            digest = hashlib.sha256(os.fsencode(self.stem.name)).hexdigest()[:DIGEST_LETTERS]
            tail = f"~{digest}{tail}"
            room = MAX_NAME_BYTES - len(os.fsencode(tail))
            whole = os.fsencode(self.stem.name)[:room].decode("utf-8", "ignore") + tail
        return self.stem.with_name(whole)


def find_inputs(images: Path, suffixes: tuple[str, ...], kind: str) -> list[Input]:
    """The file, or all files of a folder and its subfolders that end in a suffix.

    `kind` says in words what the model takes. What is passed over is said. Raises
    FileNotFoundError if there is nothing there, ValueError for a file of another suffix or a
    name that is not UTF-8, a folder that holds none of these, or two files whose results
    would have one name.
    """
    if not images.exists():
        raise FileNotFoundError(f"images={images}: there is no such file or folder")
    is_folder = images.is_dir()
    root = images if is_folder else images.parent
    files = find_all(images, suffixes, "images") if is_folder else [checked_file(images)]
    stems: dict[Path, Path] = {}
    for path in files:
        if not has_suffix(path.name, suffixes):
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
