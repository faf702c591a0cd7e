"""Notebooks without a notebook server: run their cells, and turn them into pages of the site.

    python -m docs_build.notebooks examples/explore.ipynb     runs it and saves the outputs

A cell's output is its printed text, the value of its last line, and its open figures, as in
Jupyter. The file has Jupyter's format (nbformat 4.5).
"""

import ast
import base64
import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orbit.core.files.atomic import write_text

PNG, HTML, TEXT = "image/png", "text/html", "text/plain"
DPI = 80


@dataclass(frozen=True)
class Page:
    """A notebook as Markdown, and its pictures by name."""

    markdown: str
    pictures: dict[str, bytes]


def read_notebook(file: Path) -> dict[str, Any]:
    """The JSON of a notebook."""
    notebook: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return notebook


def carry_out(notebook: dict[str, Any], folder: Path, name: str) -> dict[str, Any]:
    """The notebook with the outputs of its cells, run in this folder from top to bottom.

    An exception of a cell is raised, with the cell's number instead of a file name.
    """
    import matplotlib

    matplotlib.use("Agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    cells, number = [], 0
    with contextlib.chdir(folder):
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                number += 1
                outputs = list(
                    _outputs("".join(cell["source"]), names, f"{name}[{number}]", number)
                )
                cell = {**cell, "execution_count": number, "outputs": outputs}
            cells.append(cell)
    return {**notebook, "cells": cells}


def as_page(notebook: dict[str, Any], name: str) -> Page:
    """The notebook as a page `NAME.md`, whose pictures NAME_1.png, NAME_2.png, ... are in the same
    folder."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if PNG in data:
                file = f"{name}_{len(pictures) + 1}.png"
                pictures[file] = base64.b64decode("".join(data[PNG]))
                parts.append(f"![Figure of the cell above]({file})")
            elif HTML in data:
                parts.append("".join(data[HTML]))
            else:
                text = "".join(output.get("text") or data[TEXT])
                parts.append(f"```text\n{text.rstrip()}\n```")
    return Page("\n\n".join(parts) + "\n", pictures)


def _outputs(source: str, names: dict[str, Any], place: str, number: int) -> Iterator[Any]:
    import matplotlib.pyplot as plt

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        value = _run(source, names, place)
    if printed.getvalue():
        yield {"output_type": "stream", "name": "stdout", "text": _lines(printed.getvalue())}
    if value is not None:
        data = {TEXT: _lines(repr(value))}
        if hasattr(value, "_repr_html_"):
            data[HTML] = _lines(value._repr_html_())
        yield {"output_type": "execute_result", "execution_count": number, "data": data, **META}
    for figure in map(plt.figure, plt.get_fignums()):
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=DPI, bbox_inches="tight")
        picture = base64.b64encode(content.getvalue()).decode()
        yield {"output_type": "display_data", "data": {PNG: picture}, **META}
    plt.close("all")


META: dict[str, Any] = {"metadata": {}}


def _run(source: str, names: dict[str, Any], place: str) -> Any:
    """Run a cell; returns the value of its last line, None if that is not an expression."""
    body = ast.parse(source, place).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), place, "exec"), names)
    if not isinstance(last, ast.Expr) or source.rstrip().endswith(";"):
        if isinstance(last, ast.Expr):
            exec(compile(ast.Module([last], []), place, "exec"), names)
        return None
    return eval(compile(ast.Expression(last.value), place, "eval"), names)


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main() -> None:
    """Run the named notebooks and save their outputs."""
    for file in map(Path, sys.argv[1:]):
        done = carry_out(read_notebook(file), file.parent, file.name)
        write_text(file, json.dumps(done, indent=1, ensure_ascii=False) + "\n")
        print(f"{file}: {os.path.getsize(file) // 1024} KiB")


if __name__ == "__main__":
    main()
