"""The built wheel, installed where no checkout can be imported: the program `orbit` and its words.

The installation is a virtual environment of its own that borrows the packages Orbit needs from
the one that runs the tests, by a path file. What that has installed of Orbit itself, be it a
checkout, is not found through it: path files inside a borrowed folder do not count.
"""

import importlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from helpers import example_from_wheel
from helpers.programs import REPOSITORY, Outcome, call
from helpers.waiting import PATIENCE_S

from orbit.program import PROGRAMS, in_words

PACKAGES = ("orbit", "pipeline", "data_prep", "launch")
EXAMPLE = REPOSITORY / "examples" / "mylab"
FEW = ("num_samples=60", "num_workers=1")
SMALL = ("epochs=1", "global_batch=16", "task.model.width=8", "collapse.action=warn")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the checkout and nothing old is taken."""
    copy = tmp_path_factory.mktemp("source") / "copy"
    copy.mkdir()
    for name in (*PACKAGES, "configs", "docs/papers"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, copy / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "orbit_command.py", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, copy / name)
    pip(
        sys.executable, "wheel", "--no-build-isolation", "--wheel-dir", str(copy / "out"), str(copy)
    )
    (found,) = (copy / "out").iterdir()
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `bin` of an environment that has the wheel."""
    folder = tmp_path_factory.mktemp("installed")
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    pip(sys.executable, "--python", str(folder / "bin/python"), "install", str(wheel))
    (packages,) = folder.glob("lib/python*/site-packages")
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "borrowed.pth").write_text("".join(f"{path}\n" for path in sorted(borrowed)))
    return folder / "bin"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and an environment that knows no checkout."""
    for name in ("PYTHONPATH", "RANK", "WORLD_SIZE", "ORBIT_CONFIGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return tmp_path / "empty"


def pip(python: str, *words: str) -> None:
    before = [python, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    at = words.index("install") if "install" in words else 0
    command = [*before, *words[: at + 1], "--no-deps", "--no-index", *words[at + 1 :]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr


def run(*command: str | Path) -> Outcome:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S)
    return Outcome(done.returncode, done.stdout, done.stderr)


def ranks(installed: Path, *words: str) -> Outcome:
    """`torchrun -m orbit` with two ranks."""
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    return run(installed / "python", *torchrun, "-m", "orbit", *words)


def test_the_wheel_holds_every_module_and_configuration(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        path.relative_to(REPOSITORY).as_posix()
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    expected.add("orbit_command.py")
    for place, name in (("configs", "orbit/configs"), ("docs/papers", "orbit/papers")):
        files = (REPOSITORY / place).rglob("*.yaml")
        expected |= {f"{name}/{file.relative_to(REPOSITORY / place).as_posix()}" for file in files}
    assert held == expected


def test_the_main_job_from_an_empty_folder(installed: Path, folder: Path) -> None:
    orbit = installed / "orbit"
    imports = "import sys, orbit, pipeline, data_prep, launch as l; print(*sys.path, sep='\\n')"
    places = run(installed / "python", "-c", f"{imports}; print(l.__file__)").out
    assert str(REPOSITORY) not in places.replace(sys.prefix, "")
    assert f"{installed.parent}/lib/" in places.splitlines()[-1]

    done = run(orbit, "prepare", "dataset=rotated_digits", "out=data", *FEW)
    assert done.code == 0, done.err
    done = run(orbit, "train", "data=data", "run_dir=one", *SMALL)
    assert done.code == 0, done.err
    assert "run directory: one" in done.out
    environment = json.loads(Path("one/environment.json").read_text())
    assert environment["command"][:2] == ["orbit", "train"]
    assert environment["git"] is None

    done = run(orbit, "evaluate", "run_dir=one", "analyses=false", "pictures=false")
    assert done.code == 0, done.err


def test_the_example_goes_through_everything(installed: Path, folder: Path) -> None:
    """And keeps the laws by its own tests; all of it in one process, but for ranks and jobs."""
    source = folder.parent / "mylab"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    python = str(installed / "python")
    pip(sys.executable, "--python", python, "install", "--no-build-isolation", str(source))
    for file in (Path(example_from_wheel.__file__), source / "tests/test_laws.py"):
        shutil.copy(file, folder)
    command = (installed / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    done = run(*command, "--rootdir", ".", Path(example_from_wheel.__file__).name, "test_laws.py")
    assert done.code == 0, done.out[-5000:]


@pytest.mark.parametrize("package", ["pipeline", "data_prep", "launch"])
def test_another_package_by_one_of_our_names_is_named(
    package: str, installed: Path, folder: Path
) -> None:
    """`python -m` looks into the working folder first; the program itself never does."""
    (folder / package).mkdir()
    (folder / package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    line = run(installed / "python", "-m", "orbit", "train", "data=x").error_line
    assert line.startswith(f"orbit train: {folder / package} is found instead of")
    done = run(installed / "orbit", "train", "data=x")
    assert done.error_line == "orbit train: missing key run_dir: give run_dir=VALUE"


def test_another_package_called_orbit_is_named(
    installed: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is called `orbit` can only be told apart from outside of it."""
    (folder / "orbit").mkdir()
    (folder / "orbit/__init__.py").write_text("raise RuntimeError('imported')\n")
    said = f"orbit: {folder / 'orbit'} is found instead of"
    line = run(installed / "python", "-m", "orbit_command", "train", "data=x").error_line
    assert line.startswith(said)
    assert run(installed / "orbit", "--version").code == 0, "it never looks into this folder"
    monkeypatch.setenv("PYTHONPATH", str(folder))
    assert run(installed / "orbit", "train", "data=x").error_line.startswith(said)


def test_scripts_by_path_refuse_another_package_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "launch").mkdir()
    (folder / "launch/__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{REPOSITORY}")
    line = run(sys.executable, REPOSITORY / "pipeline/train.py", "data=x").error_line
    assert line.startswith(f"train.py: {folder / 'launch'} is found instead of")


def test_ranks_refuse_another_package_too(installed: Path, folder: Path) -> None:
    (folder / "pipeline.py").write_text("raise RuntimeError('imported')\n")
    done = ranks(installed, "train", "data=x", "run_dir=y")
    assert done.code != 0
    said = [line for line in done.err.splitlines() if line.startswith("orbit train: ")]
    assert {line.partition(" is found")[0] for line in said} <= {
        f"orbit train: rank {rank}: {folder / 'pipeline.py'}" for rank in (0, 1)
    }
    assert said
    assert "imported" not in done.err


def test_configurations_in_the_working_folder_are_not_taken(installed: Path, folder: Path) -> None:
    (folder / "configs/experiment").mkdir(parents=True)
    (folder / "configs/experiment/mine.yaml").write_text("# @package _global_\nepochs: 1\n")
    assert "mine" not in run(installed / "orbit", "train", "--help").out
    line = run(installed / "orbit", "train", "experiment=mine").error_line
    assert line.startswith("orbit train: unknown experiment=mine")


def test_what_belongs_to_the_source_repository_is_asked_for(
    installed: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = run(installed / "orbit", "report", ".", "out=out", "paper=unknown").error_line
    assert "shipped: symmetric_embeddings" in line
    monkeypatch.setattr("launch.reproduction.command.is_installed", lambda: True)
    line = call("launch/reproduce.py", "paper1", "dry_run=true").error_line
    assert "give results=DIR" in line


def test_every_script_has_a_word_and_a_line_in_the_overview(installed: Path, folder: Path) -> None:
    scripts = {
        f"{package}.{path.stem}"
        for package in PACKAGES
        for path in (REPOSITORY / package).glob("*.py")
        if "run_program(main" in path.read_text() and package != "orbit"
    }
    assert set(PROGRAMS.values()) == {*scripts, "orbit.completion"}
    overview = run(installed / "orbit")
    assert overview.code == 0
    for word in PROGRAMS:
        assert f"\n  {word} " in overview.out
    assert run(installed / "orbit", "trian").error_line.endswith("did you mean 'train'?")
    assert not set(os.listdir(folder))


def test_help_speaks_of_the_program(installed: Path, folder: Path) -> None:
    assert "-m orbit train \\" in run(installed / "orbit", "train", "--help").out
    for word, module in PROGRAMS.items():
        text = in_words(importlib.import_module(module).__doc__ or "")
        assert f"orbit {word} " in text
        assert ".py" not in text


def test_scripts_become_words() -> None:
    assert in_words("python launch/sweep.py a=b") == "orbit sweep a=b"
    assert in_words("see pipeline/train.py.") == "see orbit train."
    assert in_words("torchrun --x pipeline/train.py y") == "torchrun --x -m orbit train y"
    for text in ("/home/me/pipeline/train.py: no", "pipeline/programs.py", "my/launch/sweep.py"):
        assert in_words(text) == text
