"""Finding the files below a folder, in the same way for every program.

It searches all depths and enters linked folders. Endings are compared without case. Files that are
ignored are counted, so that the program can report them.
"""

import fnmatch
import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini"})
SYSTEM_FOLDERS = frozenset({"__macosx", "$recycle.bin", "system volume information"})
MAX_KINDS_SHOWN = 6


@dataclass(frozen=True)
class Found:
    """Files below `root` in the order of their paths, and how many others of each kind."""

    root: Path
    files: list[Path]
    passed_over: Counter[str] = field(default_factory=Counter)

    def remark(self) -> str:
        """A line about the files that were ignored, empty if there are none."""
        if not self.passed_over:
            return ""
        kinds = [f"{num} {kind}" for kind, num in self.passed_over.most_common()]
        if len(kinds) > MAX_KINDS_SHOWN:
            rest = len(kinds) - MAX_KINDS_SHOWN
            kinds = [*kinds[:MAX_KINDS_SHOWN], f"files of {rest} other kinds"]
        num = sum(self.passed_over.values())
        noun = "entry" if num == 1 else "entries"
        return f"ignored {num} {noun} below {self.root}: {', '.join(kinds)}"


def find_files(root: Path, suffixes: Sequence[str], key: str) -> Found:
    """The files with one of these endings in `root` and in all folders below it.

    Hidden files and folders, files of operating systems, and links to a folder above are passed
    over. `key` is how the user named `root`.

    Raises FileNotFoundError if there is no such folder, OSError naming a folder that cannot be
    read, ValueError for a name that is not UTF-8 or a file that is not a regular one.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{key}={root}: there is no such directory")
    endings = tuple(suffix.lower() for suffix in suffixes)
    found = Found(root, [])
    _search(root, endings, found, (_identity(root),))
    found.files.sort()
    return found


def list_folder(folder: Path, pattern: str = "*") -> list[Path]:
    """The entries of a folder whose names match a pattern, hidden ones too, sorted.

    There are none if the folder does not exist. Raises OSError for a folder that cannot be listed;
    `Path.glob` would treat it as empty.
    """
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name for name in sorted(fnmatch.filter(names, pattern))]


def matching_paths(pattern: str) -> list[Path]:
    """The paths that match a pattern of `*`, `?` and `[...]`, sorted; or the path itself.

    A part of the path that exists under exactly this name is taken literally, and so are brackets
    if that finds something: `sweep[1]/runs/*` finds the runs of a folder of that name. Hidden files
    match only patterns that begin with a dot. Raises OSError for a folder that cannot be listed.
    """
    found = [Path(os.path.splitdrive(pattern)[0] or ("/" if os.path.isabs(pattern) else "."))]
    for part in Path(pattern).parts[1 if os.path.isabs(pattern) else 0 :]:
        found = [path for folder in found for path in _matching(folder, part)]
    return sorted(found)


def _matching(folder: Path, part: str) -> list[Path]:
    if part == ".." or not any(letter in part for letter in "*?["):
        return [folder / part] if os.path.lexists(folder / part) else []
    if os.path.lexists(folder / part):
        return [folder / part]
    listed = [path.name for path in list_folder(folder)]
    names = [name for name in listed if part[0] == "." or name[0] != "."]
    literal = fnmatch.filter(names, part.replace("[", "[[]"))
    return [folder / name for name in literal or fnmatch.filter(names, part)]


def checked_file(path: Path) -> Path:
    """The path of a regular file; ValueError if it is not one or if its name is not UTF-8.

    Raises FileNotFoundError for a link to a file that is not there.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{os.fsencode(path)!r}: this name is not UTF-8: rename it") from None
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is a link to a file that is not there") from None
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} is not a regular file")
    return path


def has_suffix(name: str, suffixes: Sequence[str]) -> bool:
    """Whether a file's name ends in one of these suffixes, in upper or lower case."""
    return name.lower().endswith(tuple(suffix.lower() for suffix in suffixes))


def _search(
    folder: Path, endings: tuple[str, ...], found: Found, above: tuple[tuple[int, int], ...]
) -> None:
    with os.scandir(folder) as entries:
        listed = list(entries)
    for entry in listed:
        path = folder / entry.name
        name = entry.name.lower()
        if entry.is_dir():
            if name.startswith("."):
                found.passed_over["hidden folders"] += 1
            elif name in SYSTEM_FOLDERS:
                found.passed_over[f"folders {entry.name}"] += 1
            elif (identity := _identity(path)) in above:
                found.passed_over["links to a folder above"] += 1
            else:
                _search(path, endings, found, (*above, identity))
        elif name.startswith("."):
            found.passed_over["hidden files"] += 1
        elif name in SYSTEM_FILES or not name.endswith(endings):
            found.passed_over[_kind(entry.name)] += 1
        else:
            found.files.append(checked_file(path))


def _kind(name: str) -> str:
    if name.lower() in SYSTEM_FILES:
        return name
    ending = os.path.splitext(name)[1].lower()
    return ending.encode("utf-8", "backslashreplace").decode() or "files without an ending"


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
