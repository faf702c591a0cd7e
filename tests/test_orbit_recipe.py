"""Protects which pairs are stored: splits, elements, blocks and composites, for any group.

What a record says (element, label, block, mask, background) must be what its two
frames show, in every way of pairing; nothing of a subject comes into two splits; input
that cannot be used leaves nothing behind.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.idx import write_mnist
from helpers.noise_images import NoiseSource, noise_recipe, orbit_config
from helpers.preparing import all_records, column, prepare, recipe_of
from hypothesis import given
from hypothesis import strategies as st

from data_prep.building.builder import build_dataset
from data_prep.building.recipe import BadInputError
from data_prep.recipes.orbits import Orbits
from data_prep.recipes.splits import assign_splits, proportions
from data_prep.scenes.kinds import PlainScene
from data_prep.verification.datasets import verify_dataset
from orbit.core.groups import make_group
from orbit.core.groups.interpolation import inscribed
from orbit.core.store.origin import Named
from orbit.core.store.reader import PairStore

pytestmark = pytest.mark.usefixtures("starts_are_warm")

SPLITS = ("train", "val", "test")


@pytest.mark.parametrize(
    ("group", "shape", "pairs", "num_drawn"),
    [
        ("c4", (1, 8, 8), "orbit", 1),
        ("c4", (3, 8, 8), "all_pairs", 1),
        ("c4", (1, 6, 6, 6), "drawn", 3),
        ("d4", (1, 7, 7), "all_pairs", 1),
        ("octahedral", (1, 5, 5, 5), "orbit", 1),
        ("octahedral", (2, 4, 4, 4), "all_pairs", 1),
        ("wrap2d:8:4", (1, 8, 8), "all_pairs", 1),
        ("c4+wrap:8:2", (1, 8, 8), "orbit", 1),
    ],
)
def test_exact_groups_move_sources_to_targets(
    group: str, shape: tuple[int, ...], pairs: str, num_drawn: int, tmp_path: Path
) -> None:
    values = {f"{split}_pairs": pairs for split in SPLITS}
    recipe = noise_recipe(NoiseSource(shape), group=group, num_drawn=num_drawn, **values)
    build_dataset(recipe, tmp_path / "out")
    assert len(list(verify_dataset(tmp_path / "out"))) == 3
    store, acting = PairStore(tmp_path / "out"), make_group(group)
    num = num_drawn if pairs == "drawn" else len(acting.elements())
    seen: list[int] = []
    for split in SPLITS:
        records = all_records(store, split)
        elements = acting.decode(torch.from_numpy(records.action))
        moved = acting.act_on_image(torch.from_numpy(records.source), elements)
        assert np.array_equal(moved.numpy(), records.target)
        reader = store.split(split)
        assert reader.records_per_source == num
        runs = column(store, split, "source").reshape(-1, num)
        assert (runs == runs[:, :1]).all()
        if pairs != "drawn":
            met = acting.element_index(elements).reshape(-1, num)
            assert torch.equal(met, torch.arange(num).expand_as(met))
        seen += np.unique(records.label).tolist()
    assert sorted(seen) == list(range(20))


@pytest.mark.parametrize(
    ("group", "shape"),
    [("so2", (1, 15, 15)), ("so3", (1, 9, 9, 9)), ("so2+shift:16:2", (1, 16, 16))],
)
def test_continuous_groups_are_drawn_and_verified(
    group: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    drawn = {f"{split}_pairs": "drawn" for split in SPLITS}
    recipe = noise_recipe(NoiseSource(shape), group=group, num_drawn=4, **drawn)
    build_dataset(recipe, tmp_path / "out")
    list(verify_dataset(tmp_path / "out"))
    records = all_records(PairStore(tmp_path / "out"), "train")
    assert len(np.unique(records.action, axis=0)) == len(records.action)
    outside = inscribed(shape[1:]) == 0
    assert outside.any()
    assert not records.source[:, :, outside].any()
    with pytest.raises(ValueError, match=r"train_pairs=orbit needs a finite group, not so"):
        noise_recipe(NoiseSource(shape), group=group)


def test_a_wrong_target_of_an_interpolating_group_is_found(tmp_path: Path) -> None:
    drawn = {f"{split}_pairs": "drawn" for split in SPLITS}
    recipe = noise_recipe(NoiseSource((1, 15, 15)), group="so2", num_drawn=2, **drawn)
    build_dataset(recipe, tmp_path / "out")
    shard = tmp_path / "out" / recipe.plans()[0].file
    import h5py

    with h5py.File(shard, "r+") as file:
        file["action"][1] = file["action"][0]
    with pytest.raises(ValueError, match=r"target, row 1 is not the action"):
        list(verify_dataset(tmp_path / "out"))


@pytest.mark.parametrize(("pairs", "num"), [("orbit", 2), ("all_pairs", 2), ("drawn", 3)])
def test_training_can_be_kept_from_elements(pairs: str, num: int, tmp_path: Path) -> None:
    values = {f"{split}_pairs": pairs for split in SPLITS}
    source = NoiseSource((1, 8, 8), 30)
    num_drawn = num if pairs == "drawn" else 1
    recipe = noise_recipe(source, train_bins=("0", "180"), num_drawn=num_drawn, **values)
    build_dataset(recipe, tmp_path / "out")
    list(verify_dataset(tmp_path / "out"))
    store = PairStore(tmp_path / "out")
    train, test = all_records(store, "train"), all_records(store, "test")
    assert set(train.action[:, 0].tolist()) == {0.0, 2.0}
    assert set(test.action[:, 0].tolist()) == {0.0, 1.0, 2.0, 3.0}
    assert store.split("train").records_per_source == num
    sources = len(np.unique(column(store, "train", "label"))) * (4 if pairs == "all_pairs" else 1)
    assert len(train.label) == num * sources


def test_drawn_angles_stay_in_their_range(tmp_path: Path) -> None:
    drawn = {f"{split}_pairs": "drawn" for split in SPLITS}
    near = ("0-45", "45-90")
    recipe = noise_recipe(
        NoiseSource((1, 9, 9), 60), group="so2", num_drawn=5, train_bins=near, **drawn
    )
    build_dataset(recipe, tmp_path / "out")
    group, store = make_group("so2"), PairStore(tmp_path / "out")
    angles = {}
    for split in ("train", "test"):
        g = group.decode(torch.from_numpy(all_records(store, split).action))
        angles[split] = group.distance(g, group.identity(len(g)).to(g.dtype))
    assert angles["train"].max() <= np.pi / 2 + 1e-6
    assert angles["train"].max() > 1.4
    assert angles["test"].max() > 2.5
    for bins, message in (
        ((), "not allowed"),
        (("90",), "so2 has identity, 0-45"),
        (("identity",), "leaves no element to draw"),
    ):
        with pytest.raises(ValueError, match=message):
            noise_recipe(NoiseSource((1, 9, 9)), group="so2", train_bins=bins, **drawn)


@given(
    subjects=st.lists(st.integers(0, 12), min_size=30, max_size=60),
    seed=st.integers(0, 100),
)
def test_a_subject_comes_into_one_split_only(subjects: list[int], seed: int) -> None:
    known = np.array([*subjects, *range(13)])
    splits = assign_splits({"all": len(known)}, lambda part: known, orbit_config(), seed, None)
    positions = np.concatenate([chosen for _, chosen in splits.values()])
    assert sorted(positions.tolist()) == list(range(len(known)))
    members = [set(known[chosen].tolist()) for _, chosen in splits.values()]
    assert not members[0] & members[1]
    assert not members[0] & members[2]
    assert not members[1] & members[2]
    assert [len(names) for names in members] == [13 - 3 - 3, 3, 3]


def test_a_source_s_own_splits_are_kept_and_checked() -> None:
    parts = {"train": 6, "val": 2, "test": 3}
    config = orbit_config(val_fraction=None, test_fraction=None)
    splits = assign_splits(parts, lambda part: None, config, 0, None)
    assert {name: (part, len(chosen)) for name, (part, chosen) in splits.items()} == {
        name: (name, num) for name, num in parts.items()
    }
    with pytest.raises(ValueError, match="val_fraction must be null for a source with a valid"):
        assign_splits(parts, lambda part: None, orbit_config(test_fraction=None), 0, None)
    with pytest.raises(ValueError, match="subject 0 is in the train and val splits"):
        assign_splits(parts, lambda part: np.arange(parts[part]), config, 0, None)


@pytest.mark.parametrize("pairs", ["orbit", "all_pairs"])
def test_the_block_stays_where_it_is(pairs: str, tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist")
    root = f"source.root={tmp_path / 'mnist'}"
    words = ("dataset=rotated_blocked_mnist", root, f"dataset.train_pairs={pairs}")
    blocked = prepare(tmp_path / "blocked", *words)
    plain = prepare(
        tmp_path / "plain", "dataset=rotated_mnist", root, f"dataset.train_pairs={pairs}"
    )
    for split in SPLITS:
        with_block, without = all_records(blocked, split), all_records(plain, split)
        places = column(blocked, split, "block")
        assert np.array_equal(with_block.action, without.action)
        assert (places >= 0).all()
        assert (places <= 21).all()
        for frames, bare in zip(with_block[:2], without[:2], strict=True):
            expected = bare.copy()
            for image, (row, col) in zip(expected, places, strict=True):
                image[:, row : row + 7, col : col + 7] = 255
            assert np.array_equal(frames, expected)
    assert all("pairs recomputed" in line for line in verify_dataset(blocked.root))
    manifest = blocked.manifest
    assert manifest.columns["block"].shape == (2,)
    assert not manifest.target_is_action_on_source


def test_blocks_fall_everywhere_inside_the_image(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist", num_train=3000)
    words = ("dataset=rotated_blocked_mnist", f"source.root={tmp_path / 'mnist'}")
    places = column(prepare(tmp_path / "out", *words), "train", "block")[::4]
    assert len(places) == 2400
    for axis in (0, 1):
        counts = np.bincount(places[:, axis], minlength=22)
        expected = len(places) / 22
        assert len(counts) == 22
        assert ((counts - expected) ** 2 / expected).sum() < 46.8  # 21 degrees, p = 0.001


@pytest.mark.parametrize("pairs", ["orbit", "all_pairs", "drawn"])
def test_masks_and_backgrounds_are_those_of_the_frames(pairs: str, tmp_path: Path) -> None:
    """Where there is no object the background shows; the mask turns with the object."""
    words = [f"dataset.{split}_pairs={pairs}" for split in SPLITS]
    store = prepare(tmp_path / "out", "dataset=planes", "source.size=24", "num_samples=12", *words)
    assert all("objects recomputed" in line for line in verify_dataset(store.root))
    group = make_group("c4")
    for split in SPLITS:
        records = all_records(store, split)
        background = column(store, split, "background")
        masks = {end: column(store, split, f"{end}_mask") for end in ("source", "target")}
        for end, frames in (("source", records.source), ("target", records.target)):
            clear = np.broadcast_to(masks[end] == 0, frames.shape)
            assert clear.any()
            assert not clear.all()
            assert np.array_equal(frames[clear], background[clear])
            assert (frames != background).any(axis=(1, 2, 3)).all()
        g = group.decode(torch.from_numpy(records.action))
        turned = group.act_on_image(torch.from_numpy(masks["source"]), g).numpy()
        assert np.abs(turned.astype(int) - masks["target"]).max() <= 1


@pytest.mark.parametrize(("dataset", "value"), [("rotated_blocked_mnist", 90), ("planes", 0)])
def test_a_frame_that_is_not_the_scene_s_is_found(dataset: str, value: int, tmp_path: Path) -> None:
    """One pixel of a target changed, beside the block or the object."""
    write_mnist(tmp_path / "mnist")
    given = {
        "planes": ["source.size=16", "num_samples=12"],
        "rotated_blocked_mnist": [f"source.root={tmp_path / 'mnist'}"],
    }
    store = prepare(tmp_path / "out", f"dataset={dataset}", *given[dataset])
    import h5py

    with h5py.File(tmp_path / "out" / "train" / "shard_00000.h5", "r+") as file:
        frame = file["frames"][file["target"][3]]
        if dataset == "planes":
            row, col = np.argwhere(file["columns/target_mask"][3][0] == 0)[0]
        else:
            block = file["columns/block"][3]
            row, col = (0, 0) if block.min() > 7 else (27, 27)
            if block.max() > 13 and block.min() <= 7:
                row, col = 14, 14
        frame[0, row, col] ^= 1
        file["frames"][file["target"][3]] = frame
    with pytest.raises(ValueError, match=r"is not the action applied to its source"):
        list(verify_dataset(store.root))


def test_frames_do_not_depend_on_workers_or_shards(tmp_path: Path) -> None:
    words = ("dataset=planes", "source.size=16", "num_samples=20", "dataset.train_pairs=orbit")
    one = prepare(tmp_path / "one", *words)
    many = prepare(tmp_path / "many", *words, "dataset.shard_mib=0.05", num_workers=2)
    assert len(many.manifest.splits["train"].shards) > 1
    for split in SPLITS:
        for left, right in zip(all_records(one, split), all_records(many, split), strict=True):
            assert np.array_equal(left, right)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_unusable_input_leaves_nothing(num_workers: int, tmp_path: Path) -> None:
    recipe = noise_recipe(NoiseSource((1, 16, 16), broken=7))
    out = tmp_path / "out"
    if num_workers == 1:
        with pytest.raises(BadInputError, match="number 7 cannot be read"):
            build_dataset(recipe, out)
        assert not out.exists()
    out.mkdir(exist_ok=True)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(BadInputError, match="number 7 cannot be read"):
        build_dataset(recipe, out, num_workers)
    left = [path.name for path in out.iterdir() if not path.name.startswith(".")]
    assert left == ["notes.txt"]
    assert not (out / ".building").exists()


def test_sources_and_scenes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"scene.name=plain cannot show source=generated"):
        recipe_of("dataset=planes", f"out={tmp_path}", "dataset.scene.name=plain")
    with pytest.raises(ValueError, match=r"num_drawn=3 has no effect"):
        recipe_of("dataset=rotated_digits", f"out={tmp_path}", "dataset.num_drawn=3")
    with pytest.raises(ValueError, match=r"unknown group"):
        recipe_of("dataset=rotated_digits", f"out={tmp_path}", "dataset.group=c5")
    with pytest.raises(ValueError, match=r"blocked paints a block on images"):
        recipe_of("dataset=brain_mri", f"out={tmp_path}", "dataset.scene.name=blocked")


def test_a_disc_reaches_from_the_middle_to_the_edge() -> None:
    assert inscribed((3, 3)).tolist() == [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    assert inscribed((5, 5), margin=1).tolist()[0] == [0] * 5
    assert inscribed((4, 4, 4)).sum() == 8
    assert inscribed((15, 15)).sum() == 149  # Gauss's circle of radius 7.


def test_shifted_content_stays_in_the_frame(tmp_path: Path) -> None:
    """There and back again loses nothing of a smooth image, whatever was drawn."""
    drawn = {f"{split}_pairs": "drawn" for split in SPLITS}
    recipe = noise_recipe(NoiseSource((1, 24, 24)), group="so2+shift:24:3", num_drawn=4, **drawn)
    build_dataset(recipe, tmp_path / "out")
    records = all_records(PairStore(tmp_path / "out"), "train")
    total = records.target.reshape(len(records.target), -1).sum(1, dtype=np.float64)
    kept = total / records.source.reshape(len(records.source), -1).sum(1, dtype=np.float64)
    assert np.abs(kept - 1).max() < 0.03


@pytest.mark.parametrize("group", ["c4", "d4"])
def test_every_record_of_all_pairs_has_its_image_s_label(group: str, tmp_path: Path) -> None:
    pairs = {f"{split}_pairs": "all_pairs" for split in SPLITS}
    recipe = noise_recipe(NoiseSource((1, 8, 8)), group=group, **pairs)
    build_dataset(recipe, tmp_path / "out")
    acting = make_group(group)
    orbits = {}
    for number in range(20):
        image = np.random.default_rng([5, number]).integers(0, 256, (1, 8, 8), np.uint8)
        turned = acting.act_on_image(
            torch.from_numpy(image).expand(acting.num_elements, 1, 8, 8), acting.elements()
        )
        orbits |= {frame.tobytes(): number for frame in turned.numpy()}
    for split in SPLITS:
        records = all_records(PairStore(tmp_path / "out"), split)
        assert [orbits[frame.tobytes()] for frame in records.source] == records.label.tolist()
        assert [orbits[frame.tobytes()] for frame in records.target] == records.label.tolist()


def test_draws_differ_between_splits_and_seeds(tmp_path: Path) -> None:
    """Elements of the same positions in two splits, or under two seeds, have nothing in common."""
    drawn = {f"{split}_pairs": "drawn" for split in SPLITS}
    source = NoiseSource((1, 15, 15), 90)
    config = orbit_config(group="so2", num_drawn=1, val_fraction=0.3, test_fraction=0.3, **drawn)
    scene = PlainScene(source, "so2")
    actions = []
    for seed in (0, 1):
        splits = assign_splits(scene.num_images, scene.subjects, config, 0, None)
        recipe = Orbits(config, scene, splits, seed, None, Named("noise"))
        build_dataset(recipe, tmp_path / str(seed))
        store = PairStore(tmp_path / str(seed))
        actions += [all_records(store, split).action[:20] for split in ("val", "test")]
    for one in range(4):
        for other in range(one):
            assert not np.isclose(actions[one], actions[other], atol=1e-3).all(1).any()


def test_blocks_differ_between_parts_and_seeds(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist", num_train=50, num_test=50)
    words = ("dataset=rotated_blocked_mnist", f"source.root={tmp_path / 'mnist'}")
    places = []
    for seed in (0, 1):
        store = prepare(tmp_path / str(seed), *words, f"seed={seed}", "dataset.val_pairs=orbit")
        test = column(store, "test", "block")[::4]
        train = np.concatenate([column(store, split, "block")[::4] for split in ("train", "val")])
        places += [test, train]
        assert len(test) == len(train) == 50
    assert not np.array_equal(places[0], places[2])
    assert sorted(map(tuple, places[1].tolist())) != sorted(map(tuple, places[3].tolist()))
    assert sorted(map(tuple, places[0].tolist())) != sorted(map(tuple, places[1].tolist()))


@given(sizes=st.lists(st.integers(1, 500), min_size=3, max_size=3), share=st.floats(0, 1))
def test_num_samples_is_met_exactly(sizes: list[int], share: float) -> None:
    total = max(3, round(share * sum(sizes)))
    parts = proportions(sizes, total)
    assert sum(parts) == total
    assert all(1 <= part <= size for part, size in zip(parts, sizes, strict=True))
    assert all(
        abs(part - size * total / sum(sizes)) < 2 for part, size in zip(parts, sizes, strict=True)
    )


def test_a_continued_build_keeps_its_shards_when_input_goes_bad(tmp_path: Path) -> None:
    out = tmp_path / "out"
    good = noise_recipe(NoiseSource((1, 16, 16)))

    def stop(plan: object) -> None:
        raise OSError("stopped")

    with pytest.raises(OSError, match="stopped"):
        build_dataset(good, out, on_shard=stop)
    finished = list(out.glob("train/*.h5"))
    assert finished
    last = int(good._splits["test"][1][-1])
    with pytest.raises(BadInputError):
        build_dataset(noise_recipe(NoiseSource((1, 16, 16), broken=last)), out)
    assert list(out.glob("train/*.h5"))[: len(finished)] == finished
    build_dataset(good, out)
    list(verify_dataset(out))


def test_groups_too_large_for_all_pairs_are_refused() -> None:
    pairs = {f"{split}_pairs": "all_pairs" for split in SPLITS}
    with pytest.raises(ValueError, match="would make 256 x 256 records of every image"):
        noise_recipe(NoiseSource((1, 16, 16)), group="c4+wrap:16:2", **pairs)


def test_binary_shapes_stay_binary_under_interpolation(tmp_path: Path) -> None:
    class Shapes(NoiseSource):
        is_binary = True

        def read(self, part: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            boxes = np.zeros((len(indices), 1, 12, 12, 12), np.uint8)
            boxes[:, :, 3:8, 4:9, 2:7] = 255
            return boxes, indices.astype(np.int64)

    drawn = {f"{split}_pairs": "drawn" for split in SPLITS}
    recipe = noise_recipe(Shapes((1, 12, 12, 12)), group="so3", num_drawn=3, **drawn)
    build_dataset(recipe, tmp_path / "out")
    list(verify_dataset(tmp_path / "out"))
    store = PairStore(tmp_path / "out")
    records = all_records(store, "train")
    assert store.manifest.frames.values == "binary"
    assert set(np.unique(records.target).tolist()) == {0, 255}
    volume = (records.target > 0).reshape(len(records.target), -1).sum(1)
    assert np.abs(volume / 125 - 1).max() < 0.25
    import h5py

    with h5py.File(tmp_path / "out" / recipe.plans()[0].file, "r+") as file:
        file["action"][1] = file["action"][0]
    with pytest.raises(ValueError, match="row 1 is not the action"):
        list(verify_dataset(tmp_path / "out"))


def test_an_object_that_was_not_moved_is_found(tmp_path: Path) -> None:
    store = prepare(tmp_path / "out", "dataset=planes", "source.size=24", "num_samples=12")
    import h5py

    with h5py.File(tmp_path / "out" / "train" / "shard_00000.h5", "r+") as file:
        frame, mask = file["frames"][file["target"][3]], file["columns/target_mask"][3]
        file["frames"][file["target"][3]] = np.where(mask == 255, 7, frame)
    with pytest.raises(ValueError, match="row 3 is not the action"):
        list(verify_dataset(store.root))


def test_three_images_make_three_splits() -> None:
    splits = assign_splits({"all": 3}, lambda part: None, orbit_config(val_fraction=0.1), 0, None)
    assert [len(chosen) for _, chosen in splits.values()] == [1, 1, 1]
    two = np.arange(9) % 2
    with pytest.raises(ValueError, match=r"holds 9 images of 2 subjects, which stay whole"):
        assign_splits({"all": 9}, lambda part: two, orbit_config(), 0, None)


def test_what_is_written_lies_apart_from_what_is_read(tmp_path: Path) -> None:
    for out, root in (("a", "a"), ("a/b", "a"), ("a", "a/b"), ("a", "a/../a/b")):
        (tmp_path / root).mkdir(parents=True, exist_ok=True)
        words = [f"out={tmp_path / out}", f"source.root={tmp_path / root}"]
        with pytest.raises(ValueError, match="must not contain one another"):
            recipe_of("dataset=image_folder", *words)
