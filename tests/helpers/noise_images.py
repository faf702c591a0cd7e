"""Recipes of pairs of noise images; a module of its own so that workers can unpickle them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data_prep.recipes.orbits import Orbits
from data_prep.recipes.splits import assign_splits
from data_prep.scenes.kinds import PlainScene
from data_prep.settings import OrbitDatasetConfig
from orbit.core.store.origin import Named


def orbit_config(**values: Any) -> OrbitDatasetConfig:
    given = {
        "kind": "orbits",
        "name": "noise",
        "group": "c4",
        "val_fraction": 0.2,
        "test_fraction": 0.2,
        "train_pairs": "orbit",
        "val_pairs": "orbit",
        "test_pairs": "orbit",
        "shard_mib": 0.01,
    }
    return OrbitDatasetConfig(**{**given, **values})


class NoiseSource:
    """Images or volumes of noise, of 20 subjects; one of them may be unreadable."""

    is_binary = False
    label_meaning = "number of the image"

    def __init__(self, shape: tuple[int, ...], num: int = 20, broken: int | None = None) -> None:
        self.image_shape, self._broken = shape, broken
        self.num_images: Mapping[str, int] = {"all": num}

    def subjects(self, part: str) -> None:
        return None

    def read(self, part: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._broken in indices:
            raise ValueError("number 7 cannot be read")
        images = [
            np.random.default_rng([5, index]).integers(0, 256, self.image_shape, np.uint8)
            for index in indices
        ]
        return np.stack(images), indices.astype(np.int64)

    def checksums(self) -> dict[str, str]:
        return {}


def noise_recipe(source: NoiseSource, **values: Any) -> Orbits:
    config = orbit_config(**values)
    scene = PlainScene(source, config.group)
    splits = assign_splits(scene.num_images, scene.subjects, config, 0, None)
    return Orbits(config, scene, splits, 0, None, Named("noise"))
