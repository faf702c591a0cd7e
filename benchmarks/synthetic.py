"""Datasets of noise in the shape of the real ones, so that anybody can run the benchmarks."""

from pathlib import Path

import numpy as np

from data_prep.building.builder import build_dataset
from data_prep.recipes.orbits import Orbits
from data_prep.recipes.splits import assign_splits
from data_prep.scenes.kinds import PlainScene
from data_prep.settings import OrbitDatasetConfig, TrainPairing
from orbit.core.store.origin import Named

SHARD_MIB = 64.0


class NoiseSource:
    """Frames (C, H, W) or (C, D, H, W) with random strokes of grey in the middle; see
    `ImageSource`."""

    label_meaning = "none"
    is_binary = False

    def __init__(self, image_shape: tuple[int, ...], num_train: int, num_test: int) -> None:
        self.image_shape: tuple[int, ...] = image_shape
        self._shape = image_shape
        self.num_images = {"train": num_train, "test": num_test}

    def subjects(self, part: str) -> None:
        return None

    def checksums(self) -> dict[str, str]:
        return {}

    def read(self, part: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        num, (channels, *sides) = len(indices), self._shape
        rng = np.random.default_rng([len(part), int(indices[0]), num])
        images = np.zeros((num, *self._shape), np.uint8)
        inner = [side - 2 * (side // 7) for side in sides]
        coarse = (num, channels, *(side // 4 + 1 for side in inner))
        smooth = rng.random(coarse, np.float32)
        for axis, side in enumerate(inner, 2):
            smooth = smooth.repeat(4, axis=axis).take(range(side), axis=axis)
        places = tuple(slice(side // 7, side - side // 7) for side in sides)
        images[(..., *places)] = np.where(smooth > 0.7, smooth * 255, 0)
        return images, np.zeros(num, np.int64)


def make_dataset(
    out: Path,
    image_shape: tuple[int, ...],
    num_train: int,
    num_held_out: int,
    group: str = "c4",
    train_pairs: TrainPairing = "orbit",
    num_drawn: int = 1,
) -> Path:
    """Write a dataset of `num_train` training images, with all four turns of each by default.

    Validation and test have about `num_held_out` images each, of drawn elements.
    """
    total = num_train + num_held_out
    config = OrbitDatasetConfig(
        kind="orbits",
        name="noise",
        group=group,
        val_fraction=num_held_out / total,
        test_fraction=None,
        train_pairs=train_pairs,
        val_pairs="drawn",
        test_pairs="drawn",
        shard_mib=SHARD_MIB,
        num_drawn=num_drawn,
    )
    scene = PlainScene(NoiseSource(image_shape, total, num_held_out), config.group)
    splits = assign_splits(scene.num_images, scene.subjects, config, 0, None)
    build_dataset(Orbits(config, scene, splits, 0, None, Named("noise")), out)
    return out
