"""Images and their transforms under a finite group: rotated digits, rotated MNIST.

Every image is the source of one record per group element (`orbit`) or of one
record with a drawn element (`one`); with `all_pairs` so is every transform of it.
The image's frame stands first, each transform after it; an identity record points
twice at the same frame.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from data_prep.settings import OrbitDatasetConfig, Pairing
from data_prep.sources.interface import ImageSource
from data_prep.store.manifest import SPLITS, ColumnSpec, FrameSpec
from data_prep.store.recipe import ShardPlan
from data_prep.store.shard import Block, ShardLayout
from pipeline.groups import make_group

BLOCK_IMAGES = 1024
SPLIT_STREAM, ELEMENT_STREAM = 0, 1


class OrbitImages:
    """Recipe for image pairs under a finite lattice group.

    An item is a position in the shuffled list of the split's images. Draws are
    keyed by (seed, stream, split).
    """

    columns: dict[str, ColumnSpec] = {}
    target_is_action_on_source = True

    def __init__(
        self,
        config: OrbitDatasetConfig,
        source: ImageSource,
        source_name: str,
        seed: int,
        num_samples: int | None,
    ) -> None:
        group = make_group(config.group)
        group.check_spatial_shape(source.image_shape[1:])
        if group.num_elements is None:
            raise ValueError(f"dataset.group={config.group} is not finite: it has no stored orbit")
        self.name, self.group, self.seed = config.name, config.group, seed
        self.action_components = group.action_components
        self.frames = FrameSpec(source.image_shape, "uint8", (0.0, 255.0), (-1.0, 1.0))
        self.label_meaning = source.label_meaning
        self._config, self._source, self._source_name = config, source, source_name
        self._num_samples = num_samples
        self._num_elements = group.num_elements
        self._images = _split_images(source, config, seed, num_samples)

    def generator(self) -> dict[str, Any]:
        config = self._config
        return {
            "source": self._source_name,
            "num_samples": self._num_samples,
            "val_fraction": config.val_fraction,
            "test_fraction": config.test_fraction,
            "shard_mib": config.shard_mib,
            "pairs": {split: self._pairing(split) for split in SPLITS},
        }

    def source_checksums(self) -> dict[str, str]:
        return self._source.checksums()

    def plans(self) -> tuple[ShardPlan, ...]:
        plans = []
        bytes_per_frame = int(np.prod(self.frames.shape))
        for split in SPLITS:
            num_images = len(self._images[split][1])
            has_orbits = self._pairing(split) != "one"
            per_image = self._num_elements if has_orbits else 2
            shard_images = int(self._config.shard_mib * 2**20 / (per_image * bytes_per_frame))
            num_shards = -(-num_images // max(1, shard_images))
            edges = [round(index * num_images / num_shards) for index in range(num_shards + 1)]
            for index, (first, last) in enumerate(itertools.pairwise(edges)):
                elements = self._elements(split, first, last)
                layout = ShardLayout(
                    frames=self.frames,
                    num_action_components=len(self.action_components),
                    columns=self.columns,
                    num_frames=len(elements) + int((elements != 0).sum()),
                    num_records=elements.size * self._sources_per_image(split),
                )
                per_source = self._num_elements if has_orbits else None
                plans.append(ShardPlan(split, index, first, last, layout, per_source))
        return tuple(plans)

    def blocks(self, plan: ShardPlan) -> Iterator[Block]:
        num_frames_so_far = 0
        for first in range(plan.first, plan.last, BLOCK_IMAGES):
            last = min(first + BLOCK_IMAGES, plan.last)
            part, positions = self._images[plan.split]
            images, labels = self._source.read(part, positions[first:last])
            block = self._pair(images, labels, self._elements(plan.split, first, last))
            if self._pairing(plan.split) == "all_pairs":
                block = self._with_all_sources(block)
            yield Block(
                block.frames,
                block.source + num_frames_so_far,
                block.target + num_frames_so_far,
                block.action,
                block.label,
                {},
            )
            num_frames_so_far += len(block.frames)

    def _pair(self, images: np.ndarray, labels: np.ndarray, elements: np.ndarray) -> Block:
        """Frames and records for images (n, C, H, W) and elements (n, k), rows from 0."""
        group = make_group(self.group)
        num_per_image = elements.shape[1]
        is_new = np.concatenate([np.ones((len(images), 1), bool), elements != 0], axis=1)
        frame_rows = np.cumsum(is_new).reshape(is_new.shape) - 1
        source = np.repeat(frame_rows[:, :1], num_per_image, axis=1)
        target = np.where(elements == 0, source, frame_rows[:, 1:])
        flat = torch.from_numpy(elements.reshape(-1))
        chosen = group.elements()[flat]
        repeated = torch.from_numpy(images).repeat_interleave(num_per_image, dim=0)
        moved = (
            group.act_on_image(repeated, chosen).numpy().reshape(*elements.shape, *images.shape[1:])
        )
        stacked = np.concatenate([images[:, None], moved], axis=1)
        return Block(
            stacked[is_new],
            source.reshape(-1),
            target.reshape(-1),
            group.encode(chosen).numpy(),
            np.repeat(labels, num_per_image),
            {},
        )

    def _with_all_sources(self, block: Block) -> Block:
        """Records from every member of an orbit, given those from its first member."""
        group, num = make_group(self.group), self._num_elements
        members = block.target.reshape(-1, num)
        every, each = torch.arange(num).repeat(num), torch.arange(num).repeat_interleave(num)
        elements = group.elements()
        reached = group.element_index(group.compose(elements[every], elements[each])).numpy()
        return Block(
            block.frames,
            members[:, each.numpy()].reshape(-1),
            members[:, reached].reshape(-1),
            group.encode(elements[every]).repeat(len(members), 1).numpy(),
            np.repeat(block.label, num),
            {},
        )

    def _sources_per_image(self, split: str) -> int:
        return self._num_elements if self._pairing(split) == "all_pairs" else 1

    def _pairing(self, split: str) -> Pairing:
        pairing: Pairing = getattr(self._config, f"{split}_pairs")
        return pairing

    def _elements(self, split: str, first: int, last: int) -> np.ndarray:
        """Element indices (images, records per image) of items `first` to `last`; 0 is identity."""
        if self._pairing(split) != "one":
            return np.tile(np.arange(self._num_elements), (last - first, 1))
        key = [self.seed, ELEMENT_STREAM, SPLITS.index(split)]
        num_images = len(self._images[split][1])
        drawn = np.random.default_rng(key).integers(0, self._num_elements, (num_images, 1))
        return drawn[first:last]


def _split_images(
    source: ImageSource, config: OrbitDatasetConfig, seed: int, num_samples: int | None
) -> dict[str, tuple[str, np.ndarray]]:
    """Split name to (part of the source, positions in it); ValueError if one would be empty."""
    has_test = "test" in source.num_images
    if has_test != (config.test_fraction is None):
        raise ValueError(
            "dataset.test_fraction must be null for a source with a test part"
            if has_test
            else "dataset.test_fraction must be set for a source without a test part"
        )
    part = "train" if has_test else next(iter(source.num_images))
    num_images = source.num_images[part]
    order = np.random.default_rng([seed, SPLIT_STREAM]).permutation(num_images)
    num_val = round(num_images * config.val_fraction)
    num_test = round(num_images * (config.test_fraction or 0.0))
    splits = {
        "train": (part, order[num_val + num_test :]),
        "val": (part, order[:num_val]),
        "test": ("test", np.arange(source.num_images["test"]))
        if has_test
        else (part, order[num_val : num_val + num_test]),
    }
    for split, (name, positions) in splits.items():
        if not len(positions):
            raise ValueError(
                f"the {split} split would be empty: part {name!r} of the source holds"
                f" {source.num_images[name]} images"
            )
    if num_samples is None:
        return splits
    total = sum(len(positions) for _, positions in splits.values())
    if num_samples > total:
        raise ValueError(f"num_samples={num_samples}, but the source has {total} images")
    return {
        split: (name, positions[: max(1, round(len(positions) * num_samples / total))])
        for split, (name, positions) in splits.items()
    }
