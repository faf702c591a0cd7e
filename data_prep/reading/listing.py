"""Files below a folder and the classes that its subfolders stand for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.files.listing import find_files
from pipeline.printing import say

NAMES_OF_SPLITS = ("train", "val", "valid", "validation", "test")


def find_all(root: Path, suffixes: Sequence[str], key: str) -> list[Path]:
    """All files with these suffixes below `root`; what is passed over is said in a line.

    `key` is how the user named `root`. Raises as `find_files` does, and ValueError if
    there is no such file.
    """
    found = find_files(root, suffixes, key)
    remark = found.remark()
    if not found.files:
        raise ValueError(
            f"{key}={root} holds no file of {', '.join(suffixes)}" + (remark and f"; {remark}")
        )
    if remark:
        say(remark)
    return found.files


def list_files(
    root: Path, suffixes: Sequence[str], are_classes: bool = True
) -> tuple[list[Path], np.ndarray, list[str]]:
    """Files with these suffixes in `root`, or in its immediate subfolders, which are the classes.

    Returns the files in the order of their class and then their name, the labels
    (n,) int64, and the class names in the order of their labels: sorted names of
    subfolders, or none where the files lie in `root` itself (all labels are then 0).
    Where folders are no classes, files of all depths are taken and every label is 0.

    Raises as `find_all` does, and ValueError for files both beside and inside subfolders,
    for a deeper folder that holds some, and if all subfolders are named like splits.
    """
    files = find_all(root, suffixes, "source.root")
    places = [path.relative_to(root).parts[:-1] for path in files]
    labels = np.zeros(len(files), np.int64)
    if not are_classes or not any(places):
        return files, labels, []
    names = sorted({place[0] for place in places if place})
    _check_no_splits(root, names if all(places) else [])
    for path, place in zip(files, places, strict=True):
        if len(place) > 1:
            raise ValueError(f"{path.parent}: folders of classes may not hold folders with files")
    if not all(places):
        beside, inside = files[places.index(())], files[list(map(bool, places)).index(True)]
        raise ValueError(
            f"source.root={root} holds files both beside its folders ({beside.name}) and in"
            f" them ({inside.relative_to(root)}): folders are classes, so move all into them"
        )
    return files, np.array([names.index(place[0]) for place in places], np.int64), names


def _check_no_splits(root: Path, names: list[str]) -> None:
    if names and all(name.lower() in NAMES_OF_SPLITS for name in names):
        raise ValueError(
            f"source.root={root} holds folders named like splits ({', '.join(names)});"
            " put classes below one of them, or point source.root at one"
        )
