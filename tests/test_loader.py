"""Protects the loader: what comes out of DALI is what the store holds, step by step.

The order of the steps, the ranks' shares, the start in the middle and the exactness of
evaluation must not depend on prefetching, on workers or on the number of dimensions.
"""

import pickle

import numpy as np
import pytest
import torch

import pipeline.data.loader as loader_module
from orbit.core.store.reader import PairStore, SplitReader
from pipeline.data.batches import Batches, EvaluationBatches, TrainBatches, make_train_order
from pipeline.data.loader import Loader, LoaderConfig, StepSource, steps_per_read
from pipeline.data.packing import Batch, BatchLayout

pytestmark = pytest.mark.usefixtures("starts_are_warm")

CPU = torch.device("cpu")
NAMES = ("source", "target", "action", "label")


@pytest.fixture(params=[1, 3, None], ids=["single", "triple", "default"])
def steps_a_read(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int | None:
    """One step in each run of DALI, three, or as many as the loader finds right."""
    if request.param is not None:

        def fixed(batches: Batches, num_left: int | None = None) -> int:
            return request.param if num_left is None else max(1, min(request.param, num_left))

        monkeypatch.setattr(loader_module, "steps_per_read", fixed)
    return request.param


def train_batches(
    reader: SplitReader, pairs: str = "stored", batch: int = 12, rank: int = 0, ranks: int = 1
) -> TrainBatches:
    order = make_train_order(reader, pairs, 7, batch, "carry")
    return TrainBatches(reader, order, pairs, rank, ranks)


def copies(loader: Loader) -> list[Batch]:
    """Batches that outlive the loader's buffers."""
    return [Batch(*(tensor.clone().cpu() for tensor in batch)) for batch in loader]


def assert_is_records(batch: Batch, reader: SplitReader, numbers: np.ndarray) -> None:
    """Bit for bit the records at these numbers, all of them valid."""
    for name, values in zip(NAMES, reader.read(numbers), strict=True):
        tensor = getattr(batch, name)
        assert tensor.numpy().dtype == values.dtype
        assert tensor.shape == values.shape
        assert tensor.numpy().tobytes() == values.tobytes()
    assert batch.valid.tolist() == [1.0] * len(numbers)


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("prefetch", [1, 2, 4])
@pytest.mark.parametrize(
    ("dataset", "pairs"),
    [("digits_dir", "stored"), ("digits_dir", "online"), ("volume_dir", "online")],
)
def test_loader_equals_a_naive_read(dataset, pairs, prefetch: int, steps_a_read, request) -> None:
    reader = PairStore(request.getfixturevalue(dataset)).split("train")
    batches = train_batches(reader, pairs, batch=8)
    num_steps = 25
    steps = 0
    for step, batch in enumerate(Loader(batches, 0, num_steps, CPU, LoaderConfig(0, prefetch))):
        # Compared only now, while later steps are being filled: buffers must hold.
        assert_is_records(batch, reader, batches.records(step))
        steps += 1
    assert steps == num_steps


def test_loader_equals_a_naive_read_of_episodes(episode_dir) -> None:
    reader = PairStore(episode_dir).split("train")
    batches = train_batches(reader, "stored")
    for step, batch in enumerate(Loader(batches, 0, 12, CPU, LoaderConfig())):
        assert batch.action.shape == (12, 2)
        assert_is_records(batch, reader, batches.records(step))


def test_one_spawned_worker_reads_the_same(volume_dir, monkeypatch) -> None:
    monkeypatch.setattr(loader_module, "steps_per_read", lambda batches, num_left: 3)
    reader = PairStore(volume_dir).split("train")
    batches = train_batches(reader, "online", batch=6)
    loader = Loader(batches, 3, 11, CPU, LoaderConfig(num_workers=1))
    spawned = copies(loader)
    assert len(spawned) == 8
    for step, batch in enumerate(spawned, 3):
        assert_is_records(batch, reader, batches.records(step))


@pytest.mark.parametrize("start", [1, 13, 20])
def test_starting_in_the_middle_continues_the_full_stream(
    digits_dir, start: int, steps_a_read
) -> None:
    batches = train_batches(PairStore(digits_dir).split("train"), "online", batch=50)
    full = copies(Loader(batches, 0, 20, CPU, LoaderConfig()))
    assert_same(copies(Loader(batches, start, 20, CPU, LoaderConfig())), full[start:])


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_together_are_one_rank(digits_dir, ranks: int) -> None:
    reader = PairStore(digits_dir).split("train")
    whole = copies(Loader(train_batches(reader, "online"), 5, 9, CPU, LoaderConfig()))
    parts = [
        copies(Loader(train_batches(reader, "online", 12, rank, ranks), 5, 9, CPU, LoaderConfig()))
        for rank in range(ranks)
    ]
    joined = [
        Batch(*map(torch.cat, zip(*batches, strict=True))) for batches in zip(*parts, strict=True)
    ]
    assert_same(joined, whole)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("batch", [6, 18, 240])
@pytest.mark.parametrize("dataset", ["digits_dir", "volume_dir"])
def test_evaluation_sees_each_record_once(
    dataset, batch: int, ranks: int, steps_a_read, request
) -> None:
    """Sizes that divide the split and such that do not, down to ranks that see nothing valid."""
    reader = PairStore(request.getfixturevalue(dataset)).split("test")
    shares = []
    for rank in range(ranks):
        batches = EvaluationBatches(reader, batch, rank, ranks)
        assert batches.num_steps == -(-reader.num_records // batch)
        shares.append(copies(Loader(batches, 0, batches.num_steps, CPU, LoaderConfig())))
    assert len({len(share) for share in shares}) == 1
    in_order = [part for step in zip(*shares, strict=True) for part in step]
    assert {len(part.valid) for part in in_order} == {batch // ranks}
    valid = torch.cat([part.valid for part in in_order]).bool()
    assert valid.tolist() == [place < reader.num_records for place in range(len(valid))]
    joined = Batch(*(torch.cat(tensors)[valid] for tensors in zip(*in_order, strict=True)))
    assert_is_records(joined, reader, np.arange(reader.num_records))
    # Filled-up places hold finite values, or a mask could not silence them.
    assert all(torch.isfinite(part.source.float()).all() for part in in_order)


def test_evaluation_refuses_ranks_that_do_not_divide(digits_dir) -> None:
    batches = EvaluationBatches(PairStore(digits_dir).split("test"), 8, 0, 3)
    with pytest.raises(ValueError, match="global_batch=8 cannot be divided among 3 ranks"):
        next(Loader(batches, 0, 1, CPU, LoaderConfig()))


def test_parts_of_a_batch_for_accumulation(digits_dir) -> None:
    batches = train_batches(PairStore(digits_dir).split("train"))
    batch = next(Loader(batches, 0, 1, CPU, LoaderConfig()))
    parts = batch.parts(3)
    assert [len(part.label) for part in parts] == [4, 4, 4]
    assert_same([Batch(*map(torch.cat, zip(*parts, strict=True)))], [batch])


@pytest.mark.parametrize("size", [1, 3, 7, 64])
def test_packed_arrays_do_not_overlap(volume_dir, size: int) -> None:
    reader = PairStore(volume_dir).split("train")
    layout = BatchLayout(reader.frames, reader.num_action_components, size)
    buffer = np.zeros(layout.num_bytes, np.uint8)
    records, valid = layout.as_records(buffer)
    arrays = [*records, valid]
    for number, array in enumerate(arrays, 1):
        array[...] = number
    for number, array in enumerate(arrays, 1):
        assert (array == number).all()
        assert array.ctypes.data % array.itemsize == 0
    for number, tensor in enumerate(layout.as_batch(torch.from_numpy(buffer)), 1):
        assert (tensor == number).all()


def test_source_for_workers_pickles_without_data(digits_dir) -> None:
    reader = PairStore(digits_dir).split("train")
    reader.read(np.arange(10))
    layout = BatchLayout(reader.frames, reader.num_action_components, 12)
    packed = pickle.dumps(StepSource(train_batches(reader), layout, 0, 0))
    assert len(packed) < 10_000


def test_a_read_takes_whole_steps_and_no_more_than_are_left(digits_dir) -> None:
    reader = PairStore(digits_dir).split("train")
    small, large = (train_batches(reader, batch=size) for size in (4, 400))
    assert steps_per_read(small) > steps_per_read(large) >= 1
    assert steps_per_read(small, 2) == 2
    assert steps_per_read(train_batches(reader, batch=2000)) == 1


def test_endless_loader_goes_on_past_the_epoch(volume_dir) -> None:
    batches = train_batches(PairStore(volume_dir).split("train"), batch=36)
    loader = Loader(batches, 0, None, CPU, LoaderConfig())
    seen = [next(loader).label.clone() for _ in range(100)]
    assert all(torch.equal(labels.sort().values, seen[0].sort().values) for labels in seen)
    assert len({tuple(labels.tolist()) for labels in seen}) == 100


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="num_workers=-1"):
        LoaderConfig(num_workers=-1)
    with pytest.raises(ValueError, match="prefetch=0"):
        LoaderConfig(prefetch=0)


@pytest.mark.gpu
@pytest.mark.parametrize("num_workers", [0, 1])
def test_loader_to_the_gpu_equals_a_naive_read(volume_dir, num_workers: int) -> None:
    """Counterpart on the CPU: test_loader_equals_a_naive_read."""
    reader = PairStore(volume_dir).split("train")
    batches = train_batches(reader, "online", batch=6)
    loader = Loader(batches, 2, 12, torch.device("cuda", 0), LoaderConfig(num_workers))
    for step, batch in enumerate(loader, 2):
        assert batch.source.device.type == "cuda"
        assert_is_records(copies([batch])[0], reader, batches.records(step))
