"""What a folder holds, without what depends on the clock or on where the folder lies.

Written for the judge alone: it shares no code with the programs that it judges.
"""

import io
import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

CLOCK = ("speed/", "memory/", "time/")
PASSING = {
    "environment.json": ("command", "git"),
    "snapshot.json": ("time",),
    "launch.json": ("submission",),
}
"""Entries that say when and by which call a file was made."""
NUMBER_OF_AN_OBJECT = re.compile(rb"\d{10,}")
UNIMPORTANT = re.compile(r"(^|/)(heartbeat\.json|events\.out\.tfevents\..*)$")
"""The heartbeat holds times alone, and event files repeat `metrics.jsonl` with times."""
LITTER = re.compile(
    r"(^|/)\.[^/]*(\.tmp(\.png)?|\.deleted)(/|$)|(^|/)\.(lock$|(replaced|building)(/|$))"
)
"""Names of what is only half there; the programs themselves pass these over."""

Content = dict[str, str | bytes]


def canonical(work: Path) -> Content:
    """Path to content of all that matters; folders are empty texts."""
    found: Content = {}
    for place, folders, files in os.walk(work):
        for name in folders:
            found[_relative(work, place, name)] = ""
        for name in files:
            path = _relative(work, place, name)
            if not UNIMPORTANT.search(path):
                raw = (Path(place) / name).read_bytes()
                found[path] = _content(path, raw.replace(str(work).encode(), b"WORK"))
    return found


def differences(wanted: Content, found: Content) -> list[str]:
    """A line for each path that differs; litter is left to `litter`."""
    lines = []
    for path in sorted({*wanted, *found}):
        if path not in found:
            lines.append(f"{path} is missing")
        elif path not in wanted:
            if not LITTER.search(path):
                lines.append(f"{path} is too much")
        elif wanted[path] != found[path]:
            lines.append(f"{path} differs")
    return lines


def litter(wanted: Content, found: Content) -> list[str]:
    """Paths that are half there and were left behind."""
    return sorted(path for path in found if path not in wanted and LITTER.search(path))


def _relative(work: Path, place: str, name: str) -> str:
    return (Path(place) / name).relative_to(work).as_posix()


def _content(path: str, raw: bytes) -> str | bytes:
    name = Path(path).name
    try:
        if name == "metrics.jsonl":
            return "\n".join(map(_without_clock, raw.decode().splitlines()))
        if name in PASSING:
            values = json.loads(raw)
            return _text({key: values[key] for key in values if key not in PASSING[name]})
        if name.endswith(".pt2"):
            return _program(raw)
    except (ValueError, KeyError, zipfile.BadZipFile, NotImplementedError):
        pass  # Damaged: as it is.
    return raw


def _without_clock(line: str) -> str:
    try:
        values = json.loads(line)
    except ValueError:
        return line
    return _text({key: value for key, value in values.items() if not key.startswith(CLOCK)})


def _program(raw: bytes) -> str:
    """An archive of torch.export, without the addresses of objects that it names them by."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        parts = {
            name: NUMBER_OF_AN_OBJECT.sub(b"#", archive.read(name)).hex()
            for name in archive.namelist()
            if not name.endswith("serialization_id")
        }
    return _text(parts)


def _text(values: Any) -> str:
    return json.dumps(values, sort_keys=True)
