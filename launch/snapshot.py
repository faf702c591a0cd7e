"""The code that runs is the code that was submitted: a copy of it, named by its content.

`folder/<first 12 hex digits of the digest>/` holds the folders that a run needs (packages, configs,
slurm): the files that git tracks, with uncommitted changes, and new files that git does not ignore.
Without git it holds all files; from an installed wheel, only its packages. `snapshot.json` inside
lists what was taken, says where it came from, and is not part of the digest; neither is
`__pycache__`. A process runs the copy by starting a program in it with the copy first in
PYTHONPATH.
"""

import errno
import hashlib
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from orbit.core.config.roots import is_installed
from orbit.core.files.atomic import (
    HAVE_NO_LINKS,
    read_json_object,
    sha256_of_file,
    sync_directory,
    sync_file,
    write_json,
)
from orbit.core.files.listing import list_folder

SNAPSHOT_NOTE = "snapshot.json"
"""`pipeline/training/environment.py` reads a file of the same name."""

MAX_BYTES = 50 * 10**6
ESSENTIAL = "pipeline/__init__.py"
PACKAGES = ("data_prep", "launch", "orbit", "pipeline")
FOLDERS = (*PACKAGES, "configs", "slurm")
TOP_LEVEL = ("*.toml", "README*", "LICENSE*")
LEFTOVER_AFTER_S = 3600.0
GIT_TIMEOUT_S = 60.0
HAVE_NO_MODES = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
"""Errors of chmod on file systems without modes."""
GIT_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")
"""Variables that are set inside git hooks, where they would refer to another work tree."""


@dataclass(frozen=True)
class Snapshot:
    """A complete copy of the code and the sha256 of its content."""

    path: Path
    digest: str

    def describe(self) -> str:
        """The content in one line."""
        sizes = (_read_note(self.path) or {}).get("files") or {}
        tops = dict.fromkeys(name.partition("/")[0] for name in sizes if "/" in name)
        return (
            f"code {self.digest[:12]}: {len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB"
            f" ({', '.join(sorted(tops))}; all in {self.path / SNAPSHOT_NOTE})"
        )


NO_PACKAGES: Mapping[str, Path] = {}


def take_snapshot(
    root: Path,
    folder: Path,
    leave_out: Sequence[Path] = (),
    packages: Mapping[str, Path] = NO_PACKAGES,
) -> Snapshot:
    """Copy the code at `root` below `folder`, or find the existing copy.

    `folder` itself and the paths `leave_out` are never copied. `packages` are folders or modules
    elsewhere, by the names that they get in the copy. Raises ValueError if `root` holds no code, if
    the code is too large, and if an earlier copy of the same code was changed.
    """
    root, folder = Path(os.path.realpath(root)), Path(os.path.realpath(folder))
    names = _without(root, _names(root), [folder, *leave_out])
    entries = _entries(root, names)
    if ESSENTIAL not in entries:
        raise ValueError(f"no code to run at {root}: {ESSENTIAL} is missing")
    place = _Places(root, packages)
    for package, there in packages.items():
        inside = [] if there.is_file() else _sources(there)
        found = [package] if there.is_file() else [f"{package}/{name}" for name in inside]
        entries |= dict.fromkeys((name for name in found if place(name).is_file()), None)
    _check_size(root, place, entries)
    digest = _digest(place, entries)
    folder.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(folder)
    if not (folder / digest[:12]).exists():
        digest = _copy(root, place, folder, entries)
    path = folder / digest[:12]
    check_snapshot(path, digest)
    return Snapshot(path, digest)


def check_snapshot(path: Path, digest: str) -> None:
    """Raise FileNotFoundError if there is no copy, ValueError if its content was changed."""
    if not path.is_dir():
        raise FileNotFoundError(f"no copy of the submitted code at {path}")
    root = Path(os.path.realpath(path))
    if _digest(_Places(root), _entries(root, _found(root))) != digest:
        raise ValueError(
            f"the code in {path} was changed after it was submitted:"
            " delete that folder and submit again"
        )


# Which files


class _Places:
    """The path of each file: below the code, or in a package elsewhere."""

    def __init__(self, root: Path, packages: Mapping[str, Path] = NO_PACKAGES) -> None:
        self._root, self._packages = root, packages

    def __call__(self, name: str) -> Path:
        top, _, rest = name.partition("/")
        return self._packages[top] / rest if top in self._packages else self._root / name


def _names(root: Path) -> list[str]:
    """Paths of the code relative to `root`."""
    if _read_note(root) is not None:
        return _found(root)
    if is_installed(root):
        return [f"{top}/{name}" for top in PACKAGES for name in _sources(root / top)]
    # Of a checkout with data in it, git looks through these only.
    wanted = ("--", *FOLDERS, *(f":(glob){pattern}" for pattern in TOP_LEVEL))
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", *wanted)
    names = [os.fsdecode(name) for name in (listed or b"").split(b"\0") if name]
    if ESSENTIAL in names:
        return [name for name in names if _is_of_runs(name) and not _is_residue(name)]
    # No git, no repository, or one that ignores this folder.
    names = [f"{top}/{name}" for top in FOLDERS for name in _sources(root / top)]
    return names + [path.name for pattern in TOP_LEVEL for path in list_folder(root, pattern)]


def _is_of_runs(name: str) -> bool:
    top, separator, _ = name.partition("/")
    return top in FOLDERS if separator else any(fnmatch(name, pattern) for pattern in TOP_LEVEL)


def _sources(folder: Path) -> list[str]:
    """All files below a folder except hidden ones and those that an installation leaves behind."""
    return [
        name
        for name in _found(folder)
        if not any(part.startswith(".") or part.endswith(".egg-info") for part in name.split("/"))
        and not name.endswith(".pyc")
    ]


def _found(root: Path) -> list[str]:
    """All files and links below `root`, relative to it, except files that programs leave behind.

    None if the folder does not exist; OSError if it cannot be listed.
    """
    names = []
    for folder, folders, files in _walk(root) if root.is_dir() else ():
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in [*files, *links]:
            names.append(os.path.relpath(os.path.join(folder, name), root))
    return [name for name in names if name != SNAPSHOT_NOTE and not _is_residue(name)]


def _walk(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` that raises errors: a folder that cannot be listed would be missing from a copy."""

    def fail(error: OSError) -> None:
        raise error

    return os.walk(root, onerror=fail)


def _is_residue(name: str) -> bool:
    """Whether this is a compiled module, or a deleted file that a network file system keeps
    open."""
    return "__pycache__" in name.split("/") or os.path.basename(name).startswith(".nfs")


def _without(root: Path, names: list[str], paths: Iterable[Path]) -> list[str]:
    places = [os.path.relpath(os.path.realpath(path), root) for path in paths]
    return [
        name
        for name in names
        if not any(name == place or name.startswith(f"{place}/") for place in places)
    ]


def _entries(root: Path, names: Iterable[str]) -> dict[str, str | None]:
    """Name -> None for a file, the text of the link for a link to a folder.

    A link to a file counts as that file. A link to a folder is kept, relative, if the folder is
    part of the code. Everything else (deleted files, nested repositories, links to data elsewhere)
    is left out.
    """
    known = sorted(set(names), key=os.fsencode)
    entries: dict[str, str | None] = {}
    for name in known:
        path = root / name
        if path.is_file():
            entries[name] = None
        elif path.is_symlink() and path.is_dir():
            target = os.path.realpath(path)
            place = os.path.relpath(target, root)
            prefix = "" if place == "." else f"{place}/"
            if any(other.startswith(prefix) and other != name for other in known):
                entries[name] = os.path.relpath(target, os.path.realpath(path.parent))
    return entries


def _check_size(root: Path, place: _Places, entries: dict[str, str | None]) -> None:
    sizes = {name: place(name).stat().st_size for name, link in entries.items() if link is None}
    total = sum(sizes.values())
    if total > MAX_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        raise ValueError(
            f"the code at {root} has {total / 1e6:,.0f} MB, more than {MAX_BYTES / 1e6:,.0f}:"
            f" largest is {largest}. Move what is no code elsewhere, or name it in .gitignore"
        )


# Content


def _digest(place: _Places, entries: dict[str, str | None]) -> str:
    """sha256 over names, executable bits and contents, in the order of the names."""
    whole = hashlib.sha256()
    for name in sorted(entries, key=os.fsencode):
        link = entries[name]
        if link is not None:
            kind, content = "link", link
        else:
            kind = "program" if _is_executable(place(name)) else "file"
            content = sha256_of_file(place(name))
        whole.update(b"\0".join(map(os.fsencode, (kind, name, content))) + b"\0\n")
    return whole.hexdigest()


def _copy(root: Path, place: _Places, folder: Path, entries: dict[str, str | None]) -> str:
    """Copy under a temporary name, rename to the digest of the copy, and return the digest."""
    temporary = folder / f".{uuid.uuid4().hex}.tmp"
    try:
        for name, link in entries.items():
            target = temporary / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if link is None:
                _copy_file(place(name), target)
            elif not _link(target, link):
                there = os.path.normpath(os.path.join(os.path.dirname(name), link))
                for inner in entries:
                    if inner.startswith(f"{there}/") and entries[inner] is None:
                        _copy_file(place(inner), target / os.path.relpath(inner, there))
        digest = _digest(_Places(temporary), _entries(temporary, _found(temporary)))
        _write_note(root, temporary, digest, entries)
        for inside, _, _ in _walk(temporary):
            sync_directory(Path(inside))
        path = folder / digest[:12]
        try:
            os.rename(temporary, path)
        except OSError:
            if not path.is_dir():
                raise
        sync_directory(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return digest


def _copy_file(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)
    sync_file(target)
    _set_mode(target, 0o555 if _is_executable(path) else 0o444)


def _link(target: Path, text: str) -> bool:
    """Make a symbolic link; False on a file system without links."""
    try:
        target.symlink_to(text)
    except OSError as error:
        if error.errno not in HAVE_NO_LINKS:
            raise
        return False
    return True


def _set_mode(path: Path, mode: int) -> None:
    """Set a file's mode, if the file system has modes."""
    try:
        path.chmod(mode)
    except OSError as error:
        if error.errno not in HAVE_NO_MODES:
            raise


def _is_executable(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o100)


def _clear_leftovers(folder: Path) -> None:
    """Remove unfinished copies of callers that were killed long ago."""
    for path in list_folder(folder, ".*.tmp"):
        try:
            if time.time() - path.stat().st_mtime > LEFTOVER_AFTER_S:
                shutil.rmtree(path, ignore_errors=True)
        except FileNotFoundError:
            continue


# Origin


def _write_note(root: Path, copy: Path, digest: str, entries: Mapping[str, str | None]) -> None:
    before = _read_note(root)
    if before is not None:
        commit, dirty = before.get("commit"), before.get("dirty")
        dirty = True if digest != before.get("digest") else dirty
    else:
        # A repository that does not track this code has no commit of it.
        is_tracked = bool(_git(root, "ls-files", "--", ESSENTIAL))
        head = _git(root, "rev-parse", "HEAD") if is_tracked else None
        commit = head.decode().strip() if head else None
        changes = _git(root, "status", "--porcelain") if head else None
        dirty = None if changes is None else bool(changes)
    note = {
        "digest": digest,
        "commit": commit,
        "dirty": dirty,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "root": str(root),
        "files": {
            name: 0 if link is not None else (copy / name).stat().st_size
            for name, link in sorted(entries.items())
        },
    }
    write_json(copy / SNAPSHOT_NOTE, note)
    _set_mode(copy / SNAPSHOT_NOTE, 0o444)


def _read_note(root: Path) -> dict[str, Any] | None:
    """The note of a copy that was made here, None for any other folder."""
    note = read_json_object(root / SNAPSHOT_NOTE) or {}
    return note if "digest" in note else None


def _git(root: Path, *arguments: str) -> bytes | None:
    """The output of git, None if git is missing, fails or takes too long."""
    environment = {key: value for key, value in os.environ.items() if key not in GIT_VARIABLES}
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), *arguments],
            env={**environment, "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout if answer.returncode == 0 else None
