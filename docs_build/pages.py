"""All pages of the site that are not files below docs/, by their path in the site.

Some are files elsewhere in the repository, where people look for them; others are generated.

The reference of the Python interface has a page for each package, from docstrings. Modules are
parsed, never imported. Names with a leading underscore are left out.
"""

import ast
import re
import textwrap
from collections.abc import Callable, Iterator
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


PACKAGES = ("orbit", "pipeline", "data_prep", "launch")
IN_API = "reference/api"


def api_packages() -> list[Path]:
    """All packages below the repository's three, outermost first."""
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("__init__.py"))
    return sorted(file.parent for file in files)


def page_uri(package: Path) -> str:
    """The path of a package's page in the site."""
    return f"{IN_API}/{'.'.join(package.relative_to(ROOT).parts)}.md"


def api_page(package: Path) -> str:
    """A package's page: its modules in alphabetical order, each with its public names."""
    name = ".".join(package.relative_to(ROOT).parts)
    lines = [f"# `{name}`", ""]
    for file in sorted(package.glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        about = ast.get_docstring(tree) or ""
        is_program = "run_program(" in file.read_text(encoding="utf-8") and file.parent in (
            ROOT / each for each in PACKAGES
        )
        if file.name == "__init__.py":
            lines += [as_markdown(about), ""]
        elif is_program:
            lines += [f"## `{name}.{file.stem}`", "", "A [program](../programs.md).", ""]
        else:
            lines += [f"## `{name}.{file.stem}`", "", as_markdown(about), ""]
            lines += _members(tree)
    return "\n".join(lines) + "\n"


def _members(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _class(node)
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield f"### {node.name}"
            yield from _signature(node)


def _class(node: ast.ClassDef) -> Iterator[str]:
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    yield f"### {node.name}"
    yield ""
    yield f"```python\nclass {node.name}{f'({bases})' if bases else ''}\n```"
    yield ""
    yield as_markdown(ast.get_docstring(node) or "")
    fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
    public = [part for part in fields if not ast.unparse(part.target).startswith("_")]
    if public:
        yield "```python"
        yield from (ast.unparse(part) for part in public)
        yield "```"
        yield ""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and _is_public_method(part):
            yield f"#### {node.name}.{part.name}"
            yield from _signature(part)


def _is_public_method(node: ast.FunctionDef) -> bool:
    if node.name == "__init__":
        return len(node.args.args) + len(node.args.kwonlyargs) > 1
    return not node.name.startswith("_")


def _signature(node: ast.FunctionDef) -> Iterator[str]:
    decorators = [ast.unparse(each) for each in node.decorator_list]
    kept = [f"@{each}" for each in decorators if each in ("property", "contextmanager")]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    yield ""
    yield "```python"
    yield from kept
    yield f"def {node.name}({ast.unparse(node.args)}){returns}"
    yield "```"
    yield ""
    yield as_markdown(ast.get_docstring(node) or "")
    yield ""
