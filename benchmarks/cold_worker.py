"""Reads a dataset beyond memory in one way for some seconds, then prints its rate as JSON.

Arguments: dataset, way, seconds, rank, number of ranks, MiB of memory allowed, and the file that
a process enters a control group by ("-" for none).
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.data.loader import Loader

Way = Callable[[Path, int, int, int], Iterator[float]]
"""Yields the number of pairs it read, again and again, after a first 0 when it is ready."""

BATCH = 256
LAP_STEPS = 2
SEQUENTIAL_BYTES = 2**22
SHARE_IN_MEMORY = 0.25
WORDS = ["collapse.action=warn", "collapse.after_steps=1000000000"]


def main(
    data: str, way: str, seconds: str, rank: str, num_ranks: str, mib: str, group: str
) -> None:
    if group != "-":
        Path(group).write_text(str(os.getpid()))
    reading = WAYS[way](Path(data), int(rank), int(num_ranks), int(mib))
    next(reading)
    started, num_pairs, elapsed = time.perf_counter(), 0.0, 0.0
    while elapsed < float(seconds):
        num_pairs += next(reading)
        elapsed = time.perf_counter() - started
    print(json.dumps({"rate": num_pairs / elapsed}), flush=True)
    os._exit(0)


def read_sequentially(data: Path, rank: int, num_ranks: int, mib: int) -> Iterator[float]:
    """All bytes of the training shards, one after the other, as pairs."""
    from orbit.core.store.manifest import read_manifest

    split = read_manifest(data).split("train")
    pairs_a_byte = split.num_records / sum(shard.size for shard in split.shards)
    buffer = bytearray(SEQUENTIAL_BYTES)
    yield 0.0
    while True:
        for shard in split.shards:
            with open(data / shard.file, "rb", buffering=0) as file:
                while num := file.readinto(buffer):
                    yield num * pairs_a_byte


def make_loader(
    data: Path, order: str, share: float | None, rank: int, num_ranks: int, mib: int
) -> "Loader":
    """The loader over stored pairs: by blocks, by position or by the map.

    With a `share`, over the first records, which take this share of the memory allowed, and
    warm.
    """
    import torch

    from orbit.core.store.direct_reader import open_directly
    from orbit.core.store.reader import PairStore, RecordReader
    from pipeline.data.batches import TrainBatches, make_train_order
    from pipeline.data.blocks import BlocksConfig, block_sizes
    from pipeline.data.loader import Loader, LoaderConfig
    from pipeline.data.packing import BatchLayout

    torch.set_num_threads(1)
    store = PairStore(data)
    manifest, split = store.manifest, store.manifest.split("train")
    reader: RecordReader
    if order == "map":
        reader = store.open_all(["train"])["train"]
    else:
        reader = open_directly(store, ["train"], ["train"] if order == "blocks" else [])["train"]
    sizes = num_first = None
    if order == "blocks":
        # What order=blocks takes by itself.
        layout = BatchLayout(manifest.frames, len(manifest.action), BATCH)
        item_bytes, unit = -(-layout.num_bytes // BATCH), split.records_per_source or 1
        free = mib * 2**20
        sizes = block_sizes(BlocksConfig(), split.num_records, item_bytes, BATCH, unit, free)
    if share is not None:
        num_bytes = sum(shard.size for shard in split.shards)
        num_first = int(min(1.0, share * mib * 2**20 / num_bytes) * split.num_records)
    made = make_train_order(reader, "stored", 0, BATCH, "carry", num_first, sizes)
    batches = TrainBatches(reader, made, "stored", rank, num_ranks)
    loader = Loader(batches, 0, None, torch.device("cpu"), LoaderConfig())
    if share is not None:
        for _ in range(made.num_steps(1)):
            next(loader)
    next(loader)
    return loader


def through_loader(order: str, share: float | None = None) -> Way:
    """The loader alone."""

    def read(data: Path, rank: int, num_ranks: int, mib: int) -> Iterator[float]:
        loader = make_loader(data, order, share, rank, num_ranks, mib)
        yield 0.0
        while True:
            yield float(len(next(loader).label))

    return read


def through_training(order: str, share: float | None = None) -> Way:
    """The trainer, in laps of a few steps."""

    def read(data: Path, rank: int, num_ranks: int, mib: int) -> Iterator[float]:
        import tempfile

        from trainer_laps import TrainerLaps, alone

        loader = make_loader(data, order, share, rank, num_ranks, mib)
        words = [*WORDS, f"global_batch={BATCH}", "num_threads=1", "compile=false"]
        with tempfile.TemporaryDirectory() as folder:
            laps = TrainerLaps(data, Path(folder) / "run", words, alone(), LAP_STEPS)
            laps.lap(loader)
            yield 0.0
            while True:
                laps.lap(loader)
                # One more batch ends the lap; it is not trained on.
                yield float(LAP_STEPS * BATCH)

    return read


WAYS: dict[str, Way] = {
    "sequential": read_sequentially,
    "map": through_loader("map"),
    "memory": through_loader("map", SHARE_IN_MEMORY),
    "uniform": through_loader("uniform"),
    "blocks": through_loader("blocks"),
    "training, blocks": through_training("blocks"),
    "training, memory": through_training("map", SHARE_IN_MEMORY),
}


if __name__ == "__main__":
    main(*sys.argv[1:])
