"""What a disk holds after its machine was lost: nothing that was not flushed.

The library's journal says which files were flushed with which content and which folders with
which entries. Whatever was there before the program began counts as flushed.
"""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

Key = tuple[int, int]
"""An inode and its incarnation: numbers of removed files are given out again."""
Entries = dict[str, Key]


@dataclass
class Disk:
    """Files and folders as they are on the disk itself."""

    contents: dict[Key, bytes] = field(default_factory=dict)
    folders: dict[Key, Entries] = field(default_factory=dict)
    root: Key = (0, 0)


def read_disk(root: Path) -> Disk:
    """The state of a folder before a program begins."""
    disk = Disk(root=(root.stat().st_ino, 0))
    for place, folders, files in os.walk(root):
        folder = Path(place)
        entries = {name: ((folder / name).stat().st_ino, 0) for name in (*folders, *files)}
        disk.folders[(folder.stat().st_ino, 0)] = entries
        disk.contents.update({entries[name]: (folder / name).read_bytes() for name in files})
    return disk


def lose_node(root: Path, before: Disk, logs: list[Path], journal: Path, keeps_names: bool) -> None:
    """Turn `root` into what is left of it; with `keeps_names` only contents are lost.

    Files whose content is unharmed stay the same files, with their times.
    """
    disk, incarnation = _replay(before, logs, journal)
    now = _current(root, incarnation)
    remains = root.with_name(f"{root.name}.remains")
    folders = {**disk.folders, **now.folders} if keeps_names else disk.folders
    places = _places(root, incarnation)
    _rebuild(disk.root, remains, folders, disk.contents, now.contents, places)
    shutil.rmtree(root)
    remains.rename(root)


def _replay(before: Disk, logs: list[Path], journal: Path) -> tuple[Disk, dict[int, int]]:
    disk = Disk(dict(before.contents), dict(before.folders), before.root)
    incarnation: dict[int, int] = {}
    for log in logs:
        for line in log.read_text().splitlines() if log.exists() else ():
            if not line.startswith("!"):
                continue
            kind, number, *rest = line[1:].split("\t")
            inode = int(number)
            key = (inode, incarnation.get(inode, 0))
            if kind == "gone":
                incarnation[inode] = key[1] + 1
            elif kind == "content":
                disk.contents[key] = (journal / rest[0]).read_bytes()
            else:
                disk.folders[key] = {}
                for entry in (journal / rest[0]).read_text().splitlines():
                    child, is_folder, name = entry.split("\t", 2)
                    found = (int(child), incarnation.get(int(child), 0))
                    disk.folders[key][name] = found
                    if int(is_folder):  # Empty on the disk, unless it was flushed itself.
                        disk.folders.setdefault(found, {})
    return disk, incarnation


def _current(root: Path, incarnation: dict[int, int]) -> Disk:
    found = read_disk(root)

    def keyed(key: Key) -> Key:
        return key[0], incarnation.get(key[0], 0)

    return Disk(
        {keyed(key): content for key, content in found.contents.items()},
        {
            keyed(key): {name: keyed(child) for name, child in entries.items()}
            for key, entries in found.folders.items()
        },
    )


def _places(root: Path, incarnation: dict[int, int]) -> dict[Key, Path]:
    found = {}
    for place, _, files in os.walk(root):
        for name in files:
            path = Path(place) / name
            inode = path.stat().st_ino
            found[(inode, incarnation.get(inode, 0))] = path
    return found


def _rebuild(
    folder: Key,
    target: Path,
    folders: dict[Key, Entries],
    contents: dict[Key, bytes],
    now: dict[Key, bytes],
    places: dict[Key, Path],
) -> None:
    target.mkdir()
    for name, key in folders[folder].items():
        if key in folders:
            _rebuild(key, target / name, folders, contents, now, places)
        elif key in places and now[key] == contents.get(key, b""):
            os.link(places[key], target / name)
        else:
            (target / name).write_bytes(contents.get(key, b""))
