"""Protects that a path that exists is found under its own name, whatever is in it."""

import errno
import glob
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.evaluation.evaluator import find_runs
from orbit.core.files.listing import matching_paths


@pytest.mark.parametrize("folder", ["sw[1]", "a*b", "what?", "[!x]", "sweep[0-9]"])
@pytest.mark.parametrize("pattern", ["runs/*", "runs/tau0.3[a]_seed?", "runs/tau0.3[a]*", "run?/*"])
def test_runs_in_a_folder_with_brackets_are_found(
    folder: str, pattern: str, tmp_path: Path
) -> None:
    run = tmp_path / folder / "runs" / "tau0.3[a]_seed0"
    run.mkdir(parents=True)
    (run / "config.yaml").touch()
    assert find_runs(str(run)) == [run]
    assert find_runs(f"{tmp_path / folder}/{pattern}") == [run]


def test_what_exists_is_not_taken_for_a_pattern_of_others(tmp_path: Path) -> None:
    for name in ("a[12]", "a1", "a2"):
        (tmp_path / name).mkdir()
    assert matching_paths(str(tmp_path / "a[12]")) == [tmp_path / "a[12]"]
    (tmp_path / "a[12]").rmdir()
    assert matching_paths(str(tmp_path / "a[12]")) == [tmp_path / "a1", tmp_path / "a2"]


@given(
    pattern=st.lists(st.sampled_from(["*", "a*", "?", "[ab]", "b", "[!a]", ".", ".."]), min_size=1)
)
def test_other_patterns_mean_what_they_mean_to_the_standard_library(
    pattern: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.getbasetemp() / "patterns"
    for name in ("a/b", "b/a/c", "ab/.hidden"):
        (root / name).mkdir(parents=True, exist_ok=True)
    text = str(Path(str(root), *pattern[:4]))
    expected = sorted(Path(path) for path in glob.glob(text))
    assert matching_paths(text) == expected


def test_a_pattern_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "x").mkdir(parents=True)
    assert matching_paths("runs/*") == [Path("runs/x")]
    assert matching_paths("nothing/*") == []


def test_runs_of_a_folder_that_cannot_be_listed_are_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file among the folders has no runs; a folder that says nothing may have some."""
    for sweep in ("a", "b"):
        (tmp_path / sweep / "runs" / "x").mkdir(parents=True)
    (tmp_path / "c").touch()
    found = [tmp_path / sweep / "runs" / "x" for sweep in ("a", "b")]
    assert matching_paths(f"{tmp_path}/*/runs/*") == found
    real = os.listdir

    def fail(folder: Path) -> list[str]:
        if folder == tmp_path / "b" / "runs":
            raise OSError(errno.EACCES, "Permission denied", str(folder))
        return real(folder)

    monkeypatch.setattr(os, "listdir", fail)
    with pytest.raises(OSError, match=r"Permission denied.*b/runs"):
        matching_paths(f"{tmp_path}/*/runs/*")
