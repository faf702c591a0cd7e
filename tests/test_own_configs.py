"""A user's own YAML files: `configs=DIR` and ORBIT_CONFIGS, beside Orbit's and never over them."""

import json
import os
from pathlib import Path

import pytest
from helpers.programs import call
from helpers.training import PATH_KEYS
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.sweeps.expansion import Resolver
from orbit.core.config.compose import compose, group_options
from orbit.core.config.roots import (
    CONFIG_ROOT,
    VARIABLE,
    config_roots,
    own_roots,
    take_configs,
)

TRAIN = ["data=x", "run_dir=y"]


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words name folders for the whole process; a test must leave none behind."""
    monkeypatch.setenv(VARIABLE, "")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Two experiments, one on top of Orbit's and one on top of that; a dataset, a sweep."""
    files = {
        "experiment/mine.yaml": "# @package _global_\ndefaults: [planes]\nepochs: 77\n",
        "experiment/lab/more.yaml": (
            "# @package _global_\ndefaults: [/experiment/mine]\ntail: carry\n"
        ),
        "dataset/my_pictures.yaml": (
            "# @package _global_\ndefaults: [image_folder]\ndataset: {group: d4}\n"
        ),
        "dataset/my_heads.yaml": (
            "# @package _global_\ndefaults: [brain_mri, /source/my_heads@source: drawn]\n"
        ),
        "source/my_heads/drawn.yaml": "name: phantom\nsize: 16\n",
        "sweep/two.yaml": "search: {name: grid, grid: {task.tau: [0.3, 0.7]}}\nseeds: [0]\n",
        "README.md": "what these are\n",
    }
    for name, text in files.items():
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / name).write_text(text)
    return tmp_path / "own"


def train_values(*words: str) -> dict[str, object]:
    return compose("train", [*take_configs(words), *TRAIN], PATH_KEYS)


def test_files_build_on_ours_and_on_each_other(own: Path) -> None:
    mine = train_values(f"configs={own}", "experiment=mine")
    ours = train_values("experiment=planes")
    assert mine == {**ours, "epochs": 77}
    assert train_values("experiment=lab/more") == {**mine, "tail": "carry"}


def test_the_variable_does_what_the_word_does(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_word = train_values(f"configs={own}", "experiment=mine")
    monkeypatch.setenv(VARIABLE, f"{own}{os.pathsep}")
    assert train_values("experiment=mine") == by_word
    assert config_roots() == (CONFIG_ROOT, own)
    assert train_values(f"configs={own}", "experiment=mine") == by_word
    assert own_roots() == (own,), "named twice, searched once"


def test_a_relative_folder_is_the_same_from_everywhere(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    take_configs(["configs=own"])
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    assert own_roots() == (own,)


def test_choices_are_offered_and_suggested(own: Path) -> None:
    text = call("pipeline/train.py", "--help", f"configs={own}").out
    assert "|lab/more|" in text
    assert "mine" in group_options("experiment")
    line = call("pipeline/train.py", "experiment=mone", f"configs={own}").error_line
    assert "; nearest of " in line
    assert ": mine, " in line


def test_a_dataset_of_ones_own_with_its_source(own: Path) -> None:
    def prepared(*words: str) -> dict[str, dict[str, object]]:
        given = take_configs([f"configs={own}", *words, "out=x"])
        return compose("prepare", given, frozenset({"out"}), {"source": "dataset"})

    for words in ((), ("source=images",)):
        values = prepared("dataset=my_pictures", *words)
        assert values["dataset"]["name"] == "image_folder"
        assert values["dataset"]["group"] == "d4"
        assert values["source"]["name"] == "images"
    assert prepared("dataset=my_heads", "source=drawn")["source"]["size"] == 16
    with pytest.raises(ValueError, match="unknown source=nifti; known: drawn"):
        prepared("dataset=my_heads", "source=nifti")


def test_a_sweep_and_its_runs_come_from_ones_own_files(
    own: Path, digits_dir: Path, tmp_path: Path
) -> None:
    (own / "experiment/digits.yaml").write_text(
        "# @package _global_\ndefaults: [rotated_digits]\nepochs: 5\n"
    )
    words = [f"configs={own}", "sweep=two", "experiment=digits", f"data={digits_dir}"]
    done = call("launch/sweep.py", *words, f"sweep_dir={tmp_path}/s", "dry_run=true")
    assert done.code == 0, done.err
    assert "2" in done.out
    assert not (tmp_path / "s").exists()


def test_who_composes_runs_later_is_told_the_folder(
    own: Path, digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the controller of a search, which may start elsewhere and without the variable."""
    words = ("experiment=mine", f"data={digits_dir}")
    with pytest.raises(ValueError, match="unknown experiment=mine"):
        Resolver(words, tmp_path).resolve([{"seed": 0}])
    (run,) = Resolver((f"configs={own}", *words), tmp_path).resolve([{"seed": 0}])
    assert run.config.epochs == 77


def test_a_run_needs_its_configurations_no_longer(
    own: Path, digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written into a run directory holds every key and names no folder."""
    (own / "experiment/digits.yaml").write_text(
        "# @package _global_\ndefaults: [rotated_digits]\nepochs: 1\n"
    )
    run_dir = tmp_path / "run"
    words = ("experiment=digits", f"data={digits_dir}", f"run_dir={run_dir}", "global_batch=32")
    done = call("pipeline/train.py", f"configs={own}", *words, "task.model.width=8")
    assert done.code == 0, done.err
    assert str(own) not in (run_dir / "config.yaml").read_text()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "gone"))
    done = call("pipeline/train.py", f"config={run_dir / 'config.yaml'}", f"run_dir={run_dir}")
    assert done.code == 0, done.err
    assert json.loads((run_dir / "result.json").read_text())["epoch"] == 1
    assert compose("evaluate", [f"run_dir={run_dir}"], frozenset({"run_dir"}))["split"] == "test"


@pytest.mark.parametrize(
    ("files", "words", "said"),
    [
        ({}, ["experiment=planes"], "own, named by configs= or ORBIT_CONFIGS, is not a folder"),
        ({"notes.txt": ""}, [], "holds no configuration: files lie in folders"),
        ({"experiment/planes.yaml": ""}, [], "has the name of"),
        ({"experiment/mine.yml": ""}, [], "mine.yml is ignored: configurations end in .yaml"),
        ({"task/mine.yaml": "", "train.yaml": ""}, [], "has the name of"),
        ({"experiment/base.yaml": "epochs: 010\n"}, [], "base.yaml: line 1: 010 can be read in"),
        ({"experiment/mine.yaml": "defaults: [nope]"}, ["experiment=mine"], "nope"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    files: dict[str, str], words: list[str], said: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / name).write_text(text)
    line = call("pipeline/train.py", f"configs={tmp_path / 'own'}", *words, *TRAIN).error_line
    assert said in line
    if said == "has the name of":
        name = next(name for name in files if (CONFIG_ROOT / name).exists())
        assert str(tmp_path / "own" / name) in line
        assert str(CONFIG_ROOT / name) in line


def test_two_folders_of_ones_own_do_not_share_a_name(own: Path, tmp_path: Path) -> None:
    other = tmp_path / "other/experiment/mine.yaml"
    other.parent.mkdir(parents=True)
    other.write_text("# @package _global_\nepochs: 1\n")
    words = (f"configs={own}", f"configs={tmp_path / 'other'}")
    line = call("pipeline/train.py", *words, *TRAIN).error_line
    assert f"{other} has the name of {own}/experiment/mine.yaml" in line


def test_where_nothing_is_chosen_the_word_has_no_effect(own: Path) -> None:
    for program, words in (("train", ["config=x.yaml"]), ("evaluate", []), ("export", ["run"])):
        line = call(f"pipeline/{program}.py", *words, f"configs={own}").error_line
        assert "has no effect" in line or "there is no such file" in line
    assert "configs=" in call("pipeline/describe.py", "run", f"configs={own}").error_line


NAMES = st.text(st.characters(exclude_characters="/\0:", exclude_categories=["Cs"]), min_size=1)


@settings(max_examples=6)
@given(name=NAMES.filter(lambda name: name not in (".", "..") and "${" not in name))
def test_a_folder_may_have_any_name(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("named") / name[:60]
    (folder / "debug").mkdir(parents=True)
    (folder / "debug/mine.yaml").write_text("# @package _global_\nepochs: 78\n")
    os.environ[VARIABLE] = ""
    assert train_values(f"configs={folder}", "debug=mine")["epochs"] == 78
