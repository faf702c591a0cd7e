"""The order in which a run reads its data, decided once and recorded in the run directory.

order.json   the requested order, the chosen order, its sizes and the reason
"""

import dataclasses
import json
import math
import mmap
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from orbit.core.config.schema import build
from orbit.core.memory import available_memory
from orbit.core.store.manifest import Manifest
from pipeline.data.blocks import BlocksConfig, BlockSizes, block_sizes
from pipeline.data.order import NUM_STORED
from pipeline.data.packing import BatchLayout
from pipeline.training.run_directory import RunDirectory
from pipeline.training.settings import TrainConfig

ORDER_FILE = "order.json"
WARNING = (
    f"warning: this run does not record its order, and earlier versions ordered epochs of more than"
    f" {NUM_STORED:,} items differently: items of the current epoch may occur twice, or not at all"
)
USED_SHARE = 0.75
"""The share of the available memory that a dataset may fill; the rest is for the model."""


@dataclass(frozen=True)
class AskedOrder:
    """The order that the configuration requests."""

    order: Literal["auto", "uniform", "blocks"]
    blocks: BlocksConfig
    global_batch: int


@dataclass(frozen=True)
class DataOrder:
    """The order of a run; `sizes` (lanes, items of a block, of a window, unit) are set for blocks
    only.

    Raises ValueError for an order by blocks without sizes.
    """

    asked: AskedOrder
    order: Literal["uniform", "blocks"]
    because: str
    sizes: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        if (self.order == "blocks") != (self.sizes is not None):
            raise ValueError(f"order {self.order} does not go with sizes {self.sizes}")

    @property
    def block_sizes(self) -> BlockSizes | None:
        """The same, by name."""
        return None if self.sizes is None else BlockSizes(*self.sizes)

    def in_words(self) -> str:
        """A line that describes it to the user."""
        line = f"order: {self.order}, {self.because}"
        if self.sizes is None:
            return line
        lanes, block, window, _ = self.sizes
        return f"{line}; {lanes} lanes, blocks of {block:,} items, windows of {window:,} a lane"


def choose_order(
    run: RunDirectory, config: TrainConfig, manifest: Manifest
) -> tuple[DataOrder, str | None]:
    """The order with which a run began, or the order for this data on this machine, and a line
    about it if it is decided now.

    Raises ValueError for keys that cannot be combined.
    """
    asked = AskedOrder(config.order, config.blocks, config.global_batch)
    noted = read_order(run)
    if noted is not None and noted.asked == asked:
        return noted, None
    if noted is None and config.order != "blocks" and run.checkpoints.steps():
        # A run of an earlier version, without this choice.
        known = DataOrder(asked, "uniform", "as when this run began")
        return known, WARNING if _num_items(config, manifest) > NUM_STORED else None
    size, free = training_bytes(config, manifest), available_memory()
    decided = _decided(asked, config, manifest, size <= USED_SHARE * free, free)
    if asked.order != "auto":
        return decided, None
    return decided, f"{decided.in_words()} (data {_mib(size)} MiB, memory {_mib(free)} MiB free)"


def read_order(run: RunDirectory) -> DataOrder | None:
    """The order that a run directory records; ValueError if it cannot be read."""
    steps = run.checkpoints.steps()
    try:
        noted = run.read_json(ORDER_FILE)
        if noted is None and steps:
            # The record is lost; checkpoints hold an order by blocks too.
            meta = run.read_json(f"checkpoints/{run.checkpoints.path(steps[-1]).name}/meta.json")
            noted = meta.get("order") if isinstance(meta, dict) else None
        return None if noted is None else build(DataOrder, noted)
    except (ValueError, TypeError) as error:
        file = run.path / ORDER_FILE
        told = str(error).removeprefix(f"{file} cannot be read: ")
        raise ValueError(
            f"{file} cannot be read: {told}; without that file the run goes on in the order that"
            " its checkpoints note"
        ) from None


def note_order(run: RunDirectory, order: DataOrder) -> None:
    """Write order.json, unless it holds this already."""
    if run.read_json(ORDER_FILE) != as_plain(order):
        run.write_json(ORDER_FILE, as_plain(order))


def as_plain(order: DataOrder) -> dict[str, Any]:
    """Plain values for JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(order)))
    return plain


def split_bytes(manifest: Manifest, split: str) -> int:
    """Bytes of the files of a split."""
    return sum(shard.size for shard in manifest.split(split).shards)


def training_bytes(config: TrainConfig, manifest: Manifest) -> int:
    """Bytes of files that an epoch of training reads into memory."""
    split, num_items = manifest.split("train"), _num_items(config, manifest)
    whole = split_bytes(manifest, "train")
    if config.pairs == "fresh":
        # Only source frames, and other data on the same pages.
        frame_bytes = math.prod(manifest.frames.shape) * np.dtype(manifest.frames.dtype).itemsize
        return min(whole, num_items * (frame_bytes + mmap.PAGESIZE))
    per_source = 1 if config.pairs == "stored" else split.records_per_source or 1
    return whole * num_items // (split.num_records // per_source)


def fits_in_memory(num_bytes: int) -> bool:
    """Whether files of this size can stay in memory on this machine."""
    return num_bytes <= USED_SHARE * available_memory()


def _decided(
    asked: AskedOrder, config: TrainConfig, manifest: Manifest, fits: bool, free: int
) -> DataOrder:
    if asked.order == "auto":
        order: Literal["uniform", "blocks"] = "uniform" if fits else "blocks"
        because = f"because the training data {'fits' if fits else 'does not fit'} into memory"
    else:
        order, because = asked.order, "as requested"
    return DataOrder(
        asked, order, because, _sizes(config, manifest, free) if order == "blocks" else None
    )


def _sizes(config: TrainConfig, manifest: Manifest, free: int) -> BlockSizes:
    num_items = _num_items(config, manifest)
    per_source = manifest.split("train").records_per_source or 1
    # Records of one source have frames in common.
    unit = per_source if config.pairs == "stored" and num_items % per_source == 0 else 1
    has_targets = config.pairs != "fresh"
    layout = BatchLayout(manifest.frames, len(manifest.action), config.global_batch, has_targets)
    item_bytes = -(-layout.num_bytes // config.global_batch)
    return block_sizes(config.blocks, num_items, item_bytes, config.global_batch, unit, free)


def _num_items(config: TrainConfig, manifest: Manifest) -> int:
    split = manifest.split("train")
    per_source = 1 if config.pairs == "stored" else split.records_per_source or 1
    return config.num_train_items or split.num_records // per_source


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.0f}"
