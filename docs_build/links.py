"""Links between the repository's Markdown files: finding them, and rewriting them for the site."""

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
FENCE = re.compile(r"^(\s*)(```+|~~~+)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass(frozen=True)
class Link:
    """A link in a file: `target` is the part before #, `anchor` the part after it."""

    line: int
    text: str
    target: str
    anchor: str
    is_image: bool


def links_of(text: str) -> Iterator[Link]:
    """All links outside of code that point into the repository."""
    for number, line in prose_lines(text):
        for found in LINK.finditer(re.sub(r"`[^`]*`", lambda m: "x" * len(m[0]), line)):
            target, _, anchor = found[3].partition("#")
            if "://" not in found[3] and not found[3].startswith("mailto:"):
                yield Link(number, found[2], target, anchor, bool(found[1]))


def prose_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines outside of fenced code, with their numbers, counted from 1."""
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        mark = FENCE.match(line)
        if mark and not fence:
            fence = mark[2]
        elif mark and fence and mark[2].startswith(fence):
            fence = ""
        elif not fence:
            yield number, line


def anchors_of(text: str) -> set[str]:
    """The anchors of all headings."""
    headings = (HEADING.match(line) for _, line in prose_lines(text))
    return {slug(heading[1]) for heading in headings if heading}


def slug(heading: str) -> str:
    """A heading's anchor, as the site and common viewers of Markdown make it."""
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", plain.lower()).strip())


def rewrite_links(text: str, place: str, site_of: Callable[[str], str | None]) -> str:
    """The text of the repository's file `place` with links as the site needs them.

    `site_of` maps a path of the repository to the address that a link must have there, or None for
    a file that the site does not hold: a link to it becomes plain text.
    """
    fence_free = {number for number, _ in prose_lines(text)}
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        lines.append(_rewrite(line, place, site_of) if number in fence_free else line)
    return "\n".join(lines) + "\n"


def _rewrite(line: str, place: str, site_of: Callable[[str], str | None]) -> str:
    def one(found: re.Match[str]) -> str:
        target, _, anchor = found[3].partition("#")
        if "://" in found[3] or not target:
            return found[0]
        address = site_of(posixpath.normpath(posixpath.join(posixpath.dirname(place), target)))
        if address is None:
            return found[2]
        return f"{found[1]}[{found[2]}]({address}{'#' + anchor if anchor else ''})"

    return LINK.sub(lambda found: found[0] if _is_in_code(line, found) else one(found), line)


def _is_in_code(line: str, found: re.Match[str]) -> bool:
    return line[: found.start()].count("`") % 2 == 1
