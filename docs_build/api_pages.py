"""Reference pages of the Python interface, from docstrings: a page for each package.

Modules are parsed, never imported. Names with a leading underscore are left out.
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

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


ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("orbit", "pipeline", "data_prep", "launch")
FOLDER = "reference/api"


def api_packages() -> list[Path]:
    """All packages below the repository's three, outermost first."""
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("__init__.py"))
    return sorted(file.parent for file in files)


def page_uri(package: Path) -> str:
    """The path of a package's page in the site."""
    return f"{FOLDER}/{'.'.join(package.relative_to(ROOT).parts)}.md"


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
