"""Preparing small datasets inside the test process."""

from pathlib import Path

import numpy as np

from data_prep.building.builder import build_dataset
from data_prep.building.recipe import Recipe
from data_prep.recipes import make_recipe
from data_prep.settings import PrepareConfig
from orbit.core.config.compose import compose
from orbit.core.config.schema import build, path_keys
from orbit.core.store.reader import PairStore, Records


def prepare_config(*words: str) -> PrepareConfig:
    """The configuration that these words of `prepare.py` compose."""
    return build(
        PrepareConfig, compose("prepare", words, path_keys(PrepareConfig), {"source": "dataset"})
    )


def recipe_of(*words: str) -> Recipe:
    """The recipe that these words name."""
    return make_recipe(prepare_config(*words))


def prepare(out: Path, *words: str, num_workers: int = 1) -> PairStore:
    """Prepare a dataset by words of `prepare.py`."""
    config = prepare_config(f"out={out}", *words)
    build_dataset(make_recipe(config), out, num_workers)
    return PairStore(out)


def all_records(store: PairStore, split: str) -> Records:
    """Every record of a split."""
    reader = store.split(split)
    return reader.read(np.arange(reader.num_records))


def column(store: PairStore, split: str, name: str) -> np.ndarray:
    """A named column of every record of a split."""
    reader = store.split(split)
    return reader.read_column(name, np.arange(reader.num_records))
