"""The reference page of programs: the text of each under --help."""

import ast
from pathlib import Path

from orbit.program import in_words

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("data_prep", "pipeline", "launch")
URI = "reference/programs.md"


def programs() -> list[Path]:
    """Files that are run by path, by folder and name."""
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).glob("*.py"))]
    return [file for file in files if "run_program(" in file.read_text(encoding="utf-8")]


def programs_page() -> str:
    """All programs as Markdown."""
    lines = [
        "# Programs",
        "",
        "The text of each program under `--help`. All take `key=value` overrides;",
    ]
    lines += ["exit codes are on [a page of their own](exit_codes.md).", ""]
    for file in programs():
        name = file.relative_to(ROOT).as_posix()
        about = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        lines += [f"## `{name}`", "", f"Also `{in_words(name)}`.", "", "```text", about, "```", ""]
    return "\n".join(lines)
