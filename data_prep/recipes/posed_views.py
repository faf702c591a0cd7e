"""From stored views of objects in known poses to pairs (x, g, g x) within one object.

g = R2 R1^-1 moves pose R1 to pose R2: a left action, with a camera that stays, so that acting with
h and then with g is acting with g h. (SIE takes R1^-1 R2, which acts from the right.) What else
differs between two views, light and hues, is in columns; no target is the exact action on pixels.

In training each view is the source of `num_targets` others of its object: the next ones in an order
of the views that is drawn for each object, so that each is a target as often. Elsewhere the first
view is the source of all views, itself included, as in SIE's retrieval.
"""

from collections.abc import Iterator

import numpy as np

from data_prep.building.recipe import ShardPlan
from data_prep.recipes.splits import SPLIT_STREAM, proportions
from data_prep.settings.datasets import PosedViewsDatasetConfig
from data_prep.settings.sources import ThreeDIEBenchSourceConfig
from data_prep.sources.threediebench import (
    NUM_FACTORS,
    PARTS,
    ThreeDIEBench,
    elements_between,
    poses_of,
)
from orbit.core.groups import make_group
from orbit.core.store import origin
from orbit.core.store.manifest import SPLITS, ColumnSpec, FrameSpec
from orbit.core.store.shard import Block, ShardLayout

BLOCK_BYTES = 2**25
PAIR_STREAM = 1
GROUP = "so3"
POSE = (
    "its object's pose R = Rz Ry Rx, a unit quaternion w, x, y, z; g = R2 R1^-1 leads from the"
    " source's R1 to the target's R2, a left action with a fixed camera"
)
FACTORS = "hue of the floor, angles theta and phi and hue of the light"
PART = {"train": PARTS[0], "val": PARTS[0], "test": PARTS[1]}
"""The part of the source from which a split is taken."""


class PosedViews:
    """Recipe for pairs of stored views; see `data_prep.building.recipe.Recipe`.

    An item is a position in the list of the split's objects; objects are in one shard each. The
    test split is the source's part `val`, validation a share of its part `train`. `num_samples`
    objects are used, in proportion. Raises the errors of `ThreeDIEBench`, and ValueError for a
    split without objects and for too many targets.
    """

    group = GROUP
    action_components = make_group(GROUP).action_components
    target_is_action_on_source = False

    def __init__(
        self,
        config: PosedViewsDatasetConfig,
        source: ThreeDIEBenchSourceConfig,
        seed: int,
        num_samples: int | None,
    ) -> None:
        if config.num_targets >= source.num_views:
            raise ValueError(
                f"dataset.num_targets={config.num_targets}: a view has"
                f" {source.num_views - 1} others (source.num_views={source.num_views})"
            )
        self.name, self.seed = config.name, seed
        self._config, self._settings, self._num_samples = config, source, num_samples
        self._source = ThreeDIEBench(source)
        self.label_meaning = self._source.label_meaning
        self.frames = FrameSpec(self._source.image_shape, "uint8", (0.0, 255.0), (-1.0, 1.0))
        self.columns = {
            f"{end}_{name}": ColumnSpec("float32", (size,), f"of the {end}: {meaning}")
            for end in ("source", "target")
            for name, size, meaning in (("pose", 4, POSE), ("factors", NUM_FACTORS, FACTORS))
        }
        nums = {part: len(self._source.index[part].objects) for part in PARTS}
        self._objects = split_objects(nums, config.val_fraction, seed, num_samples)
        for split, numbers in self._objects.items():
            self._source.check_files(PART[split], numbers)

    def origin(self) -> origin.Table:
        config, source = self._config, self._settings
        settings = {
            "size": source.size,
            "num_views": source.num_views,
            "num_targets": config.num_targets,
        }
        return origin.Table(
            kind="table",
            targets_are_exact=False,
            shard_mib=config.shard_mib,
            num_samples=self._num_samples,
            val_fraction=config.val_fraction,
            source=origin.Named(source.name, settings),
        )

    def source_checksums(self) -> dict[str, str]:
        return self._source.checksums()

    def plans(self) -> tuple[ShardPlan, ...]:
        plans = []
        num_views = self._source.num_views
        for split in SPLITS:
            num = len(self._objects[split])
            num_records, per_source = self._num_records(split)
            in_shard = max(1, int(self._config.shard_mib * 2**20 / self._bytes_per_object(split)))
            num_shards = -(-num // in_shard)
            for index in range(num_shards):
                first, last = num * index // num_shards, num * (index + 1) // num_shards
                layout = ShardLayout(
                    self.frames,
                    len(self.action_components),
                    self.columns,
                    (last - first) * num_views,
                    (last - first) * num_records,
                )
                plans.append(ShardPlan(split, index, first, last, layout, per_source))
        return tuple(plans)

    def blocks(self, plan: ShardPlan) -> Iterator[Block]:
        step = max(1, int(BLOCK_BYTES / self._bytes_per_object(plan.split)))
        for first in range(plan.first, plan.last, step):
            items = range(first, min(first + step, plan.last))
            parts = [self._pairs(plan.split, item, item - plan.first) for item in items]
            yield Block(
                np.concatenate([part.frames for part in parts]),
                np.concatenate([part.source for part in parts]),
                np.concatenate([part.target for part in parts]),
                np.concatenate([part.action for part in parts]),
                np.concatenate([part.label for part in parts]),
                {
                    name: np.concatenate([part.columns[name] for part in parts])
                    for name in self.columns
                },
            )

    def _pairs(self, split: str, item: int, place: int) -> Block:
        """The views and records of an object that stands at a `place` of its shard."""
        part, number = PART[split], int(self._objects[split][item])
        latents = self._source.latents(part, number)
        source, target = self._ends(split, number)
        poses = poses_of(latents)
        g = elements_between(poses[source], poses[target])
        per_view = {
            "pose": poses.numpy().astype(np.float32),
            "factors": latents[:, -NUM_FACTORS:].astype(np.float32),
        }
        first = place * self._source.num_views
        return Block(
            self._source.pictures(part, number),
            source + first,
            target + first,
            make_group(GROUP).encode(g).numpy(),
            np.full(len(source), self._source.index[part].labels[number]),
            {
                f"{end}_{name}": values[rows]
                for end, rows in (("source", source), ("target", target))
                for name, values in per_view.items()
            },
        )

    def _ends(self, split: str, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The views that are sources and targets of an object's records, (R,) int64 each."""
        views = np.arange(self._source.num_views)
        if split != "train":
            return np.zeros_like(views), views
        order = np.random.default_rng([self.seed, PAIR_STREAM, number]).permutation(len(views))
        steps = np.arange(1, self._config.num_targets + 1)
        targets = order[(np.argsort(order)[:, None] + steps) % len(views)]
        return np.repeat(views, len(steps)), targets.reshape(-1)

    def _num_records(self, split: str) -> tuple[int, int]:
        """The records of an object, and of a source."""
        num_views, num_targets = self._source.num_views, self._config.num_targets
        return (num_views * num_targets, num_targets) if split == "train" else (num_views,) * 2

    def _bytes_per_object(self, split: str) -> float:
        layout = ShardLayout(
            self.frames,
            len(self.action_components),
            self.columns,
            self._source.num_views,
            self._num_records(split)[0],
        )
        return layout.num_bytes()


def split_objects(
    nums: dict[str, int], val_fraction: float, seed: int, num_samples: int | None
) -> dict[str, np.ndarray]:
    """Split name to the numbers of its objects in their part, in an order drawn by the seed.

    ValueError for a validation share that leaves no object to train, and for more samples than
    objects.
    """
    orders = [
        np.random.default_rng([seed, SPLIT_STREAM, place]).permutation(nums[part])
        for place, part in enumerate(PARTS)
    ]
    num_val = max(1, round(nums[PARTS[0]] * val_fraction))
    splits = {"train": orders[0][num_val:], "val": orders[0][:num_val], "test": orders[1]}
    if not len(splits["train"]):
        raise ValueError(f"dataset.val_fraction={val_fraction} leaves no object to train on")
    total = sum(map(len, splits.values()))
    if num_samples is None:
        return splits
    if num_samples > total:
        raise ValueError(f"num_samples={num_samples}, but the indices name {total} objects")
    shares = proportions([len(numbers) for numbers in splits.values()], num_samples)
    return {
        split: numbers[:share]
        for (split, numbers), share in zip(splits.items(), shares, strict=True)
    }
