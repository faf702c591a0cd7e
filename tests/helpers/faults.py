"""A file system that answers with an error, for the files one names."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def failing(
    monkeypatch: pytest.MonkeyPatch, matches: Callable[[Path], bool], number: int = errno.EIO
) -> None:
    """Let every read of a file whose path matches fail with an error of the operating system."""

    def broken(method: Callable[..., Any]) -> Callable[..., Any]:
        def read(self: Path, *args: Any, **kwargs: Any) -> Any:
            if matches(self):
                raise OSError(number, os.strerror(number), str(self))
            return method(self, *args, **kwargs)

        return read

    for name in ("read_bytes", "read_text"):
        monkeypatch.setattr(Path, name, broken(getattr(Path, name)))


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder and what they hold."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
