"""One way each to print, wait, list a user's files, link, read tables, meshes and YAML.

A second way would be mended at one place and stay wrong at the other.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.programs import REPOSITORY

PACKAGES = ("orbit", "pipeline", "data_prep", "launch")

ONLY_IN = {
    "time.sleep": {
        "orbit/core/files/waiting.py",
        # Loops that watch processes or a screen and end by themselves at a signal.
        "launch/jobs/attempt.py",
        "launch/sweeps/search.py",
        "launch/reports/watching.py",
        "launch/reproduction/children.py",
    },
    "os.link": {"orbit/core/files/atomic.py"},
    "csv.reader": {"orbit/core/reading/pairs_csv.py"},
    "csv.DictReader": set(),
    "trimesh.load": set(),
    "yaml.safe_load": set(),
    "yaml.load": {"orbit/core/config/yaml_files.py"},
    "pickle.load": set(),
    "pickle.loads": {"orbit/testing.py"},  # of what it has just pickled, as for worker processes
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            yield path.relative_to(REPOSITORY).as_posix(), ast.parse(path.read_text())


def calls(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


@pytest.fixture(scope="module")
def found() -> dict[str, set[str]]:
    """Where each function is called."""
    places: dict[str, set[str]] = {}
    for name, tree in modules():
        for function in calls(tree):
            places.setdefault(function, set()).add(name)
    return places


@pytest.mark.parametrize("function", sorted(ONLY_IN))
def test_one_way(found: dict[str, set[str]], function: str) -> None:
    others = found.get(function, set()) - ONLY_IN[function]
    assert not others, f"{function} is called outside of its one place: {sorted(others)}"


def test_a_users_folder_is_searched_in_one_place() -> None:
    """What `rglob` and `os.walk` do with linked folders and unreadable ones differs."""
    walking = {
        name
        for name, tree in modules()
        for function in calls(tree)
        if name.startswith(("orbit/core/reading", "data_prep/sources", "pipeline/application"))
        and function.rpartition(".")[2] in ("rglob", "walk", "iterdir", "scandir", "listdir")
    }
    assert walking == set()


def test_a_folder_is_listed_by_pattern_in_one_place(found: dict[str, set[str]]) -> None:
    """`Path.glob` takes a folder that cannot be listed for an empty one."""
    globbing = {
        name
        for function, names in found.items()
        for name in names
        if function.rpartition(".")[2] in ("glob", "rglob", "iglob")
    }
    # Files that were just written: the size of pages, what a shared run consists of.
    assert globbing == {"launch/reports/html/writing.py", "pipeline/sharing.py"}


def test_the_look_itself_sees_calls(tmp_path: Path) -> None:
    assert list(calls(ast.parse("import os\nos.link('a', 'b')"))) == ["os.link"]
