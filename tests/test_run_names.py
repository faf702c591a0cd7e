"""Protects that two configurations never share a run directory, whatever their hashes are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from launch.sweeps import expansion as naming
from launch.sweeps import expansion as resolving
from launch.sweeps.expansion import PlannedRun, Resolver
from pipeline.training.run_directory import RunDirectory

WORDS = ("experiment=rotated_digits", "task.model.width=4")


@pytest.fixture(autouse=True)
def colliding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes of which the first digits are all the same."""
    whole = naming.content_hash

    def content_hash(config: Any, dataset: str) -> str:
        digest = whole(config, dataset)
        return f"{'0' * naming.HASH_LENGTH}{digest[naming.HASH_LENGTH :]}"

    monkeypatch.setattr(resolving, "content_hash", content_hash)


def resolve(data: Path, runs: Path, *points: Mapping[str, Any]) -> list[PlannedRun]:
    return Resolver([*WORDS, f"data={data}"], runs).resolve(points)


def test_points_of_one_hash_are_runs_of_their_own(digits_dir: Path, tmp_path: Path) -> None:
    runs = resolve(digits_dir, tmp_path, {"epochs": 2}, {"epochs": 3}, {"epochs": 2})
    assert [run.config.epochs for run in runs] == [2, 3]
    short, long = (run.name.rpartition("-")[2] for run in runs)
    assert (len(short), len(long)) == (naming.HASH_LENGTH, naming.LONG_HASH_LENGTH)


@pytest.mark.parametrize("order", [(2, 3), (3, 2)])
def test_run_directories_are_found_again_in_any_order(
    order: tuple[int, int], digits_dir: Path, tmp_path: Path
) -> None:
    """Also where the sweep has come to vary other keys, so that names do not say it."""
    first = resolve(digits_dir, tmp_path, {"epochs": 2}, {"epochs": 3})
    for run in first:
        (tmp_path / run.name).mkdir()
        RunDirectory(tmp_path / run.name).write_config(run.config)
    names = {run.config.epochs: run.name for run in first}
    points = [{"epochs": epochs, "global_batch": 64} for epochs in order]
    again = resolve(digits_dir, tmp_path, *points)
    assert {run.config.epochs: run.name for run in again} == names


def test_a_new_point_does_not_take_the_directory_of_a_run_that_is_no_point_any_more(
    digits_dir: Path, tmp_path: Path
) -> None:
    (old,) = resolve(digits_dir, tmp_path, {"epochs": 2})
    (tmp_path / old.name).mkdir()
    RunDirectory(tmp_path / old.name).write_config(old.config)
    (new,) = resolve(digits_dir, tmp_path, {"epochs": 3})
    assert new.name != old.name
