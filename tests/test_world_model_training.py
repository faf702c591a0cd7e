"""World models train, stop and go on, on one rank and on two."""

from pathlib import Path

import pytest
from helpers.noise_worlds import WORLDS, NoiseWorld
from helpers.training import never_stop, reproducible_lines
from helpers.world_training import make_config

from data_prep.store.builder import build_dataset
from pipeline.training.run import train


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("noise")
    for world in WORLDS:
        build_dataset(NoiseWorld(world), folder / world)
    return {world: folder / world for world in WORLDS}


@pytest.mark.parametrize("world", WORLDS)
def test_it_trains(datasets, tmp_path, world) -> None:
    kind = [] if world == "teapot" else ["task.model.kind=none"]
    config = make_config(world, datasets[world], tmp_path / "run", *kind)
    result = train(config, never_stop())
    for l in reproducible_lines(tmp_path / "run")[::5]:
        print(l)
    assert 0
