"""Protects the sweeps of the second paper's tables: every row, every seed, none twice.

A row that is missing, or trained on the wrong dataset, would be found after weeks on a cluster.
"""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import orbit.core.store.manifest
from launch.sweeps.expansion import PlannedRun, Resolver, expand, with_seeds
from launch.sweeps.request import SweepRequest
from launch.sweeps.settings import OptunaSearch
from orbit.core.config.compose import compose
from orbit.core.config.schema import build
from pipeline.methods.world_model.settings import WorldModelConfig
from pipeline.world_models.settings import GridModelConfig, ReacherModelConfig

Runs = Callable[[str], list[PlannedRun]]


@pytest.fixture
def runs_of(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """The runs of a sweep by its name, on datasets that need not be there."""

    def manifest_of(path: Path) -> SimpleNamespace:
        return SimpleNamespace(fingerprint=path.name)

    monkeypatch.setattr(orbit.core.store.manifest, "read_manifest", manifest_of)

    def runs(name: str) -> list[PlannedRun]:
        words = [f"sweep={name}", "sweep_dir=x"]
        request = build(SweepRequest, compose("sweep", words, frozenset({"sweep_dir"})))
        search = request.sweep.search
        assert not isinstance(search, OptunaSearch)
        points = with_seeds(expand(search), request.sweep.seeds)
        runs = Resolver(["data=data/given"], Path("/s/runs")).resolve(points)
        assert len(runs) == len(points), "two points are the same run"
        return runs

    return runs


@pytest.mark.parametrize(("name", "num"), [("toy", 2), ("teapot", 3)])
def test_tables_of_one_dataset_have_every_row_with_every_seed(
    runs_of: Runs, name: str, num: int
) -> None:
    runs = runs_of(f"paper2_{name}")
    assert len(runs) == 3 * num
    assert {Path(run.config.data).name for run in runs} == {"given"}


@pytest.mark.parametrize(
    ("name", "datasets"),
    [
        ("unseen_actions", ["shapes_2d_up", "blocks_3d_no_left", "reacher_positive"]),
        ("full_actions", ["blocks_3d", "rush_hour", "reacher"]),
    ],
)
def test_tables_of_several_datasets_train_each_model_on_its_own(
    runs_of: Runs, name: str, datasets: list[str]
) -> None:
    kinds = set()
    for run in runs_of(f"paper2_{name}"):
        task, data = run.config.task, Path(run.config.data).name
        assert isinstance(task, WorldModelConfig)
        model = task.model
        assert data.startswith(str(run.values["experiment"]))
        assert isinstance(model, GridModelConfig | ReacherModelConfig)
        assert model.name == ("reacher" if data.startswith("reacher") else "grid")
        assert (model.hidden == 512) == (model.kind == "none"), "sizes go with the kind"
        kinds.add((data, model.kind, model.latent_size, run.config.seed))
        assert run.config.epochs == 100
    assert len(kinds) == 3 * len(datasets) * 4
    assert {kind[0] for kind in kinds} == set(datasets)


def test_shares_of_the_data_are_seen_for_the_same_number_of_steps(runs_of: Runs) -> None:
    runs = runs_of("paper2_sample_efficiency")
    assert len(runs) == 3 * 3 * 3
    assert {run.config.num_train_items for run in runs} == {1_000, 10_000, 100_000}
    for run in runs:
        assert run.config.num_train_items is not None
        assert run.config.num_train_items * run.config.epochs == 10_000_000


def test_every_domain_of_the_papers_tables_has_a_sweep(runs_of: Runs) -> None:
    worlds = {
        str(run.values["experiment"]).rpartition("/")[2]
        for name in ("teapot", "unseen_actions", "full_actions")
        for run in runs_of(f"paper2_{name}")
    }
    assert worlds == {"teapot", "shapes_2d", "blocks_3d", "rush_hour", "reacher"}
