"""The files that images are built from.

Protects that they are what the list of steps makes of itself, that all three do the same steps in
the same order, and that a machine without a builder is told so and fails nothing.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from helpers.programs import REPOSITORY

FOLDER = REPOSITORY / "containers"


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_containers", FOLDER / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_files_are_those_of_the_steps(make: ModuleType) -> None:
    for name, maker in make.FILES.items():
        assert (FOLDER / name).read_text() == maker(make.STEPS), f"run containers/make.py: {name}"


def test_all_do_the_same_in_the_same_order(make: ModuleType) -> None:
    for name in make.FILES:
        text = (FOLDER / name).read_text()
        places = [
            text.index(step.run.replace("'", "'\"'\"'") if "root" in name else step.run)
            for step in make.STEPS
            if step.run
        ]
        assert places == sorted(places), name
        assert all(step.copy[0] in text for step in make.STEPS if step.copy), name


def test_the_script_is_one_that_bash_reads() -> None:
    assert subprocess.run(["bash", "-n", FOLDER / "in_empty_root.sh"], check=False).returncode == 0


def test_the_script_unmounts_all_that_came_along_and_says_what_stays() -> None:
    """Below a directory that looks finished this system's own /dev could be deleted otherwise."""
    text = (FOLDER / "in_empty_root.sh").read_text()
    assert text.count("umount ") == text.count('umount --recursive "$one" || stays "$one"') == 1
    place = text.index("mount --rbind")
    assert place < text.index("mount --make-rslave") < text.index('mounted=("$root$one"')


def test_an_image_gets_the_wheel_that_was_just_made(
    make: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not an earlier version beside it: the step that installs it takes one."""
    folder, commands = tmp_path / "build/wheel", []
    folder.mkdir(parents=True)
    (folder / "orbit-0.whl").touch()

    def run(command: list[str], **how: object) -> subprocess.CompletedProcess[str]:
        assert not list(folder.glob("*"))
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(make, "REPOSITORY", tmp_path)
    monkeypatch.setattr(make, "HERE", tmp_path)
    monkeypatch.setattr(make, "find_builder", lambda: "podman")
    monkeypatch.setattr(make.subprocess, "run", run)
    assert make.main(["build=true"]) == 0
    assert [command[0] for command in commands] == [sys.executable, "podman"]


def test_without_a_builder_it_says_so(
    make: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make.shutil, "which", lambda name: None)
    assert make.main(["build=true"]) == 0
    assert capsys.readouterr().out.startswith("image not built: none of docker, podman, apptainer")
    assert make.main(["buidl=true"]) == 1
