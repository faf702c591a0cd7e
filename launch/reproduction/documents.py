"""Texts with generated blocks: only what stands between two comments is rewritten."""

import re
from collections.abc import Mapping
from pathlib import Path

from pipeline.config.schema import suggestion
from pipeline.files.atomic import replacing

START = re.compile(r"<!-- table: (?P<name>\S+) -->")
END = "<!-- end -->"


def replace_blocks(text: str, blocks: Mapping[str, str]) -> str:
    """The text with every block between `<!-- table: NAME -->` and `<!-- end -->` replaced.

    Everything else stays as it is. Raises ValueError for an unknown name or a block that
    does not end before the next one starts.
    """
    parts: list[str] = []
    place = 0
    while match := START.search(text, place):
        name = match["name"]
        if name not in blocks:
            raise ValueError(f"unknown table {name!r}{suggestion(name, list(blocks))}")
        end = text.find(END, match.end())
        following = START.search(text, match.end())
        if end < 0 or (following and following.start() < end):
            raise ValueError(f"table {name!r} has no {END}")
        parts += [text[place : match.end()], f"\n{blocks[name]}\n", END]
        place = end + len(END)
    return "".join([*parts, text[place:]])


def rewrite_document(file: Path, blocks: Mapping[str, str]) -> bool:
    """Replace the blocks of a file, atomically; whether it changed.

    Raises FileNotFoundError if there is none, ValueError as above, naming the file.
    """
    if not file.is_file():
        raise FileNotFoundError(f"document={file}: there is no such file")
    before = file.read_bytes()
    try:
        after = replace_blocks(before.decode("utf-8"), blocks).encode("utf-8")
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    if after == before:
        return False
    with replacing(file) as draft:
        draft.write_bytes(after)
    return True
