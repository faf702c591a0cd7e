"""One bad file and the program that meets it."""

import json
import pickle
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Wanted = Literal["refused", "either", "read", "said"]
Spoil = Callable[[Path], None]
Change = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Case:
    """A copy of `material` in the folder WORK is changed by `spoil`, then the program runs.

    `wanted`: `refused` is one line on standard error that holds one of `names`, and exit
    code 1; `read` is exit code 0; `either` is for a change that neither a checksum nor a
    rule can tell; `said` is for programs that go on without the file: exit code 0 or 1,
    with one of `names` in what they print. `is_lenient` marks a file that a parser
    without these rules would load.
    """

    reader: str
    name: str
    material: str
    spoil: Spoil
    program: str
    words: tuple[str, ...]
    names: tuple[str, ...]
    is_lenient: bool = False
    wanted: Wanted = "refused"

    @property
    def title(self) -> str:
        return f"{self.reader}: {self.name}"

    def words_in(self, work: Path) -> list[str]:
        return [word.replace("WORK", str(work)) for word in self.words]


def edit(file: str, change: Change) -> Spoil:
    """Change the bytes of a file of WORK."""

    def spoil(work: Path) -> None:
        path = work / file
        path.write_bytes(change(path.read_bytes()))

    return spoil


def edit_newest(glob: str, change: Change) -> Spoil:
    """Change the last, by name, of the files that a pattern names."""

    def spoil(work: Path) -> None:
        path = max(work.glob(glob))
        path.write_bytes(change(path.read_bytes()))

    return spoil


def edit_json(glob: str, change: Callable[[Any], Any]) -> Spoil:
    """Change the value of a JSON file, the last that a pattern names."""

    def rewrite(content: bytes) -> bytes:
        value = json.loads(content)
        changed = change(value)
        return json.dumps(value if changed is None else changed, indent=2).encode()

    return edit_newest(glob, rewrite)


def text(file: str, old: str, new: str, num: int = -1) -> Spoil:
    """Replace a text in a file; it must be there."""

    def change(content: bytes) -> bytes:
        assert old.encode() in content, f"{old!r} is not in {file}"
        return content.replace(old.encode(), new.encode(), num)

    return edit(file, change)


def pattern(file: str, old: str, new: str) -> Spoil:
    """Replace the first match of a regular expression; there must be one."""

    def change(content: bytes) -> bytes:
        changed, num = re.subn(old.encode(), new.encode(), content, count=1)
        assert num, f"{old!r} is not in {file}"
        return changed

    return edit(file, change)


def write(file: str, content: bytes | str) -> Spoil:
    """Put a file into WORK."""

    def spoil(work: Path) -> None:
        path = work / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return spoil


def remove(file: str) -> Spoil:
    def spoil(work: Path) -> None:
        (work / file).unlink()

    return spoil


def link(file: str, target: str) -> Spoil:
    """Put a symbolic link in a file's place; `target` may name WORK."""

    def spoil(work: Path) -> None:
        path = work / file
        path.unlink(missing_ok=True)
        path.symlink_to(target.replace("WORK", str(work)))

    return spoil


def folder_instead(file: str) -> Spoil:
    """Put a folder in a file's place."""

    def spoil(work: Path) -> None:
        path = work / file
        path.unlink()
        path.mkdir()

    return spoil


def move_out(file: str, outside: str = "outside") -> Spoil:
    """Move a file to WORK/outside, which no table may name."""

    def spoil(work: Path) -> None:
        (work / outside).mkdir()
        shutil.move(work / file, work / outside / Path(file).name)

    return spoil


def both(*spoils: Spoil) -> Spoil:
    """One change after the other."""

    def spoil(work: Path) -> None:
        for each in spoils:
            each(work)

    return spoil


# Bytes


def cut(share: float) -> Change:
    """Keep the first `share` of a file."""
    return lambda content: content[: int(len(content) * share)]


def cut_by(num: int) -> Change:
    """Drop the last bytes."""
    return lambda content: content[:-num]


def longer(tail: bytes) -> Change:
    """Append bytes."""
    return lambda content: content + tail


def put(place: int, new: bytes) -> Change:
    """Write over the bytes at a place, from the end if negative."""

    def change(content: bytes) -> bytes:
        first = place if place >= 0 else len(content) + place
        return content[:first] + new + content[first + len(new) :]

    return change


def flip(seed: int, first: int = 0, last: int | None = None) -> Change:
    """Flip one bit, drawn by the seed, between two places."""

    def change(content: bytes) -> bytes:
        rng = random.Random(seed)
        changed = bytearray(content)
        place = rng.randrange(first, len(content) if last is None else last)
        changed[place] ^= 1 << rng.randrange(8)
        return bytes(changed)

    return change


def instead(new: bytes | Callable[[], bytes]) -> Change:
    """Other bytes altogether; what takes long to make is made when the file is spoiled."""
    return lambda content: new() if callable(new) else new


NO_FILES: dict[str, bytes] = {
    "empty": b"",
    "a page of HTML": b"<!DOCTYPE html><html><body>404 not found</body></html>\n",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:"
    + b"0" * 64
    + b"\nsize 12345\n",
    "zeros": bytes(4096),
    "a pickle": pickle.dumps(print, 4),
}
"""What downloads, checkouts and disks leave in the place of a file."""
