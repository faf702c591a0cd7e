"""Docstrings as Markdown: indented lines stay as they are, all others are paragraphs."""

import re
import textwrap

PIECE = re.compile(r"(`[^`]*`)")


def as_markdown(docstring: str) -> str:
    """Paragraphs with Markdown's special characters escaped outside of backticks; indented lines as
    code."""
    lines = textwrap.dedent(docstring.strip("\n")).splitlines()
    out: list[str] = []
    code: list[str] = []
    for line in [*lines, ""]:
        if line.startswith("  "):
            code.append(line)
            continue
        if code:
            # A folder's name is the first line of the listing of its content.
            heading = [out.pop()] if out and out[-1].rstrip("\\").endswith("/") else []
            out += ["", "```text", *heading, *code, "```", ""]
            code = []
        out.append(escape(line))
    return "\n".join(out).strip() + "\n"


def escape(line: str) -> str:
    """One line with `*`, `<` and `[` escaped, except in backticks."""
    pieces = PIECE.split(line)
    return "".join(
        piece if index % 2 else re.sub(r"([*\[])", r"\\\1", piece).replace("<", "&lt;")
        for index, piece in enumerate(pieces)
    )
