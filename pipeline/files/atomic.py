"""Files that are either complete or absent."""

import contextlib
import errno
import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.files.json_text import parse_json

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
