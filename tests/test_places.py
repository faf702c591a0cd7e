"""Protects that a run finds what it was made from: from every folder, and after it was moved."""

import shutil
from pathlib import Path

import pytest
from helpers.programs import run
from helpers.training import PATH_KEYS, make_config, never_stop

from orbit.core.config.compose import compose, read_composed, with_found_paths
from orbit.core.config.schema import build, with_paths
from pipeline.methods.decoder.settings import DecoderConfig
from pipeline.training.run import open_dataset, train
from pipeline.training.run_directory import RunDirectory, differing_keys
from pipeline.training.settings import TrainConfig

pytestmark = pytest.mark.usefixtures("starts_are_warm")

WORDS = ("epochs=1", "task.model.width=4", "global_batch=32", "num_train_items=32")


@pytest.fixture
def place(digits_dir: Path, tmp_path: Path) -> Path:
    """A folder with a dataset, and a short run on it that was started with relative paths."""
    folder = tmp_path / "place"
    shutil.copytree(digits_dir, folder / "data" / "mine")
    words = ("experiment=rotated_digits", "data=data/mine", "run_dir=runs/mine", *WORDS)
    done = run("pipeline/train.py", *words, cwd=folder)
    assert done.code == 0, done.err
    return folder


def test_a_run_is_used_from_another_folder_and_moved_with_its_data(
    place: Path, tmp_path: Path
) -> None:
    config = RunDirectory(place / "runs/mine").read_config()
    assert (config.data, config.run_dir) == (f"{place}/data/mine", f"{place}/runs/mine")
    (tmp_path / "elsewhere").mkdir()
    again = ("experiment=rotated_digits", f"data={place}/data/mine", f"run_dir={place}/runs/mine")
    for program, words in (
        ("pipeline/train.py", (*again, *WORDS)),
        ("pipeline/describe.py", (f"{place}/runs/mine",)),
    ):
        done = run(program, *words, cwd=tmp_path / "elsewhere")
        assert done.code == 0, done.err
    moved = tmp_path / "moved"
    place.rename(moved)
    words = (f"run_dir={moved}/runs/mine", "pictures=false", "analyses=false")
    done = run("pipeline/evaluate.py", *words, cwd=tmp_path / "elsewhere")
    assert done.code == 0, done.err
    file = moved / "runs/mine/config.yaml"
    assert read_composed(file, [], PATH_KEYS)["data"] == f"{moved}/data/mine"


@pytest.mark.parametrize("key", ["data", "init_from", "task.run"])
@pytest.mark.parametrize("is_relative", [False, True])
def test_each_path_of_a_configuration_is_found_beside_a_moved_run(
    key: str, is_relative: bool, tmp_path: Path
) -> None:
    """Also in the files of older runs, which hold paths as they were written."""
    place = "" if is_relative else f"{Path.cwd()}/"
    data = f"{place}d"
    values = {"run_dir": f"{place}runs/a", "data": data, "init_from": data, "task": {"run": data}}
    (tmp_path / "d").mkdir()
    found = with_found_paths(values, tmp_path / "runs" / "a", PATH_KEYS)
    taken = found["task"]["run"] if key == "task.run" else found[key]
    assert taken == str(tmp_path / "d")
    assert found["run_dir"] == values["run_dir"]
    nowhere = with_found_paths(values, tmp_path / "other" / "runs" / "a", PATH_KEYS)
    assert nowhere == values


def test_a_relative_path_still_leads_from_the_folder_it_was_written_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run directory that was moved alone, away from a dataset beside the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    values = {"run_dir": "runs/a", "data": "d"}
    assert with_found_paths(values, tmp_path / "far" / "away" / "a", PATH_KEYS)["data"] == "d"


def test_each_path_of_a_configuration_is_changed_and_nothing_else() -> None:
    words = ("experiment=decoder/maps", "data=d", "run_dir=r", "task.run=a/run", "init_from=b")
    before = build(TrainConfig, compose("train", words, PATH_KEYS))
    after = with_paths(before, lambda path: f"/{path}")
    assert (after.data, after.run_dir, after.init_from) == ("/d", "/r", "/b")
    assert isinstance(after.task, DecoderConfig)
    assert after.task.run == "/a/run"
    assert with_paths(after, lambda path: path[1:]) == before


def test_another_spelling_of_a_place_is_no_other_configuration(
    digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linked").symlink_to(tmp_path / "first")
    spellings = ("first", str(tmp_path / "first"), "./first/", "linked")
    configs = [make_config(digits_dir, Path("b"), f"init_from={text}") for text in spellings]
    assert all(differing_keys(configs[0], config) == [] for config in configs)
    other = make_config(digits_dir, Path("b"), "init_from=second")
    assert len(differing_keys(configs[0], other)) == 1


def test_a_copy_of_another_dataset_is_refused(
    digits_dir: Path, volume_dir: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(digits_dir, copy)
    assert open_dataset(digits_dir, copy).root == copy
    config = make_config(digits_dir, tmp_path / "run")
    with pytest.raises(ValueError, match="is of another dataset") as error:
        train(config, never_stop(), volume_dir)
    assert f"data={digits_dir}" in str(error.value)
    assert f"data_copy={volume_dir}" in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_copy_stands_in_for_a_dataset_that_is_out_of_reach(
    digits_dir: Path, tmp_path: Path
) -> None:
    assert open_dataset(tmp_path / "unmounted", digits_dir).root == digits_dir
