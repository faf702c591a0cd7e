"""Batches of records for training and evaluation, and the kinds of pairs that a dataset allows.

Both classes are stateless functions of the step, so a loader that starts at step s yields the same
batches as one that was not interrupted. They are picklable, so that DALI can run them in spawned
processes. Targets of fresh pairs are computed on the device, by the training step.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import nn

from orbit.core.groups import make_group
from orbit.core.groups.targets import make_targets
from orbit.core.store.manifest import Manifest
from orbit.core.store.origin import Episodes, Orbits, Sequences, Table
from orbit.core.store.reader import RecordReader, Records
from pipeline.data.blocks import BlockOrder, BlockSizes
from pipeline.data.order import SampleOrder, draw_choices, draw_uniforms, rank_slice
from pipeline.data.packing import Batch
from pipeline.data.settings import Pairs


class Batches(Protocol):
    """Reads one rank's share of a step's global batch."""

    @property
    def reader(self) -> RecordReader:
        """The reader of the records."""

    @property
    def batch_size(self) -> int:
        """Records that this rank reads per step."""

    @property
    def has_targets(self) -> bool:
        """Whether target frames are read; otherwise they are made on the device."""

    def records(self, step: int) -> np.ndarray:
        """Record numbers (batch_size,) int64 that this rank reads in a step."""

    def window(self, step: int) -> tuple[int, int] | None:
        """First and last step (exclusive) of the steps that should be read together, if any."""

    def finish(self, step: int, out: Records, valid: np.ndarray) -> None:
        """Complete `out` after the records are read, as `read` does."""

    def read(self, step: int, out: Records, valid: np.ndarray) -> None:
        """Fill `out` with the records of as many steps, from `step` on, as it has room for.

        `valid` becomes 1, or 0 for padding.
        """


@dataclass(frozen=True)
class TrainBatches:
    """Shuffled training records.

    With `stored` the items of an epoch are records. With `online` they are source frames, and one
    of the records of a source is drawn for each (seed, epoch, source): the group element is uniform
    over the stored orbit. With `fresh` they are source frames too, only these are read, and an
    element of the whole `group` is drawn for each (seed, epoch, source).
    """

    reader: RecordReader
    order: SampleOrder
    pairs: Pairs
    rank: int
    world_size: int
    group: str | None = None

    def __post_init__(self) -> None:
        assert (self.pairs == "fresh") == (self.group is not None)

    def records(self, step: int) -> np.ndarray:
        """Record numbers that this rank reads in a step."""
        epochs, items = self._places(step)
        if self.pairs == "stored":
            return np.asarray(items)
        num_choices = self.reader.records_per_source
        if self.pairs == "fresh":
            return np.asarray(items * (num_choices or 1))
        assert num_choices is not None
        draws = draw_choices(self.order.seed, epochs, items, self.order.num_items, num_choices)
        return np.asarray(items * num_choices + draws)

    def actions(self, steps: range) -> np.ndarray:
        """Action vectors (B, A) float32 of the elements that are drawn for `fresh` pairs."""
        assert self.group is not None
        group, places = make_group(self.group), [self._places(step) for step in steps]
        epochs, items = (np.concatenate(part) for part in zip(*places, strict=True))
        uniforms = draw_uniforms(self.order.seed, epochs, items, group.num_uniforms)
        return np.asarray(group.encode(group.from_uniforms(torch.from_numpy(uniforms))).numpy())

    def _places(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Epoch and item of each position of this rank's share."""
        epochs, items = self.order.batch(step)
        share = rank_slice(self.order.global_batch, self.rank, self.world_size)
        return epochs[share], items[share]

    @property
    def batch_size(self) -> int:
        return self.order.global_batch // self.world_size

    @property
    def has_targets(self) -> bool:
        return self.pairs != "fresh"

    def window(self, step: int) -> tuple[int, int] | None:
        return self.order.window(step)

    def finish(self, step: int, out: Records, valid: np.ndarray) -> None:
        if not self.has_targets:
            out.action[:] = self.actions(range(step, step + len(valid) // self.batch_size))
        valid[:] = 1.0

    def read(self, step: int, out: Records, valid: np.ndarray) -> None:
        steps = range(step, step + len(valid) // self.batch_size)
        self.reader.read(np.concatenate([self.records(step) for step in steps]), out)
        self.finish(step, out, valid)


@dataclass(frozen=True)
class EvaluationBatches:
    """Records of a split in order; the last batch is padded with invalid records.

    All records, or those with the given numbers (M,) int64. After `num_steps` steps they start
    again, so that one loader serves many passes.
    """

    reader: RecordReader
    global_batch: int
    rank: int
    world_size: int
    chosen: np.ndarray | None = None

    has_targets: ClassVar[bool] = True

    @property
    def num_records(self) -> int:
        """Records of one pass."""
        return self.reader.num_records if self.chosen is None else len(self.chosen)

    @property
    def num_steps(self) -> int:
        """Steps until every record was read, the same on every rank."""
        return -(-self.num_records // self.global_batch)

    @property
    def batch_size(self) -> int:
        return self.global_batch // self.world_size

    def records(self, step: int) -> np.ndarray:
        return self._chosen(self._places(step, self.batch_size))

    def window(self, step: int) -> None:
        return None

    def finish(self, step: int, out: Records, valid: np.ndarray) -> None:
        valid[:] = self._places(step, len(valid)) < self.num_records

    def read(self, step: int, out: Records, valid: np.ndarray) -> None:
        self.reader.read(self._chosen(self._places(step, len(valid))), out)
        self.finish(step, out, valid)

    def _places(self, step: int, num_places: int) -> np.ndarray:
        """Positions in the split of this rank's records of the steps from `step` on."""
        share = rank_slice(self.global_batch, self.rank, self.world_size)
        steps = np.arange(step, step + num_places // self.batch_size) % self.num_steps
        firsts = steps[:, None] * self.global_batch
        return np.asarray((firsts + np.arange(share.start, share.stop)).reshape(-1))

    def _chosen(self, places: np.ndarray) -> np.ndarray:
        """Their record numbers; that of the first record for padding."""
        records = np.where(places < self.num_records, places, 0)
        return records if self.chosen is None else self.chosen[records]


def make_train_order(
    reader: RecordReader,
    pairs: Pairs,
    seed: int,
    global_batch: int,
    tail: Literal["drop", "carry"],
    num_first: int | None = None,
    blocks: BlockSizes | None = None,
) -> SampleOrder:
    """The order of an epoch: over records when stored, over source frames otherwise.

    Only the first `num_first` items, if given; by blocks, if their sizes are given. Raises
    ValueError if there are fewer items, and for on-line pairs if records are not grouped by source.
    If they are not, fresh pairs treat each record as a source.
    """
    if pairs == "online" and reader.records_per_source is None:
        raise ValueError(
            "pairs=online needs a dataset with several elements of every source image"
            " (its orbit, or dataset.num_drawn=8 at its preparation); this one allows pairs=stored"
        )
    per_source = 1 if pairs == "stored" else reader.records_per_source or 1
    num_items = reader.num_records // per_source
    if num_first is not None and num_first > num_items:
        raise ValueError(f"num_train_items={num_first} is more than the {num_items} there are")
    num_items = num_first or num_items
    if blocks is None:
        return SampleOrder(seed, num_items, global_batch, tail)
    return BlockOrder(seed, num_items, global_batch, tail, *blocks)


def check_pairs(manifest: Manifest, pairs: Pairs) -> None:
    """Raise ValueError for a kind of pairs that the training split cannot give, naming those it
    can."""
    if pairs != "fresh":
        manifest.check_has_targets("train", f"pairs={pairs}", "pairs=fresh")
        return
    has_orbits = manifest.split("train").records_per_source is not None
    allowed = "stored, online" if has_orbits else "stored"
    stays = what_stays(manifest)
    if stays is not None:
        raise ValueError(
            f"pairs=fresh moves whole frames, but in {manifest.name} {stays}; allowed: {allowed}"
        )
    held_out = manifest.origin.train_bins if isinstance(manifest.origin, Orbits) else None
    if held_out is not None:
        raise ValueError(
            f"pairs=fresh draws from all of {manifest.group}, but training on {manifest.name} keeps"
            f" to dataset.train_bins={list(held_out)}; allowed: {allowed}"
        )


def what_stays(manifest: Manifest) -> str | None:
    """A clause that says why a target of this dataset is not the group's action on its whole
    source; None if it is."""
    origin = manifest.origin
    if isinstance(origin, Episodes):
        return f"the actions are those of the world {origin.world.name}"
    if isinstance(origin, Sequences):
        return "its targets are labels"
    if isinstance(origin, Table):
        return f"the targets are the user's own files (source={origin.flat()['source']})"
    if manifest.target_is_action_on_source:
        return None
    parts = {
        "blocked": "a block does not move",
        "checkerboard": "the background does not move",
        "composite": "the background does not move",
        "views": "the object is turned before it is drawn",
    }.get(origin.scene, "parts of the frame stay")
    return f"{parts} (dataset.scene.name={origin.scene})"


class FreshTargets(nn.Module):
    """Calls an objective on batches without targets, which it computes on the device.

    The targets equal those that would have been stored. The computation is part of the compiled
    step.
    """

    def __init__(self, objective: nn.Module, manifest: Manifest) -> None:
        super().__init__()
        self.objective = objective
        self._group = make_group(manifest.group)
        self._is_binary = manifest.frames.values == "binary"

    def forward(
        self,
        source: torch.Tensor,
        target: torch.Tensor,
        action: torch.Tensor,
        label: torch.Tensor,
        valid: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The result of the objective; see `pipeline.methods.interface`. `target` is (B, 0)."""
        made = self.targets(source, action)
        outputs: tuple[torch.Tensor, torch.Tensor] = self.objective(
            source, made, action, label, valid
        )
        return outputs

    def targets(self, source: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """The stored frames of g x for each source x and action vector of g."""
        with torch.no_grad(), torch.autocast(source.device.type, enabled=False):
            return make_targets(self._group, source, action, self._is_binary)

    def completed(self, batch: Batch) -> Batch:
        """The batch with its targets."""
        return batch._replace(target=self.targets(batch.source, batch.action))
