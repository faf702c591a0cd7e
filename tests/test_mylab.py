"""Protects openness: a package of one's own adds one of everything, and no file here changes.

`examples/mylab` is installed apart. `test_wheel.py` takes it through everything; here is what
happens where packages are of another version, missing, broken, or two of one name.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.programs import REPOSITORY, call
from helpers.training import never_stop

from launch.snapshot import take_snapshot
from orbit.core import plugins
from orbit.core.code import packages_to_carry
from orbit.core.config.compose import compose
from orbit.core.config.schema import build, path_keys
from orbit.core.groups import make_group
from pipeline.training.run import train
from pipeline.training.settings import TrainConfig

EXAMPLE = REPOSITORY / "examples" / "mylab"


def install(package: Path, site: Path) -> None:
    """Into a folder that only a path leads to, from a copy: nothing is left in the repository."""
    import shutil

    copy = site.parent / "source"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--target", str(site), str(copy)]
    subprocess.run(command, check=True, capture_output=True)


def offer(site: Path, name: str, version: str, points: str) -> Path:
    """Entry points of a made-up distribution: the folder of what is known of it."""
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(points)
    return info


@pytest.fixture(scope="module")
def mylab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The example, installed as a user's package is."""
    site = tmp_path_factory.mktemp("mylab") / "site"
    install(EXAMPLE, site)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setenv("PYTHONPATH", f"{site}:{REPOSITORY}")
        plugins.forget()
        yield site
    plugins.forget()
    for name in [name for name in sys.modules if name.partition(".")[0] == "mylab"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def walks(mylab: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("walks") / "data"
    few = ["num_episodes=48", "episode_length=5", "dataset.num_test_episodes=4"]
    words = ["dataset=hexagon_walk", *few, "num_workers=1", f"out={out}"]
    assert call("data_prep/prepare.py", *words).code == 0
    return out


@pytest.fixture(scope="module")
def run_dir(walks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    words = ["experiment=hexagon_walk", "epochs=1", "device=cpu", f"data={walks}", f"run_dir={out}"]
    train(build(TrainConfig, compose("train", words, path_keys(TrainConfig))), never_stop())
    return out


def test_everything_is_listed_with_its_package(mylab: Path) -> None:
    rows = json.loads(call("launch/plugins.py", "json=true").out)
    own = {(row["kind"], row["name"]) for row in rows if row["from"].startswith("mylab 0.1.0")}
    assert own == {
        ("groups", "d3_hexagonal"),
        ("sources", "arrays"),
        ("networks", "thirds"),
        ("actions", "regular"),
        ("worlds", "hexagon_walk"),
        ("methods", "forward_model"),
        ("configs", "mylab"),
    }
    assert not any(row["fault"] for row in rows)
    assert "hexagon_walk" in call("pipeline/train.py", "--help").out


def test_another_version_of_the_package_is_said(run_dir: Path) -> None:
    file = run_dir / "config.yaml"
    recorded = file.read_text()
    file.write_text(recorded.replace("mylab 0.1.0", "mylab 0.0.9"))
    told = call("pipeline/describe.py", f"run_dir={run_dir}")
    file.write_text(recorded)
    assert told.code == 0
    assert "came from mylab 0.0.9, here is mylab 0.1.0" in told.err


def test_without_the_package_a_line_says_what_to_install(
    walks: Path, mylab: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(mylab)])
    plugins.forget()
    make_group.cache_clear()
    try:
        outcome = call("pipeline/evaluate.py", f"run_dir={run_dir}")
        assert "the method 'forward_model' came from mylab 0.1.0" in outcome.error_line
        assert "pip install mylab==0.1.0" in outcome.error_line
        outcome = call("data_prep/verify.py", str(walks))
        assert "pip install mylab==0.1.0" in outcome.error_line
    finally:
        plugins.forget()


def test_two_packages_of_one_name_are_named_both(
    mylab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(tmp_path, "theirlab", "2.0", "[orbit.groups]\nd3_hexagonal = theirlab:GROUP\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.forget()
    try:
        with pytest.raises(ValueError, match=r"two packages.*mylab 0.1.0.*uninstall") as refused:
            plugins.load("groups", "d3_hexagonal")
        assert "theirlab 2.0" in str(refused.value)
    finally:
        monkeypatch.undo()
        plugins.forget()


def test_what_cannot_be_loaded_is_one_line(
    mylab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(tmp_path, "broken", "1.0", "[orbit.networks]\nlost = not_there:NETWORK\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.forget()
    try:
        outcome = call("launch/plugins.py")
        assert outcome.code == 1
        assert "lost" in outcome.out
        assert "cannot be loaded: ModuleNotFoundError" in outcome.out
        words = ["experiment=rotated_digits", "data=x", "run_dir=y", "task.model.name=lost"]
        outcome = call("pipeline/train.py", *words)
        assert "the network 'lost' of broken 1.0 cannot be loaded" in outcome.error_line
    finally:
        monkeypatch.undo()
        plugins.forget()


def test_a_copy_of_the_code_holds_packages_that_are_edited_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that runs later runs what was submitted, not what was edited since."""
    site, package = tmp_path / "site", tmp_path / "elsewhere" / "theirs"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("GROUP = None\n")
    (package.parent / "single.py").write_text("GROUP = None\n")
    points = "[orbit.groups]\ntheirs = theirs:GROUP\nsingle = single:GROUP\n"
    info = offer(site, "theirs", "1.0", points)
    (info / "direct_url.json").write_text('{"url": "file:///x", "dir_info": {"editable": true}}')
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.syspath_prepend(str(package.parent))
    packages = packages_to_carry()
    assert packages == {"theirs": package, "single.py": package.parent / "single.py"}
    root = tmp_path / "root"
    (root / "pipeline").mkdir(parents=True)
    (root / "pipeline" / "__init__.py").write_text("")
    first = take_snapshot(root, tmp_path / "code", packages=packages)
    assert (first.path / "theirs" / "__init__.py").read_text() == "GROUP = None\n"
    assert (first.path / "single.py").read_text() == "GROUP = None\n"
    assert (first.path / "pipeline" / "__init__.py").is_file()
    (package / "__init__.py").write_text("GROUP = 1\n")
    second = take_snapshot(root, tmp_path / "code", packages=packages)
    assert second.digest != first.digest
    assert (first.path / "theirs" / "__init__.py").read_text() == "GROUP = None\n"


def test_settings_of_another_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
from dataclasses import dataclass
from typing import Literal
from orbit import Kind

@dataclass(frozen=True)
class Settings:
    name: Literal["other"]

NETWORK = Kind("named", Settings, print)
"""
    (tmp_path / "misnamed.py").write_text(code)
    offer(tmp_path, "misnamed", "1.0", "[orbit.networks]\nnamed = misnamed:NETWORK\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.forget()
    try:
        with pytest.raises(ValueError, match=r"name: Literal\['named'\]"):
            plugins.load("networks", "named")
    finally:
        monkeypatch.undo()
        plugins.forget()


def test_of_what_is_not_installed_no_other_version_is_said() -> None:
    recorded = ("groups/none_such: gone 1.0", "nonsense")
    assert plugins.differing_versions(recorded) == []


def test_every_name_that_packages_may_use_is_there() -> None:
    import ast

    import orbit.api

    for name in orbit.api.__all__:
        assert getattr(orbit.api, name) is not None
    tree = ast.parse(Path(orbit.api.__file__).read_text())
    told = {
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module != "typing"
        for alias in node.names
    }
    assert told == {(module, name) for name, module in orbit.api.MODULE_OF.items()}
    with pytest.raises(AttributeError, match="orbit has no 'nothing'"):
        orbit.api.nothing  # noqa: B018
