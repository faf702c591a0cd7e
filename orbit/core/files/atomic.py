"""Files that are either complete or absent: written under another name, flushed, renamed.

Also JSON as strict text, and folders whose names are flushed.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises ValueError also for brackets nested too deep, and for a name that is given twice
    in one object, of which Python would keep the last.
    """
    try:
        return json.loads(_decoded(text), object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("brackets are nested too deep") from None


def _decoded(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode("utf-8")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is given twice")
        found[name] = value
    return found


TEMPORARY_SUFFIX = ".tmp"
MAX_NAME_BYTES = 255
HAVE_NO_DIRECTORY_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS)
"""What fsync of a directory says on file systems that have no such thing."""
HAVE_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)
"""What a hard link says on file systems that have no such thing."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; what was written there replaces `path` at the end.

    An error leaves nothing behind, and one of the operating system names `path`.
    Writers on several hosts that share the directory do not meet.
    """
    temporary = temporary_beside(path)
    try:
        yield temporary
        sync_file(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and _names(error, temporary):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    sync_directory(path.parent)


def create_exclusively(path: Path, text: str) -> bool:
    """Make a file with this content; False if there is one already. One of many callers wins.

    Where hard links exist the file is complete from the moment it can be seen; elsewhere
    (exFAT, SMB, buckets mounted as folders) it may be seen empty for a moment.
    """
    draft = temporary_beside(path)
    try:
        draft.write_text(text, encoding="utf-8")
        try:
            sync_file(draft)
        except FileNotFoundError:
            return False  # Whoever won has swept the draft away already.
        try:
            os.link(draft, path)
        except FileExistsError:
            # A file server that was asked twice denies what it has done the first time.
            with contextlib.suppress(OSError):
                return draft.stat().st_nlink > 1
            return False
        except FileNotFoundError:
            return False  # Whoever won has swept the draft away.
        except OSError as error:
            if error.errno not in HAVE_NO_LINKS:
                raise
            return _create_in_place(path, text)
        return True
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def _create_in_place(path: Path, text: str) -> bool:
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def temporary_beside(path: Path) -> Path:
    """A hidden name of its own beside `path`, never longer than file systems allow."""
    ending = f".{uuid.uuid4().hex[:12]}{TEMPORARY_SUFFIX}"
    room = MAX_NAME_BYTES - len(ending) - 1
    kept = os.fsencode(path.name)[:room].decode("utf-8", "ignore")
    return path.with_name(f".{kept}{ending}")


def write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name, flush it to disk, rename it into place."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, flush it to disk, rename it into place."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def without_non_finite(value: Any) -> Any:
    """The same nested values, None in place of each NaN and infinity, which JSON lacks."""
    if isinstance(value, dict):
        return {key: without_non_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_non_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json_object(path: Path) -> dict[str, Any] | None:
    """A JSON object, None if there is no such file or it holds something else.

    Raises what else the operating system says: a file that cannot be read just now is not
    one that was never written.
    """
    try:
        value = parse_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def sync_directory(path: Path) -> None:
    """Make a rename in this directory survive a power loss, where its file system can."""
    try:
        sync_file(path)
    except OSError as error:
        if error.errno not in HAVE_NO_DIRECTORY_SYNC:
            raise


def sync_file(path: Path) -> None:
    """Flush a file that some library wrote to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(descriptor)


def sha256_of_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _names(error: OSError, temporary: Path) -> bool:
    """Whether an error names the temporary file, or none at all."""
    return not error.filename or os.fspath(error.filename) == str(temporary)


STILL_IN_USE = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY})
"""What a network file system answers while somebody reads a file that is being removed."""


def make_directory(path: Path) -> None:
    """Make a directory, and those above it, and put the new entries on disk."""
    missing = []
    place = path
    while not os.path.lexists(place):
        missing.append(place)
        place = place.parent
    path.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_directory(made.parent)


def remove_tree(path: Path) -> bool:
    """Remove a directory and all in it, or a file; nothing there is fine.

    Returns False, and leaves what is left, where somebody still reads a file in it. Any
    other error is raised.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        # Somebody else removes the same.
        return not path.exists()
    except OSError as error:
        if error.errno not in STILL_IN_USE:
            raise
        return False
    return True
