"""Files below a folder and the classes that its subfolders stand for."""

from pathlib import Path

import numpy as np

NAMES_OF_SPLITS = ("train", "val", "valid", "validation", "test")


def list_files(
    root: Path, suffixes: tuple[str, ...], are_classes: bool = True
) -> tuple[list[Path], np.ndarray, list[str]]:
    """Files with these suffixes in `root`, or in its immediate subfolders, which are the classes.

    Returns the files in the order of their class and then their name, the labels
    (n,) int64, and the class names in the order of their labels: sorted names of
    subfolders, or none where the files lie in `root` itself (all labels are then 0).
    Suffixes are compared in lower case; hidden files and folders are passed over.

    Raises FileNotFoundError if `root` is missing, ValueError if it holds no file, files
    both beside and inside subfolders, a file of another suffix, or a deeper folder. So it
    does if all subfolders are named like splits, unless they are said to be no classes.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"source.root={root}: there is no such directory")
    beside = _files_in(root, suffixes)
    folders = [path for path in _visible(root) if path.is_dir()]
    if are_classes and not beside:
        _check_no_splits(root, [folder.name for folder in folders])
    by_class: dict[str, list[Path]] = {}
    for folder in folders:
        for path in _visible(folder):
            if path.is_dir():
                raise ValueError(f"{path}: folders of classes may not hold folders")
        if inside := _files_in(folder, suffixes):
            by_class[folder.name] = inside
    if beside and by_class:
        inside = next(iter(by_class.values()))
        raise ValueError(
            f"source.root={root} holds files both beside its folders ({beside[0].name}) and in"
            f" them ({inside[0].relative_to(root)}): folders are classes, so move all into them"
        )
    if by_class:
        counts = [len(files) for files in by_class.values()]
        files = [path for files in by_class.values() for path in files]
        return files, np.repeat(np.arange(len(counts), dtype=np.int64), counts), list(by_class)
    if not beside:
        raise ValueError(f"source.root={root} holds no file of {', '.join(suffixes)}")
    return beside, np.zeros(len(beside), dtype=np.int64), []


def _check_no_splits(root: Path, names: list[str]) -> None:
    if names and all(name.lower() in NAMES_OF_SPLITS for name in names):
        raise ValueError(
            f"source.root={root} holds folders named like splits ({', '.join(names)});"
            " put classes below one of them, or point source.root at one"
        )


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _files_in(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    files = [path for path in _visible(folder) if not path.is_dir()]
    for path in files:
        if not path.name.lower().endswith(suffixes):
            raise ValueError(f"{path} is no file of {', '.join(suffixes)}")
    return files
