"""From the views of a scene to pairs: which elements are drawn for each source, and the records.

Every image is the source of one record per group element (`orbit`) or of some drawn elements
(`drawn`); with `all_pairs` so is every transform of it. With `sources` there is only the record of
the identity. The image's frame comes first, then its transforms; an identity record points twice at
the same frame.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from data_prep.building.recipe import ShardPlan
from data_prep.recipes.splits import Images
from data_prep.scenes import Scene, Views
from data_prep.settings import OrbitDatasetConfig
from data_prep.settings.datasets import BlockedSceneConfig
from orbit.core.groups import Group, make_group
from orbit.core.store import origin
from orbit.core.store.manifest import SPLITS, ColumnSpec
from orbit.core.store.origin import TrainPairing
from orbit.core.store.shard import Block, ShardLayout


def pair_views(group: Group, views: Views, g: torch.Tensor) -> Block:
    """Records from each image to its k moved frames, for elements `g` (n, k, ...).

    Frames that an identity would repeat are left out; rows start at 0.
    """
    num_per_image = g.shape[1]
    flat = g.flatten(0, 1)
    is_moved = (group.bin_index(flat) != 0).view(g.shape[:2]).numpy()
    is_new = np.concatenate([np.ones((len(g), 1), bool), is_moved], axis=1)
    rows = np.cumsum(is_new).reshape(is_new.shape) - 1
    source = np.repeat(rows[:, :1], num_per_image, axis=1)
    target = np.where(is_moved, rows[:, 1:], source)
    # The views that are a record's source and target: 0 is the image itself.
    seen = np.where(is_moved, np.arange(1, num_per_image + 1), 0)
    columns: dict[str, Any] = {
        name: np.repeat(values, num_per_image, axis=0)
        for name, values in views.image_columns.items()
    }
    images = np.arange(len(g))[:, None]
    for name, values in views.view_columns.items():
        columns[f"source_{name}"] = np.repeat(values[:, 0], num_per_image, axis=0)
        columns[f"target_{name}"] = values[images, seen].reshape(-1, *values.shape[2:])
    return Block(
        views.frames[is_new],
        source.reshape(-1),
        target.reshape(-1),
        group.encode(flat).numpy(),
        np.repeat(views.label, num_per_image),
        columns,
        views.constant,
        _weights(is_new) if views.is_permuted else None,
    )


def _weights(is_new: np.ndarray) -> np.ndarray:
    """The first frame of each image counts for all of its frames, (F,) int64."""
    weights = np.zeros(is_new.shape, np.int64)
    weights[:, 0] = is_new.sum(1)
    return np.asarray(weights[is_new])


def with_all_sources(group: Group, block: Block, kept: torch.Tensor) -> Block:
    """Records from every member of an orbit, given all those from its first member.

    Each member is the source of the elements at the positions `kept`.
    """
    elements = group.elements()
    num, num_kept = len(elements), len(kept)
    every, each = kept.repeat(num), torch.arange(num).repeat_interleave(num_kept)
    reached = group.element_index(group.compose(elements[every], elements[each])).numpy()
    from_member, to_member = each.numpy(), reached
    members = block.target.reshape(-1, num)
    columns: dict[str, Any] = {}
    for name, values in block.columns.items():
        by_member = values.reshape(-1, num, *values.shape[1:])
        if name.startswith("source_"):
            shown = block.columns[f"target_{name.removeprefix('source_')}"]
            by_member = shown.reshape(by_member.shape)[:, from_member]
        elif name.startswith("target_"):
            by_member = by_member[:, to_member]
        else:
            by_member = np.repeat(by_member, num_kept, axis=1)
        columns[name] = by_member.reshape(-1, *values.shape[1:])
    return Block(
        block.frames,
        members[:, from_member].reshape(-1),
        members[:, to_member].reshape(-1),
        group.encode(elements[every]).repeat(len(members), 1).numpy(),
        np.repeat(block.label, num_kept),
        columns,
        block.constant,
        block.weights,
    )


BLOCK_BYTES = 2**22
ELEMENT_STREAM = 1
MAX_ALL_PAIRS = 64
"""The largest group for which every member of an orbit can be the source of all elements."""


class Orbits:
    """Recipe for pairs of a scene's images; see `data_prep.building.recipe.Recipe`.

    An item is a position in the list of the split's images. Draws are keyed by (seed, stream,
    split). Raises ValueError for kinds of pairs that the group does not allow.
    """

    def __init__(
        self,
        config: OrbitDatasetConfig,
        scene: Scene,
        splits: Mapping[str, Images],
        seed: int,
        num_samples: int | None,
        source: origin.Named,
    ) -> None:
        group = make_group(config.group)
        self.name, self.group, self.seed = config.name, config.group, seed
        self.action_components = group.action_components
        self.frames, self.label_meaning = scene.frames, scene.label_meaning
        self.target_is_action_on_source = scene.target_is_action_on_source
        self.columns: dict[str, ColumnSpec] = dict(scene.image_columns)
        for name, spec in scene.view_columns.items():
            for end in ("source", "target"):
                meaning = f"of the {end}: {spec.meaning}"
                self.columns[f"{end}_{name}"] = ColumnSpec(spec.dtype, spec.shape, meaning)
        self._config, self._scene, self._splits = config, scene, splits
        self._num_samples = num_samples
        self._source = source
        in_bins(config.group, group.identity(1), config.train_bins)
        if group.num_elements is None and set(config.train_bins or ("",)) == {group.bin_names[0]}:
            raise ValueError(f"dataset.train_bins leaves no element to draw from {config.group}")
        for split in SPLITS:
            _check_pairing(group, self._pairing(split), split)

    def origin(self) -> origin.Orbits:
        config, scene = self._config, self._config.scene
        return origin.Orbits(
            kind="orbits",
            source=self._source,
            pairs={split: self._pairing(split) for split in SPLITS},
            shard_mib=config.shard_mib,
            scene=scene.name,
            block_side=scene.side if isinstance(scene, BlockedSceneConfig) else None,
            num_drawn=config.num_drawn,
            train_bins=config.train_bins,
            num_samples=self._num_samples,
            val_fraction=config.val_fraction,
            test_fraction=config.test_fraction,
        )

    def source_checksums(self) -> dict[str, str]:
        return self._scene.checksums()

    def plans(self) -> tuple[ShardPlan, ...]:
        plans = []
        for split in SPLITS:
            num_images = len(self._splits[split][1])
            num_moved = self._moved_frames(split, 0, num_images)
            shard_images = int(self._config.shard_mib * 2**20 / self._bytes_per_image(split))
            num_shards = -(-num_images // max(1, shard_images))
            edges = [round(index * num_images / num_shards) for index in range(num_shards + 1)]
            for index, (first, last) in enumerate(itertools.pairwise(edges)):
                layout = ShardLayout(
                    frames=self.frames,
                    num_action_components=len(self.action_components),
                    columns=self.columns,
                    num_frames=last - first + int(num_moved[first:last].sum()),
                    num_records=(last - first) * self._records_per_image(split),
                )
                per_source = len(self._kept(split))
                # With a single record per source, on-line pairing has nothing to draw from.
                grouped = per_source if per_source > 1 else None
                plans.append(ShardPlan(split, index, first, last, layout, grouped))
        return tuple(plans)

    def blocks(self, plan: ShardPlan) -> Iterator[Block]:
        group = make_group(self.group)
        num_frames_so_far = 0
        block_images = max(1, int(BLOCK_BYTES / self._bytes_per_image(plan.split)))
        for first in range(plan.first, plan.last, block_images):
            last = min(first + block_images, plan.last)
            part, positions = self._splits[plan.split]
            g = self._elements(plan.split, first, last)
            views = self._scene.views(part, positions[first:last], g)
            block = pair_views(group, views, g)
            if self._pairing(plan.split) == "all_pairs":
                block = with_all_sources(group, block, self._kept(plan.split))
            yield block.moved_by(num_frames_so_far)
            num_frames_so_far += len(block.frames)

    def _pairing(self, split: str) -> TrainPairing:
        pairing: TrainPairing = getattr(self._config, f"{split}_pairs")
        return pairing

    def _kept(self, split: str) -> torch.Tensor:
        """Positions of the elements of an orbit that become records; for drawn elements, all."""
        if self._pairing(split) == "drawn":
            return torch.arange(self._config.num_drawn)
        if self._pairing(split) == "sources":
            return torch.zeros(1, dtype=torch.int64)
        elements = make_group(self.group).elements()
        return in_bins(self.group, elements, self._bins(split)).nonzero().flatten()

    def _bins(self, split: str) -> tuple[str, ...] | None:
        return self._config.train_bins if split == "train" else None

    def _num_views(self, split: str) -> int:
        """The number of moved frames of each image of a split, including the identity's."""
        if self._pairing(split) == "all_pairs":
            return len(make_group(self.group).elements())
        return len(self._kept(split))

    def _records_per_image(self, split: str) -> int:
        num = len(self._kept(split))
        return num * self._num_views(split) if self._pairing(split) == "all_pairs" else num

    def _bytes_per_image(self, split: str) -> int:
        """Bytes of an image's frames, and of its records' columns if there are any."""
        # An orbit includes the image itself; drawn elements come in addition to it.
        is_beside = self._pairing(split) == "drawn" or self._bins(split) is not None
        num_frames = self._num_views(split) + is_beside
        columns = sum(
            math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in self.columns.values()
        )
        frames = num_frames * math.prod(self.frames.shape)
        return int(frames + self._records_per_image(split) * columns)

    def _elements(self, split: str, first: int, last: int) -> torch.Tensor:
        """The elements that act on items `first` to `last`, (items, elements an image, ...)."""
        if self._pairing(split) == "drawn":
            num_images = len(self._splits[split][1])
            key = (self.seed, ELEMENT_STREAM, SPLITS.index(split))
            num_drawn, bins = self._config.num_drawn, self._bins(split)
            return _drawn(self.group, key, num_images, num_drawn, bins)[first:last]
        if self._pairing(split) == "sources":
            return make_group(self.group).identity(last - first).unsqueeze(1)
        elements = make_group(self.group).elements()
        if self._pairing(split) == "orbit":
            elements = elements[self._kept(split)]
        return elements.expand(last - first, *elements.shape)

    def _moved_frames(self, split: str, first: int, last: int) -> np.ndarray:
        """How many elements of each item are not the identity, (items,)."""
        if self._pairing(split) != "drawn" and self._bins(split) is None:
            return np.full(last - first, self._num_views(split) - 1)
        elements = self._elements(split, first, last)
        bins = make_group(self.group).bin_index(elements.flatten(0, 1))
        return np.asarray((bins != 0).view(elements.shape[:2]).sum(1).numpy())


@lru_cache(maxsize=8)
def _drawn(
    group: str, key: tuple[int, ...], num_images: int, num_drawn: int, bins: tuple[str, ...] | None
) -> torch.Tensor:
    """Uniform elements (images, drawn, ...); those outside the bins are drawn again."""
    rng, num = np.random.default_rng(key), num_images * num_drawn
    drawn = make_group(group).sample(rng, num)
    drawn = drawn[in_bins(group, drawn, bins)]
    while len(drawn) < num:
        more = make_group(group).sample(rng, num)
        drawn = torch.cat([drawn, more[in_bins(group, more, bins)]])
    return drawn[:num].view(num_images, num_drawn, *drawn.shape[1:])


def in_bins(group: str, g: torch.Tensor, bins: tuple[str, ...] | None) -> torch.Tensor:
    """Whether each element lies in one of the named bins of its group, (N,) bool; ValueError for an
    unknown name."""
    names = make_group(group).bin_names
    unknown = set(bins or ()) - set(names)
    if unknown or bins == ():
        raise ValueError(
            f"dataset.train_bins={list(bins or ())} is not allowed;"
            f" group {group} has {', '.join(names)}"
        )
    if bins is None:
        return torch.ones(len(g), dtype=torch.bool)
    wanted = torch.tensor([names.index(name) for name in bins])
    return torch.isin(make_group(group).bin_index(g), wanted)


def _check_pairing(group: Group, pairing: TrainPairing, split: str) -> None:
    num_elements = group.num_elements
    if pairing == "all_pairs" and (num_elements or 0) > MAX_ALL_PAIRS:
        raise ValueError(
            f"dataset.{split}_pairs=all_pairs would make {num_elements} x {num_elements} records"
            f" of every image under {group.name}: choose orbit or drawn"
        )
    if num_elements is None and pairing not in ("drawn", "sources"):
        raise ValueError(
            f"dataset.{split}_pairs={pairing} needs a finite group, not {group.name}: say"
            " dataset.train_pairs=drawn dataset.val_pairs=drawn dataset.test_pairs=drawn"
            " dataset.num_drawn=8"
        )
    if pairing == "all_pairs" and not group.is_exact:
        raise ValueError(
            f"dataset.{split}_pairs=all_pairs needs a group whose action on frames is exact, not"
            f" {group.name}: choose orbit or drawn"
        )
