"""Files and folders that are either complete or absent: written under another name, flushed,
renamed.

Also strict JSON, and flushing the names in a folder.
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

    Also raises ValueError for brackets that are nested too deep, and for a name that is given twice
    in one object (Python would keep the last value).
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
"""Errors of fsync on a directory if the file system does not support it."""
HAVE_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)
"""Errors of a hard link if the file system does not support it."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder; at the end the file written there replaces `path`.

    An error leaves nothing behind, and errors of the operating system name `path`. Writers on
    several hosts that share the directory use different temporary names.
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


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder in the same folder; at the end it takes the place of `path`.

    What is there already, if anything, is removed only after that. An error leaves it as it was,
    and nothing else behind; errors of the operating system that name no file name `path`.
    """
    draft, old = temporary_beside(path), temporary_beside(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        draft.mkdir()
        yield draft
        for folder, _, files in os.walk(draft):
            for name in (*files, ""):
                (sync_file if name else sync_directory)(Path(folder, name))
        if os.path.lexists(path):
            os.rename(path, old)
        try:
            os.rename(draft, path)
        except OSError:
            if os.path.lexists(old):
                os.rename(old, path)
            raise
    except OSError as error:
        if error.errno and not error.filename:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        with contextlib.suppress(OSError):
            remove_tree(draft)
    sync_directory(path.parent)
    with contextlib.suppress(OSError):
        remove_tree(old)


def create_exclusively(path: Path, text: str) -> bool:
    """Make a file with this content; False if it exists already. Only one of many callers succeeds.

    With hard links the file is complete as soon as it is visible; without (exFAT, SMB, buckets
    mounted as folders) it may be empty for a moment.
    """
    draft = temporary_beside(path)
    try:
        draft.write_text(text, encoding="utf-8")
        try:
            sync_file(draft)
        except FileNotFoundError:
            return False  # The process that succeeded has removed the draft already.
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
    """A unique hidden path in the folder of `path`, never longer than file systems allow."""
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
    """The same nested values, with None instead of NaN and infinity, which JSON does not have."""
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

    Raises other errors of the operating system: a file that cannot be read at the moment is not one
    that was never written.
    """
    try:
        value = parse_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def sync_directory(path: Path) -> None:
    """Make a rename in this directory survive a power loss, if the file system can."""
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
    """Whether an error names the temporary file, or no file."""
    return not error.filename or os.fspath(error.filename) == str(temporary)


STILL_IN_USE = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY})
"""Errors of a network file system while another process reads a file that is being removed."""


def make_directory(path: Path) -> None:
    """Make a directory and its parents, and flush the new entries to disk."""
    missing = []
    place = path
    while not os.path.lexists(place):
        missing.append(place)
        place = place.parent
    path.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_directory(made.parent)


def remove_tree(path: Path) -> bool:
    """Remove a directory with its content, or a file; it may be missing.

    Returns False and leaves the rest if another process still reads a file in it. Raises any other
    error.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        # Another process removes the same file.
        return not path.exists()
    except OSError as error:
        if error.errno not in STILL_IN_USE:
            raise
        return False
    return True
