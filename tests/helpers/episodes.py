"""Small datasets of episodes of each grid world."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from helpers.preparing import prepare
from orbit.core.store.manifest import Manifest
from orbit.core.store.origin import Episodes
from orbit.core.store.reader import PairStore

WORLDS = {"shapes_2d": "up", "blocks_3d": "up,right,down", "rush_hour": "forward"}
NUM_EPISODES, LENGTH = 7, 9
SMALL = (
    f"num_episodes={NUM_EPISODES}",
    f"episode_length={LENGTH}",
    "seed=5",
    "dataset.num_val_episodes=2",
    "dataset.num_test_episodes=5",
    "dataset.test_episode_length=4",
    "dataset.shard_mib=0.35",
)


def store_maker(folder: Path) -> Callable[[str], PairStore]:
    """What makes a world's small dataset, limited to some actions, at the first call."""
    made: dict[str, PairStore] = {}

    def store(name: str) -> PairStore:
        if name not in made:
            out = folder / name
            words = (f"dataset={name}", f"dataset.actions=[{WORLDS[name]}]", *SMALL)
            made[name] = prepare(out, *words)
        return made[name]

    return store


def sizes(manifest: Manifest, split: str) -> tuple[int, int, int]:
    """Episodes, elements and steps of a split."""
    origin = manifest.origin
    assert isinstance(origin, Episodes)
    return origin.num_episodes[split], origin.num_elements[split], origin.episode_length[split]


def in_order(store: PairStore, split: str, values: np.ndarray) -> np.ndarray:
    """Rows of a split by episode, element and time."""
    num, elements, length = sizes(store.manifest, split)
    return values.reshape(num, elements, length, *values.shape[1:])
