"""Protects the record format: what is written is what is read, by us and by plain h5py.

Shards must be bit-identical for any number of workers, contiguous so that they can be
mapped, and described by their own attributes; an episode store shares its frames.
"""

import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helpers.recipes import NUM_STEPS, VolumeRecipe, turned_push

from data_prep.building.builder import build_dataset
from data_prep.building.shard_writer import FrameSums, write_shard
from data_prep.verification.datasets import verify_dataset
from orbit import __version__
from orbit.core.groups import make_group
from orbit.core.store.manifest import FrameSpec, read_manifest
from orbit.core.store.reader import PairStore
from orbit.core.store.shard import Block, ShardLayout, map_shard

pytestmark = pytest.mark.usefixtures("starts_are_warm")

DATASETS = ("digits_dir", "volume_dir", "episode_dir")


@pytest.fixture(params=DATASETS)
def dataset_dir(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def naive_read(root: Path, split: str) -> dict[str, np.ndarray]:
    """Every record of a split through h5py, record by record."""
    lists: dict[str, list] = {"source": [], "target": [], "action": [], "label": []}
    for shard in read_manifest(root).splits[split].shards:
        with h5py.File(root / shard.file, "r") as file:
            for row in range(len(file["label"])):
                for name in ("source", "target"):
                    lists[name].append(file["frames"][file[name][row]])
                for name in ("action", "label"):
                    lists[name].append(file[name][row])
    return {name: np.stack(values) for name, values in lists.items()}


def test_reader_equals_a_naive_h5py_read(dataset_dir: Path) -> None:
    store = PairStore(dataset_dir)
    assert len(store.manifest.splits["train"].shards) > 1
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        reader, expected = store.split(split), naive_read(dataset_dir, split)
        assert reader.num_records == len(expected["label"])
        for numbers in (
            np.arange(reader.num_records),
            rng.integers(0, reader.num_records, 50),
            np.array([reader.num_records - 1, 0, 0]),
        ):
            records = reader.read(numbers)
            for name, values in expected.items():
                got = getattr(records, name)
                assert got.dtype == values.dtype
                assert got.tobytes() == values[numbers].tobytes()
                if name != "source" and name != "target":
                    assert np.array_equal(reader.read_column(name, numbers), values[numbers])


def test_large_frames_are_read_alike(tmp_path: Path) -> None:
    """Frames above a few KiB take another path through several shards."""
    recipe = VolumeRecipe(
        num_train=4,
        items_per_shard=2,
        frames=FrameSpec((2, 4, 24, 24), "float16", (-2.0, 2.0), (-1.0, 1.0)),
    )
    build_dataset(recipe, tmp_path / "out")
    numbers = np.random.default_rng(0).permutation(16)
    got = PairStore(tmp_path / "out").split("train").read(numbers)
    assert np.array_equal(got.target, naive_read(tmp_path / "out", "train")["target"][numbers])


def test_reading_beyond_the_end_is_an_error(dataset_dir: Path) -> None:
    reader = PairStore(dataset_dir).split("train")
    with pytest.raises(IndexError):
        reader.read(np.array([0, reader.num_records]))


def test_reader_pickles_after_use(dataset_dir: Path) -> None:
    reader = PairStore(dataset_dir).split("train")
    numbers = np.arange(0, reader.num_records, 3)
    before = reader.read(numbers)
    packed = pickle.dumps(reader)
    assert len(packed) < 5000  # no data travels
    after = pickle.loads(packed).read(numbers)
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_shards_are_contiguous_in_plain_h5py(dataset_dir: Path) -> None:
    for split in read_manifest(dataset_dir).splits.values():
        for shard in split.shards:
            path = dataset_dir / shard.file
            arrays = map_shard(path)
            with h5py.File(path, "r") as file:
                names: list[str] = []
                file.visit(names.append)
                found = [file[name] for name in names if isinstance(file[name], h5py.Dataset)]
                assert len(found) == len(arrays)
                for dataset in found:
                    assert dataset.chunks is None
                    assert dataset.compression is None
                    mapped = arrays[dataset.name.lstrip("/")]
                    assert np.array_equal(dataset[()], mapped)
                    assert not mapped.flags.writeable


def test_shards_and_manifest_describe_themselves(dataset_dir: Path) -> None:
    manifest = read_manifest(dataset_dir)
    raw = json.loads((dataset_dir / "manifest.json").read_text())
    assert raw["schema_version"] == 2
    assert raw["package_version"] == __version__
    assert {"unit", "meaning", "name"} <= set(raw["action"][0])
    for name, split in manifest.splits.items():
        for shard in split.shards:
            with h5py.File(dataset_dir / shard.file, "r") as file:
                about = dict(file.attrs)
                frames = dict(file["frames"].attrs)
                values = file["frames"][()].astype(np.float64)
                for column in manifest.columns:
                    assert file[f"columns/{column}"].attrs["meaning"]
            assert about["schema_version"] == 1
            assert (about["dataset"], about["group"], about["split"]) == (
                manifest.name,
                manifest.group,
                name,
            )
            assert about["package_version"] == __version__
            assert about["seed"] == manifest.seed
            assert json.loads(about["action"]) == raw["action"]
            assert json.loads(about["generator"]) == manifest.origin.flat()
            assert json.loads(about["source_checksums"]) == raw["source_checksums"]
            low, high = manifest.frames.stored_range
            assert tuple(frames["stored_range"]) == (low, high)
            loaded_low, loaded_high = frames["loaded_range"]
            loaded = (values - low) / (high - low) * (loaded_high - loaded_low) + loaded_low
            axes = (0, *range(2, values.ndim))
            assert np.allclose(frames["mean"], loaded.mean(axes), atol=1e-9)
            assert np.allclose(frames["std"], loaded.std(axes), atol=1e-9)


def test_statistics_of_a_split_are_those_of_its_frames(dataset_dir: Path) -> None:
    manifest = read_manifest(dataset_dir)
    low, high = manifest.frames.stored_range
    loaded_low, loaded_high = manifest.frames.loaded_range
    for split in manifest.splits.values():
        frames = np.concatenate([map_shard(dataset_dir / s.file)["frames"] for s in split.shards])
        loaded = (frames.astype(float) - low) / (high - low) * (loaded_high - loaded_low)
        loaded += loaded_low
        axes = (0, *range(2, frames.ndim))
        assert np.allclose(split.statistics.mean, loaded.mean(axes), atol=1e-9)
        assert np.allclose(split.statistics.std, loaded.std(axes), atol=1e-9)
        assert split.num_frames == len(frames)


def test_any_number_of_workers_writes_the_same_bytes(volume_dir: Path, tmp_path: Path) -> None:
    expected = (volume_dir / "manifest.json").read_bytes()  # written by one worker
    assert b"sha256" in expected
    for num_workers in (2, 3):
        out = tmp_path / str(num_workers)
        build_dataset(VolumeRecipe(), out, num_workers)
        assert (out / "manifest.json").read_bytes() == expected
        assert list(verify_dataset(out))


def test_digits_store_each_orbit_in_generation_order(digits_dir: Path) -> None:
    group = make_group("c4")
    store = PairStore(digits_dir)
    for split in ("train", "val", "test"):
        reader = store.split(split)
        assert reader.records_per_source == 4
        records = reader.read(np.arange(reader.num_records))
        assert np.array_equal(records.action[:, 0], np.arange(reader.num_records) % 4)
        turns = group.decode(torch.from_numpy(records.action))
        moved = group.act_on_image(torch.from_numpy(records.source), turns)
        assert np.array_equal(moved.numpy(), records.target)
        for shard in store.manifest.splits[split].shards:
            arrays = map_shard(digits_dir / shard.file)
            by_source = arrays["source"].reshape(-1, 4)
            assert (by_source == by_source[:, :1]).all()
            # An identity record points twice at one frame, and no frame is stored twice.
            assert np.array_equal(arrays["target"].reshape(-1, 4)[:, 0], by_source[:, 0])
            used = np.unique([arrays["source"], arrays["target"]])
            assert np.array_equal(used, np.arange(shard.num_frames))
            frames = arrays["frames"].reshape(shard.num_frames, -1)
            assert len(np.unique(frames, axis=0)) == shard.num_frames


def test_episodes_share_frames_between_consecutive_records(episode_dir: Path) -> None:
    manifest = read_manifest(episode_dir)
    for split in manifest.splits.values():
        assert split.records_per_source is None
        assert split.num_frames * NUM_STEPS == split.num_records * (NUM_STEPS + 1)
        for shard in split.shards:
            arrays = map_shard(episode_dir / shard.file)
            time, episode = arrays["columns/time"], arrays["columns/episode"]
            follows = np.flatnonzero(time[1:] > 0)
            assert np.array_equal(episode[follows], episode[follows + 1])
            assert np.array_equal(time[follows] + 1, time[follows + 1])
            assert np.array_equal(arrays["target"][follows], arrays["source"][follows + 1])
            assert len(np.unique([arrays["source"], arrays["target"]])) == shard.num_frames


def test_columns_lead_to_the_turned_twin(episode_dir: Path) -> None:
    """The twin's frames and action are the record's, turned by what the label says."""
    group = make_group("c4")
    manifest = read_manifest(episode_dir)
    assert set(manifest.columns) == {"episode", "time", "state", "twin"}
    assert len(manifest.action) == 2  # a world's action need not be the group's
    for shard in manifest.splits["train"].shards:
        arrays = map_shard(episode_dir / shard.file)
        twin = arrays["columns/twin"]
        assert np.array_equal(twin[twin], np.arange(shard.num_records))
        rows = np.flatnonzero(arrays["columns/episode"] % 2 == 0)
        turns = torch.from_numpy(arrays["label"][rows])
        for name in ("source", "target"):
            frames = torch.from_numpy(arrays["frames"][arrays[name][rows]])
            turned = arrays["frames"][arrays[name][twin[rows]]]
            assert np.array_equal(group.act_on_image(frames, turns).numpy(), turned)
        for row, k in zip(rows, turns.tolist(), strict=True):
            expected = turned_push(arrays["action"][row], k)
            assert np.array_equal(arrays["action"][twin[row]], expected)


def test_columns_are_read_by_name_across_shards(episode_dir: Path) -> None:
    reader = PairStore(episode_dir).split("train")
    numbers = np.random.default_rng(0).permutation(reader.num_records)
    episode, time = (reader.read_column(name, numbers) for name in ("episode", "time"))
    assert np.array_equal(episode * NUM_STEPS + time, numbers)
    assert reader.read_column("state", numbers).shape == (len(numbers), 2)
    with pytest.raises(ValueError, match=r"no column 'reward'.*episode"):
        reader.read_column("reward", numbers)


@pytest.mark.parametrize("name", ["volume_dir", "episode_dir"])
def test_synthetic_datasets_verify(name: str, request: pytest.FixtureRequest) -> None:
    lines = list(verify_dataset(request.getfixturevalue(name)))
    assert [line.split()[0] for line in lines] == ["train", "val", "test"]


LAYOUT = ShardLayout(FrameSpec((1, 2, 2), "float16", (0.0, 1.0), (0.0, 1.0)), 1, {}, 2, 1)


def make_block(**changes: np.ndarray) -> Block:
    parts = {
        "frames": np.zeros((2, 1, 2, 2), np.float16),
        "source": np.array([0]),
        "target": np.array([1]),
        "action": np.zeros((1, 1), np.float32),
        "label": np.array([0]),
        "columns": {},
    }
    return Block(**{**parts, **changes})


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"frames": np.full((2, 1, 2, 2), np.nan, np.float16)}, "outside"),
        ({"frames": np.full((2, 1, 2, 2), 2, np.float16)}, "outside"),
        ({"frames": np.zeros((2, 1, 2, 2), np.uint8)}, "uint8"),
        ({"frames": np.zeros((2, 1, 2, 3), np.float16)}, "shape"),
        ({"frames": np.zeros((1, 1, 2, 2), np.float16)}, "planned"),
        ({"action": np.full((1, 1), np.inf, np.float32)}, "not finite"),
        ({"action": np.zeros((1, 2), np.float32)}, "action has shape"),
        ({"target": np.array([2])}, "outside the shard"),
        ({"source": np.array([-1])}, "outside the shard"),
    ],
)
def test_wrong_blocks_are_refused_and_leave_nothing(changes, fault: str, tmp_path: Path) -> None:
    write_shard(tmp_path / "good.h5", LAYOUT, [make_block()], {})
    with pytest.raises(ValueError, match=fault):
        write_shard(tmp_path / "bad.h5", LAYOUT, [make_block(**changes)], {})
    assert [file.name for file in tmp_path.iterdir()] == ["good.h5"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda raw: raw.update(schema_version=3), "schema_version 3"),
        (lambda raw: raw.update(group="d4"), "changed after it was written"),
        (lambda raw: raw.pop("seed"), "missing key seed"),
        (lambda raw: raw["frames"].update(dtype="float64"), "float64"),
    ],
)
def test_altered_manifests_are_refused(change, fault: str, volume_dir, tmp_path: Path) -> None:
    raw = json.loads((volume_dir / "manifest.json").read_text())
    change(raw)
    (tmp_path / "manifest.json").write_text(json.dumps(raw))
    with pytest.raises(ValueError, match=fault):
        read_manifest(tmp_path)


def test_a_folder_without_manifest_is_not_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"manifest.json is missing"):
        PairStore(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such directory"):
        PairStore(tmp_path / "nowhere")


def small_sums(frames: np.ndarray) -> FrameSums:
    sums = FrameSums.zero(frames.shape[1])
    sums.add_frames(frames)
    return sums


@pytest.mark.parametrize("dtype", [np.uint8, np.float16])
@pytest.mark.parametrize("num_values", [2**17 - 8, 2**17, 2**17 + 8, 2**19])
def test_frames_of_any_size_are_counted(num_values: int, dtype: type) -> None:
    """Also those larger than the parts in which sums are taken."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 2, num_values // 8, 4)).astype(dtype)
    sums = small_sums(frames)
    assert sums.num_values == 3 * num_values // 2
    whole = frames.astype(np.float64)  # sums of whole numbers are exact in any order
    assert np.array_equal(sums.total, whole.sum((0, 2, 3)))
    assert np.array_equal(sums.total_squared, (whole**2).sum((0, 2, 3)))


def test_statistics_that_are_not_finite_are_refused() -> None:
    """A manifest never holds a number that JSON does not have."""
    frames = FrameSpec((1, 2, 2), "float16", (0.0, 1.0), (0.0, 1.0))
    with pytest.raises(ValueError, match="no frames"):
        FrameSums.zero(1).statistics(frames)
    with pytest.raises(ValueError, match="is not a finite number"):
        small_sums(np.full((1, 1, 2, 2), np.inf, np.float16)).statistics(frames)


@pytest.mark.parametrize(
    ("dtype", "stored", "loaded"),
    [
        ("uint8", (0.0, 0.0), (0.0, 1.0)),
        ("uint8", (0.0, 256.0), (0.0, 1.0)),
        ("float16", (0.0, 1e5), (0.0, 1.0)),
        ("float16", (0.0, float("nan")), (0.0, 1.0)),
        ("uint8", (0.0, 255.0), (0.0, float("inf"))),
        ("uint8", (0.0, 255.0), (1.0, 1.0)),
    ],
)
def test_ranges_that_no_frame_can_have_are_refused(dtype, stored, loaded) -> None:
    with pytest.raises(ValueError, match=r"_range \["):
        FrameSpec((1, 2, 2), dtype, stored, loaded)
