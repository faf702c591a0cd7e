"""Part (h): a dataset three times the memory allowed, read in every way beside each other.

Memory is limited by a control group, of version 1 or 2, where this user may make one.

A process of its own reads in one way for some seconds, then prints its rate as JSON. It is this
file with the arguments: dataset, way, seconds, rank, number of ranks, MiB of memory allowed, and
the file that it enters a control group by ("-" for none).
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from measuring import Check, PartReport, Row, rate_rows, ratio, say

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


GROUPS = Path("/sys/fs/cgroup")
KINDS = (
    # Folder that holds it, file that tells its kind, files that limit memory and swap.
    (GROUPS / "memory", "memory.limit_in_bytes", ("memory.limit_in_bytes",)),
    (GROUPS, "cgroup.controllers", ("memory.max", "memory.swap.max")),
)
PATIENCE_S = 20.0


@contextlib.contextmanager
def limited_memory(num_bytes: int) -> Iterator[Path | None]:
    """The file that processes are put into by their number; None where no group can be made.

    The group is gone at the end; its processes must have ended.
    """
    folder = _made(num_bytes)
    try:
        yield None if folder is None else folder / "cgroup.procs"
    finally:
        if folder is not None:
            deadline = time.monotonic() + PATIENCE_S
            while folder.is_dir() and time.monotonic() < deadline:
                try:
                    folder.rmdir()
                except OSError:
                    time.sleep(0.1)


def _made(num_bytes: int) -> Path | None:
    for top, mark, limits in KINDS:
        if not (top / mark).exists():
            continue
        folder = top / f"orbit_benchmark_{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            for index, limit in enumerate(limits):
                (folder / limit).write_text(str(num_bytes if index == 0 else 0))
        except OSError:
            with contextlib.suppress(OSError):
                folder.rmdir()
            continue
        return folder
    return None


TIMES_MEMORY = 3.0
SHAPE = (3, 64, 64)
TIMEOUT_S = 300
ONE, TWO = "blocks", "blocks, two ranks together"
ALONE = ("sequential", "map", "memory", "uniform", "blocks")
TRAINING = ("training, memory", "training, blocks")


def num_images(allowed_mib: int) -> int:
    """Training images whose four turns take three times the memory allowed."""
    return int(TIMES_MEMORY * allowed_mib * 2**20 / (4 * SHAPE[0] * SHAPE[1] * SHAPE[2]))


def measure_cold(
    data: Path, allowed_mib: int, num_rounds: int = 3, seconds: float = 8.0
) -> PartReport:
    """`data` is a dataset of about three times `allowed_mib`."""
    report = PartReport("(h) Beyond memory")
    rates: dict[str, list[float]] = {name: [] for name in (*ALONE, TWO, *TRAINING)}
    with limited_memory(allowed_mib * 2**20) as group:
        for index in range(num_rounds):
            for name in rates:
                say(f"round {index + 1} of {num_rounds}: {name}")
                drop_from_cache(data)
                ranks = [0, 1] if name == TWO else [0]
                way = ONE if name == TWO else name
                rates[name].append(sum(run_workers(data, way, seconds, ranks, allowed_mib, group)))
        is_limited = group is not None
    report.rows += rate_rows(rates)
    report.rows.append(Row("share of the disk that blocks use", *_shares(rates), "%"))
    report.checks += [
        Check("blocks / sequential read", 0.8, ratio(rates, "blocks", "sequential")),
        Check("blocks / random map", 60.0, ratio(rates, "blocks", "map")),
        Check("uniform / random map", 25.0, ratio(rates, "uniform", "map")),
        Check("two ranks / one", 1.0, ratio(rates, TWO, ONE)),
        Check("training, blocks / 95% in memory or 80% of the disk", 1.0, _training_share(rates)),
    ]
    kept = f"{allowed_mib} MiB of memory by a control group" if is_limited else "no limit of memory"
    report.notes.append(f"Frames {'x'.join(map(str, SHAPE))}, {kept}, cache dropped before each.")
    return report


def run_workers(
    data: Path, way: str, seconds: float, ranks: Sequence[int], mib: int, group: Path | None
) -> list[float]:
    """Rates of ranks that read at the same time, each in a process of its own."""
    root = Path(__file__).resolve().parents[1]
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    started = [
        subprocess.Popen(
            [
                *(sys.executable, __file__),
                *(str(data), way, str(seconds), str(rank), str(len(ranks)), str(mib)),
                str(group or "-"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        for rank in ranks
    ]
    rates = []
    for process in started:
        try:
            out, errors = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise OSError(f"{way}: not done after {TIMEOUT_S} s") from None
        if process.returncode:
            last = errors.strip().splitlines()[-1:] or ["no message"]
            raise OSError(f"{way} failed ({process.returncode}): {last[0]}")
        rates.append(float(json.loads(out.strip().splitlines()[-1])["rate"]))
    return rates


def drop_from_cache(data: Path) -> None:
    """Let the operating system forget what it has read of a dataset."""
    for file in data.rglob("*.h5"):
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _training_share(rates: dict[str, list[float]]) -> float:
    """What training by blocks reaches of the lesser of its own rate in memory and the disk's."""
    memory, blocks = (rates[name] for name in TRAINING)
    wanted = [
        min(0.95 * own, 0.8 * disk) for own, disk in zip(memory, rates["sequential"], strict=True)
    ]
    return statistics.median(rate / least for rate, least in zip(blocks, wanted, strict=True))


def _shares(rates: dict[str, list[float]]) -> tuple[float, float]:
    pairs = zip(rates["blocks"], rates["sequential"], strict=True)
    shares = sorted(100 * blocks / disk for blocks, disk in pairs)
    return shares[len(shares) // 2], shares[-1]


if __name__ == "__main__":
    main(*sys.argv[1:])
