"""Protects reading without maps: the same records, whatever the file system does in between.

Short reads go on, failures that may pass are tried again and then are faults of the cluster,
and a file that takes another's place is refused.
"""

import errno
import os
import pickle
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.recipes import VolumeRecipe
from helpers.waiting import wait_until

from data_prep.building.builder import build_dataset
from orbit.core.store import direct_reader, shard_file
from orbit.core.store.direct_reader import DirectReader, open_directly
from orbit.core.store.reader import PairStore, Records
from pipeline.data.ahead import AheadSource
from pipeline.data.batches import Batches, EvaluationBatches, TrainBatches, make_train_order
from pipeline.data.blocks import BlockSizes
from pipeline.data.loader import Loader, LoaderConfig, StepSource, batches_layout
from pipeline.training.debugging import FirstBatches
from pipeline.training.distributed import is_cluster_fault

CPU = torch.device("cpu")
NAMES = ("source", "target", "action", "label")
plain_preadv = os.preadv


@pytest.fixture(params=["digits_dir", "volume_dir", "episode_dir"])
def dataset_dir(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture(params=[0, 2**15], ids=["single", "together"])
def gap(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are read one by one, or with what is between them; pieces are small."""
    monkeypatch.setattr(direct_reader, "GAP_BYTES", request.param)
    monkeypatch.setattr(direct_reader, "PIECE_BYTES", 2**13)
    monkeypatch.setattr(direct_reader, "READ_BYTES", 2**12)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_file, "PAUSES_S", (0.0, 0.0))


def answering(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[int, int, Sequence[Any], int], int]
) -> None:
    """Let `answer(call number, descriptor, buffers, offset)` stand in for preadv."""
    count, lock = iter(range(10**9)), threading.Lock()

    def read(descriptor: int, buffers: Sequence[Any], offset: int) -> int:
        with lock:
            number = next(count)
        return answer(number, descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", read)


def assert_same(found: Records, expected: Records) -> None:
    for name in NAMES:
        values, wanted = getattr(found, name), getattr(expected, name)
        assert values.dtype == wanted.dtype
        assert np.array_equal(values, wanted), name


@pytest.mark.parametrize("past_cache", [(), ("train",)], ids=["cached", "past"])
@pytest.mark.parametrize("keeps", [0, 2**20], ids=["rows", "kept"])
def test_records_are_those_of_the_map(
    dataset_dir: Path,
    past_cache: tuple[str, ...],
    keeps: int,
    gap: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether frames go past the page cache, and whether what else there is can be kept."""
    monkeypatch.setattr(direct_reader, "KEPT_BYTES", keeps)
    mapped = PairStore(dataset_dir).split("train")
    reader = open_directly(PairStore(dataset_dir), ["train"], past_cache)["train"]
    rng = np.random.default_rng(0)
    for numbers in (
        np.arange(reader.num_records),
        rng.integers(0, reader.num_records, 70),
        np.array([reader.num_records - 1, 0, 0]),
        np.array([], np.int64),
    ):
        assert_same(reader.read(numbers), mapped.read(numbers))
        assert_same(pickle.loads(pickle.dumps(reader)).read(numbers), mapped.read(numbers))
    with pytest.raises(IndexError, match=f"split of {reader.num_records}"):
        reader.read(np.array([reader.num_records]))


def test_neighbours_are_read_in_one_piece() -> None:
    """Whatever runs of neighbours are asked for: each record once and in place, pieces of less
    than twice the wanted size, and no run is cut that fits into one."""
    most = 7
    rng = np.random.default_rng(0)
    for _ in range(200):
        gaps = np.where(rng.random(80) < rng.choice([0.02, 0.2, 0.9]), rng.integers(2, 9, 80), 1)
        rows = np.cumsum(gaps * (rng.random(80) > 0.1))
        parts = direct_reader.parts_of(rows, most)
        assert [part[0] for part in parts[1:]] == [part[1] for part in parts[:-1]]
        assert (parts[0][0], parts[-1][1]) == (0, len(rows))
        assert all(0 < end - start < 2 * most for start, end in parts)
        runs = np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) > 1) + 1)
        cuts = {start for start, _ in parts}
        for run in runs:
            assert len(run) > most or not cuts & set(run[1:].tolist())
    assert direct_reader.parts_of(np.zeros(0, np.int64), most) == []


@pytest.mark.parametrize("answer", ["refused", "short", "failed", "none"])
def test_what_cannot_be_read_past_the_cache_is_read_through_it(
    answer: str, volume_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File systems that have no such reads, or end one anywhere, give the same records."""
    past: set[int] = set()
    plain_open = os.open

    def opened(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & os.O_DIRECT and answer == "refused":
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path))
        descriptor = plain_open(path, flags & ~os.O_DIRECT, *more, **named)
        past.update({descriptor} if flags & os.O_DIRECT else ())
        return descriptor

    def reading(number: int, descriptor: int, buffers: Sequence[Any], offset: int) -> int:
        if descriptor in past:
            assert offset % 4096 == len(buffers[0]) % 4096 == 0
            if answer == "failed":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            if answer == "short":
                buffers = [buffers[0][: 1 + 97 * number]]
            if answer == "none":
                return 0
        return plain_preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "open", opened)
    answering(monkeypatch, reading)
    reader = DirectReader(PairStore(volume_dir).split("train"), past_cache=True)
    expected = PairStore(volume_dir).split("train").read(np.arange(20))
    assert_same(reader.read(np.arange(20)), expected)
    assert bool(past) == (answer != "refused")


def test_few_files_are_open_at_a_time(volume_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_reader, "MAX_OPEN", 1)
    reader = DirectReader(PairStore(volume_dir).split("train"))
    mapped = PairStore(volume_dir).split("train")
    before = len(os.listdir("/proc/self/fd"))
    numbers = np.random.default_rng(1).integers(0, reader.num_records, 60)
    for part in numbers.reshape(6, 10):
        assert_same(reader.read(part), mapped.read(part))
    mapped_files = len(PairStore(volume_dir).manifest.splits["train"].shards)
    assert len(os.listdir("/proc/self/fd")) <= before + mapped_files + 1


def kinds_of_batches(dataset_dir: Path) -> list[tuple[Batches, Batches]]:
    """The same batches, by position and by map."""
    store = PairStore(dataset_dir)
    both = [open_directly(store, ["train"], ["train"])["train"], store.split("train")]
    sizes = BlockSizes(4, 5, 18)
    orders = [make_train_order(both[1], "stored", 3, 12, "carry", None, s) for s in (None, sizes)]
    kinds: list[list[Batches]] = [
        [TrainBatches(reader, orders[0], "stored", 0, 1) for reader in both],
        [TrainBatches(reader, orders[1], "stored", 1, 2) for reader in both],
        [EvaluationBatches(reader, 10, 0, 1) for reader in both],
    ]
    kinds.append([FirstBatches(batches, 2) for batches in kinds[1]])
    return [(first, second) for first, second in kinds]


@pytest.mark.parametrize("start", [0, 7])
def test_batches_read_ahead_are_those_of_the_map(dataset_dir: Path, start: int, gap: None) -> None:
    """Windows, groups without windows, filled-up places, a start in the middle."""
    for direct, mapped in kinds_of_batches(dataset_dir):
        both = [Loader(each, start, 40, CPU, LoaderConfig()) for each in (direct, mapped)]
        for found, expected in zip(*both, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_more_may_be_asked_for_than_there_is(volume_dir: Path) -> None:
    """Ahead of a GPU DALI runs on beyond the last step, and fails if its source does."""
    reader = open_directly(PairStore(volume_dir), ["train"])["train"]
    batches = EvaluationBatches(reader, 4, 0, 1)
    layout = batches_layout(batches, 2)
    source = AheadSource(batches, layout, 1, 4, 2)
    reads = [source(SimpleNamespace(iteration=number))[0].copy() for number in range(5)]
    source.stop()
    plain = StepSource(batches, layout, 1, keeps_buffer=False)
    expected = plain(SimpleNamespace(iteration=0))[0]
    labels = [layout.as_records(buffer)[0].label for buffer in (reads[0], expected)]
    assert np.array_equal(*labels)
    assert [len(buffer) for buffer in reads] == [layout.num_bytes] * 5


def test_no_more_than_two_groups_are_read(
    volume_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resume reads the window that it is in from there on, and the next."""
    monkeypatch.setattr("pipeline.data.loader.READ_BYTES", 1)
    store = PairStore(volume_dir)
    reader = open_directly(store, ["train"])["train"]
    asked: list[np.ndarray] = []
    plain = DirectReader.pieces

    def noted(self: DirectReader, records: np.ndarray) -> Any:
        asked.append(records)
        return plain(self, records)

    monkeypatch.setattr(DirectReader, "pieces", noted)
    order = make_train_order(reader, "stored", 3, 4, "drop", None, BlockSizes(2, 3, 8))
    batches = TrainBatches(reader, order, "stored", 0, 1)
    first, last = order.window(5)
    start = first + 1
    assert start < last
    loader = Loader(batches, start, None, CPU, LoaderConfig())
    next(loader)
    expected = [range(start, last), range(*order.window(last))]
    wait_until(lambda: len(asked) == 2, "the second group")
    wanted = [np.concatenate([batches.records(step) for step in steps]) for steps in expected]
    assert {tuple(records) for records in asked} == {tuple(records) for records in wanted}


def test_short_reads_go_on(dataset_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = PairStore(dataset_dir).split("train").read(np.arange(30))

    def short(number: int, descriptor: int, buffers: Sequence[Any], offset: int) -> int:
        return plain_preadv(descriptor, [buffers[0][: 1 + number % 50]], offset)

    answering(monkeypatch, short)
    reader = DirectReader(PairStore(dataset_dir).split("train"))
    assert_same(reader.read(np.arange(30)), expected)


@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, None])
def test_what_passes_is_tried_again(
    error: int | None, volume_dir: Path, no_pauses: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every other call fails, or meets the end of the file too early."""

    def failing(number: int, descriptor: int, buffers: Sequence[Any], offset: int) -> int:
        if number % 2 == 0:
            if error is None:
                return 0
            raise OSError(error, os.strerror(error))
        return plain_preadv(descriptor, buffers, offset)

    expected = PairStore(volume_dir).split("train").read(np.arange(9))
    answering(monkeypatch, failing)
    assert_same(DirectReader(PairStore(volume_dir).split("train")).read(np.arange(9)), expected)


@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE, None])
def test_what_stays_is_a_fault_of_the_cluster_that_names_the_file(
    error: int | None, volume_dir: Path, no_pauses: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a thread met it, ahead of the step."""

    def failing(number: int, descriptor: int, buffers: Sequence[Any], offset: int) -> int:
        if error is None:
            return 0
        raise OSError(error, os.strerror(error))

    answering(monkeypatch, failing)
    reader = open_directly(PairStore(volume_dir), ["train"])["train"]
    order = make_train_order(reader, "stored", 3, 4, "drop", None, BlockSizes(2, 3, 8))
    for batches in (
        TrainBatches(reader, order, "stored", 0, 1),
        EvaluationBatches(reader, 4, 0, 1),
    ):
        with pytest.raises(OSError, match="shard_") as raised:
            next(Loader(batches, 0, None, CPU, LoaderConfig()))
        assert is_cluster_fault(raised.value)
    with pytest.raises(OSError, match=r"shard_00000.h5"):
        reader.read(np.arange(1))


def test_a_dataset_that_is_replaced_meanwhile_is_refused(volume_dir: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(volume_dir, tmp_path / "data"))
    store = PairStore(data)
    reader = open_directly(store, ["train"])["train"]
    build_dataset(VolumeRecipe(seed=5), data, overwrite=True)
    with pytest.raises(ValueError, match=r"shard_00000.h5 was replaced while it was in use"):
        reader.read(np.arange(1))
    with pytest.raises(ValueError, match="was replaced while it was opened"):
        open_directly(store, ["train"])


def test_threads_end_with_their_loader(volume_dir: Path) -> None:
    reader = open_directly(PairStore(volume_dir), ["train"])["train"]
    before = set(threading.enumerate())
    loader = Loader(EvaluationBatches(reader, 4, 0, 1), 0, None, CPU, LoaderConfig(num_readers=3))
    next(loader)
    own = set(threading.enumerate()) - before
    assert len(own) == 3
    del loader
    wait_until(lambda: not any(thread.is_alive() for thread in own), "the threads' end")
