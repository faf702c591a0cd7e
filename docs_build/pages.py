"""All pages of the site that are not files below docs/, by their path in the site.

Some are files elsewhere in the repository, where people look for them; others are generated.
"""

import ast
from collections.abc import Callable
from functools import partial
from pathlib import Path

from orbit.program import in_words

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = {
    "slurm/README.md": "launcher.md",
    "slurm/containers.md": "containers.md",
    "slurm/modules.md": "modules.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "readme.md",
}
"""Files of the repository, and their paths in the site."""
NOTEBOOKS = {"examples/explore.ipynb": "explore.md"}
"""Notebooks, and the pages that show them with their saved outputs."""
SETTINGS_INDEX = "reference/settings/index.md"
API_INDEX = "reference/api/index.md"
METRICS = "reference/metrics.md"


def made_pages() -> dict[str, Callable[[], str]]:
    """Functions that make the Markdown of a page, by its path in the site."""
    from docs_build.api_pages import api_packages, api_page, page_uri
    from docs_build.settings_pages import PAGES, settings_page

    pages: dict[str, Callable[[], str]] = {
        PROGRAMS: programs_page,
        METRICS: _metrics_page,
        SETTINGS_INDEX: _settings_index,
        API_INDEX: _api_index,
    }
    for file, site in NOTEBOOKS.items():
        pages[site] = partial(_notebook_page, file)
    for page in PAGES:
        pages[page.uri] = partial(settings_page, page)
    for package in api_packages():
        pages[page_uri(package)] = partial(api_page, package)
    return pages


def made_pictures() -> dict[str, bytes]:
    """Pictures of pages that are made, by their place in the site."""
    from docs_build.notebooks import as_page, read_notebook

    found: dict[str, bytes] = {}
    for file in NOTEBOOKS:
        found |= as_page(read_notebook(ROOT / file), Path(file).stem).pictures
    return found


def _notebook_page(file: str) -> str:
    from docs_build.notebooks import as_page, read_notebook

    return as_page(read_notebook(ROOT / file), Path(file).stem).markdown


def _settings_index() -> str:
    from docs_build.settings_pages import PAGES

    lines = ["# Settings", "", "Every key, its type, default and meaning, by program.", ""]
    lines += [f"* [{page.name}]({page.name}.md): `{page.program}`" for page in PAGES]
    return "\n".join(lines) + "\n"


def _metrics_page() -> str:
    from pipeline.methods.table import METHODS
    from pipeline.referee.statements import STATEMENTS

    lines = [
        "# Metrics by method",
        "",
        "A name also stands for all names that start with it and `/`.",
    ]
    stated = {f"`{method.name}`": method.metrics for method in METHODS.values()}
    for heading, metrics in (stated | {"Shared (`referee=true`)": STATEMENTS}).items():
        lines += ["", f"## {heading}", "", "| name | better | meaning |", "|---|---|---|"]
        for each in metrics:
            lines.append(f"| `{each.name}` | {each.direction or ''} | {each.meaning} |")
    return "\n".join(lines) + "\n"


CALLED = ("load_run", "Run", "PairStore", "make_group", "read_element")
"""What notebooks and scripts use; other names of `orbit` are for packages that add to it."""


def _api_index() -> str:
    import ast

    from docs_build.api_pages import api_packages, page_uri
    from orbit.api import MODULE_OF

    def row(name: str) -> str:
        module = ROOT.joinpath(*MODULE_OF[name].split("."))
        file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
        page = page_uri(file.parent).rpartition("/")[2]
        about = next(
            (
                ast.get_docstring(node) or ""
                for node in ast.parse(file.read_text(encoding="utf-8")).body
                if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name
            ),
            "",
        )
        return f"| [`orbit.{name}`]({page}) | {' '.join(about.partition(chr(10) * 2)[0].split())} |"

    lines = ["# Python interface", "", "## What notebooks and scripts use", ""]
    lines += ["| name | meaning |", "|---|---|", *map(row, CALLED), ""]
    lines += ["[Use a trained run](../../howto/use_a_run.md) has examples.", ""]
    lines += ["## What packages use", "", "| name | meaning |", "|---|---|"]
    lines += [row(name) for name in sorted(MODULE_OF) if name not in CALLED]
    lines += [
        "",
        "[Add to Orbit from your own package](../../howto/own_package.md) has examples.",
        "",
    ]
    lines += ["## All packages", ""]
    for package in api_packages():
        name = ".".join(package.relative_to(ROOT).parts)
        about = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
        lines.append(f"* [`{name}`]({name}.md): {about.partition(chr(10))[0]}")
    return "\n".join(lines) + "\n"


FOLDERS = ("data_prep", "pipeline", "launch")
PROGRAMS = "reference/programs.md"


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
