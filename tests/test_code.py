"""Which code makes a run: what belongs to its digest, and what a run says of a change."""

import importlib.metadata
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.training import StopAfter, make_config, never_stop
from hypothesis import given
from hypothesis import strategies as st

from launch.jobs.codes import counts, labels, read_spans
from launch.snapshot import take_snapshot
from launch.sweeps import submission
from orbit.core import code as code_module
from orbit.core import plugins
from orbit.core.code import (
    Code,
    code_of,
    differing_packages,
    digest_of,
    packages_to_carry,
    used_in_training,
    went_on,
)
from orbit.core.config.program import ExitWithCode
from pipeline.training import lifecycle
from pipeline.training.run import train


def write(folder: Path, **files: str) -> Path:
    """Python files by name, `_` for a folder."""
    for name, text in files.items():
        file = folder / f"{name.replace('_', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def fresh(place: Path) -> str:
    """The digest as another process would find it."""
    digest_of.cache_clear()
    return digest_of(place)


def test_the_digest_is_of_python_files_wherever_they_lie(tmp_path: Path) -> None:
    package = write(tmp_path / "here" / "lab", a="x = 1\n", b_c="y = 2\n")
    first = fresh(package)
    elsewhere = shutil.copytree(package, tmp_path / "there" / "renamed")
    assert fresh(elsewhere) == first
    for name in ("settings.yaml", "__pycache__/a.cpython-311.pyc", ".hidden/a.py"):
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text("x = 2\n")
    assert fresh(package) == first
    digests = {first}
    for change in ({"a": "x = 1  # one\n"}, {"b_d": ""}):
        digests.add(fresh(write(package, **change)))
    (package / "a.py").rename(package / "e.py")
    digests.add(fresh(package))
    (package / "fast.so").write_bytes(b"compiled")
    digests.add(fresh(package))
    assert len(digests) == 5


def test_the_code_of_a_process_is_read_once_and_without_the_launcher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = code_of()
    assert set(code.packages) == {"orbit", "pipeline"}
    monkeypatch.setattr(code_module, "code_files", lambda place: pytest.fail("read again"))
    assert code_of([]).digest == code.digest


def test_runs_with_the_same_plugins_ask_for_their_code_once(
    digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep of a thousand runs would look through all installed packages as often otherwise."""
    asked: list[tuple[str, ...]] = []

    def ask(used: tuple[str, ...]) -> Code:
        asked.append(used)
        return Code({"orbit": "1"})

    monkeypatch.setattr(submission, "code_of", ask)
    submission._code_of.cache_clear()
    configs = [make_config(digits_dir, tmp_path / str(seed), f"seed={seed}") for seed in range(3)]
    codes = [submission.code_of_run(config).digest for config in configs]
    submission._code_of.cache_clear()
    assert len(set(codes)) == len(asked) == 1


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A plug-in's package on a path, which imports a helper beside it and one that is installed."""
    folder, site = tmp_path / "sources", tmp_path / "site"
    package = folder / "lab"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import numpy, labtools\nfrom settled import x\n")
    write(folder, labtools="from json import dumps\nimport orbit\n")
    write(site, settled="x = 1\n")
    (site / "settled-1.0.dist-info").mkdir()
    info = folder / "lab.egg-info"
    info.mkdir()
    (info / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: lab\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text("[orbit.networks]\nlab = lab:NETWORK\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.syspath_prepend(str(folder))
    plugins.forget()
    yield folder
    monkeypatch.undo()
    plugins.forget()


def test_code_outside_belongs_to_the_digest_and_to_the_copy(lab: Path, tmp_path: Path) -> None:
    """A package on PYTHONPATH that nobody installed, and what it imports from there."""
    used = ("networks/lab: lab 0.3",)
    first = code_of(used)
    assert set(first.packages) == {"orbit", "pipeline", "lab", "labtools"}
    assert code_of().digest != first.digest
    carried = packages_to_carry()
    assert {"lab", "labtools.py"} <= set(carried)
    assert not {"settled", "settled.py"} & set(carried)
    root = tmp_path / "root"
    write(root, pipeline="")
    (root / "pipeline").mkdir()
    (root / "pipeline" / "__init__.py").touch()
    copy = take_snapshot(root, tmp_path / "kept", packages=carried).path
    assert fresh(copy / "lab") == first.packages["lab"]
    (lab / "labtools.py").write_text("# another thought\n")
    digest_of.cache_clear()
    second = code_of(used)
    assert differing_packages({"packages": first.packages}, {"packages": second.packages}) == [
        "labtools"
    ]


def test_code_that_cannot_be_told_is_refused_by_name(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lab / "lab" / "__init__.py").write_text("import scattered\n")
    code_module._imports_of.cache_clear()
    for part in ("one", "two"):
        (tmp_path / part / "scattered").mkdir(parents=True)
        monkeypatch.syspath_prepend(str(tmp_path / part))
    with pytest.raises(ValueError, match="the package 'scattered' is in several folders"):
        packages_to_carry()


def test_a_folder_without_code_is_not_a_package(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results in the working folder, with the name of a library that is not installed."""
    (lab / "lab" / "__init__.py").write_text("try:\n    import logged\nexcept ImportError: ...\n")
    (tmp_path / "work" / "logged").mkdir(parents=True)
    (tmp_path / "work" / "logged" / "values.json").write_text("{}")
    monkeypatch.syspath_prepend(str(tmp_path / "work"))
    assert set(code_of(("networks/lab: lab 0.3",)).packages) == {"orbit", "pipeline", "lab"}
    assert "logged" not in packages_to_carry()
    (tmp_path / "work" / "logged" / "values.py").touch()
    assert "logged" in packages_to_carry()


def test_what_is_installed_is_read_once(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many runs there are, and however much a plug-in imports: it is slow to read."""
    read, calls = importlib.metadata.entry_points, []

    def counted(**given: str) -> Any:
        calls.append(given)
        return read(**given)

    monkeypatch.setattr(importlib.metadata, "entry_points", counted)
    plugins.forget()
    for _ in range(2):
        assert "lab" in code_of(("networks/lab: lab 0.3",)).packages
        assert "lab" in packages_to_carry()
    assert len(calls) == 1


def test_of_a_dataset_only_the_group_takes_part_in_training() -> None:
    recorded = ("worlds/w: lab 1", "groups/g: lab 1", "sources/s: lab 1")
    assert used_in_training(("networks/n: lab 1",), recorded) == (
        "networks/n: lab 1",
        "groups/g: lab 1",
    )


CODES = [Code({"orbit": "0", "pipeline": letter}) for letter in "abc"]


@given(starts=st.lists(st.tuples(st.integers(1, 9), st.sampled_from(CODES)), max_size=6))
def test_spans_tell_every_code_in_order(starts: list[tuple[int, Code]]) -> None:
    """The last span is the code that runs, and no two neighbours are of one code."""
    step, spans, ran = 0, went_on(None, 0, CODES[0], None), [CODES[0]]
    for more, code in starts:
        step += more
        spans = went_on(spans, step, code, {"commit": "c", "dirty": False})
        ran += [code] if ran[-1] != code else []
    assert [span["digest"] for span in spans] == [code.digest for code in ran]
    steps = [span["first_step"] for span in spans]
    assert steps == sorted(set(steps))
    assert went_on(spans, 0, CODES[1], None) == went_on(None, 0, CODES[1], None)


def test_a_run_that_goes_on_by_other_code_says_so(
    digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """Also after one by code that nobody recorded; its checkpoints tell for themselves."""
    run = tmp_path / "run"
    config = make_config(digits_dir, run, "epochs=1", "compile=false", "checkpoint_every=5")
    with pytest.raises(ExitWithCode):
        train(config, StopAfter(6))
    (first,) = read_spans(run) or ()
    assert set(first["packages"]) == {"orbit", "pipeline"}
    assert "mix of both" not in capfd.readouterr().out
    other = Code({**first["packages"], "pipeline": "f" * 64})
    monkeypatch.setattr(lifecycle, "code_of", lambda used: other)
    train(config, never_stop())
    assert "(pipeline changed): from here on this run is a mix of both" in capfd.readouterr().out
    spans = read_spans(run) or ()
    assert [span["first_step"] for span in spans] == [0, 6]
    newest = max((run / "checkpoints").glob("step_*"))
    assert json.loads((newest / "meta.json").read_text())["code"] == list(spans)
    assert labels([spans]) == [
        f"pipeline {first['packages']['pipeline'][:8]} then pipeline ffffffff"
    ]
    assert counts([spans])[0].startswith("1 run of code pipeline")
