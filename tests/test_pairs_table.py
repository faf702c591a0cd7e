"""Protects datasets of a user's own pairs, from CSV and npz.

Every row becomes the record it says, frames that rows share are stored once a shard and
never come into two splits, exact targets are checked, and a fault is one line with the row.
"""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_prep.building.builder import build_dataset
from data_prep.recipes.pairs_table import PairsTable
from data_prep.settings import TableDatasetConfig
from data_prep.settings.sources import TableSourceConfig
from data_prep.verification.datasets import verify_dataset
from orbit.core.groups import make_group
from orbit.core.reading.pairs import first_shared_frame, read_npz_pairs
from orbit.core.reading.pairs_csv import read_csv_pairs
from orbit.core.store.manifest import SPLITS
from orbit.core.store.reader import PairStore

SIDE = 6
FIFTHS = {"val_fraction": 0.2, "test_fraction": 0.2}


def recipe(path: Path, num_samples: int | None = None, seed: int = 0, **changed: Any) -> PairsTable:
    settings = {
        "kind": "table",
        "name": "pairs",
        "group": "c4",
        "val_fraction": None,
        "test_fraction": None,
        "targets_are_exact": False,
        "shard_mib": 64.0,
    }
    config = TableDatasetConfig(**(settings | changed))
    return PairsTable(config, TableSourceConfig("table", str(path)), seed, num_samples)


def image(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (SIDE, SIDE), np.uint8)


def write_csv(root: Path, rows: list[str], header: str = "source,target,quarter_turns") -> Path:
    path = root / "pairs.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def write_orbits(root: Path, num: int = 10, label: str = "", split: str = "") -> Path:
    """Each of `num` images as source of its four turns; 4 num files, 4 num rows."""
    rows = []
    for number in range(num):
        for turns in range(4):
            turned = np.rot90(image(number), turns)
            Image.fromarray(turned).save(root / f"i{number}_{turns}.png")
            rows.append(f"i{number}_0.png,i{number}_{turns}.png,{turns}{label}{split}")
    return write_csv(root, rows)


def records(table: PairsTable, split: str) -> list[tuple[bytes, bytes, tuple[float, ...], int]]:
    """Source, target, action and label of each record of a split, from the blocks themselves."""
    found = []
    for plan in table.plans():
        if plan.split != split:
            continue
        blocks = list(table.blocks(plan))
        frames = np.concatenate([block.frames for block in blocks])
        assert len(frames) == plan.layout.num_frames
        assert sum(len(block.label) for block in blocks) == plan.layout.num_records
        for block in blocks:
            for row in range(len(block.label)):
                found.append(
                    (
                        frames[block.source[row]].tobytes(),
                        frames[block.target[row]].tobytes(),
                        tuple(block.action[row].tolist()),
                        int(block.label[row]),
                    )
                )
    return found


@given(
    st.lists(st.tuples(*[st.integers(0, 6)] * 3, st.integers(0, 3)), min_size=3, max_size=40),
    st.integers(1, 8),
)
def test_every_row_is_its_record_whatever_the_shards(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, ...]], shard_frames: int
) -> None:
    root = tmp_path_factory.mktemp("table")
    for number in range(11):
        np.save(root / f"{number}.npy", image(number))
    lines = [f"{a}.npy,./{b}.npy,{g},{label},train" for a, b, label, g in rows]
    lines += ["7.npy,8.npy,0,0,val", "9.npy,10.npy,1,0,test"]
    header = "source,target,quarter_turns,label,split"
    table = recipe(write_csv(root, lines, header), shard_mib=shard_frames * SIDE**2 / 2**20)
    expected = [
        (image(a).tobytes(), image(b).tobytes(), (float(g),), label) for a, b, label, g in rows
    ]
    assert records(table, "train") == expected
    for plan in table.plans():
        assert plan.layout.num_frames <= max(2, shard_frames)
        assert plan.records_per_source is None


def test_a_frame_that_rows_share_is_stored_once_in_a_shard(tmp_path: Path) -> None:
    table = recipe(write_orbits(tmp_path))
    for plan in table.plans():
        assert plan.layout.num_frames == plan.layout.num_records


@given(st.integers(0, 100))
def test_rows_that_share_a_frame_share_a_split(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    root = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(seed)
    for number in range(60):
        np.save(root / f"{number}.npy", np.full((4, 4), number, np.uint8))
    links = rng.integers(0, 60, (30, 2))
    path = write_csv(root, [f"{a}.npy,{b}.npy,0" for a, b in links])
    table = recipe(path, seed=seed)
    used = [{frame for r in records(table, split) for frame in r[:2]} for split in SPLITS]
    assert all(used)
    assert not used[0] & used[1] | used[0] & used[2] | used[1] & used[2]
    assert sum(len(records(table, split)) for split in SPLITS) == 30


def test_drawn_splits_follow_the_fractions_and_the_seed(tmp_path: Path) -> None:
    path = write_orbits(tmp_path, 20)
    table = recipe(path, **FIFTHS)
    counts = [len(records(table, split)) for split in SPLITS]
    assert counts == [48, 16, 16]
    assert records(recipe(path, **FIFTHS), "val") == records(table, "val")
    assert records(recipe(path, seed=1, **FIFTHS), "val") != records(table, "val")


def test_fractions_that_are_not_given_are_15_percent(tmp_path: Path) -> None:
    path = write_orbits(tmp_path, 20)
    assert [len(records(recipe(path), split)) for split in SPLITS] == [56, 12, 12]
    table = recipe(path, val_fraction=0.3)
    assert [len(records(table, split)) for split in SPLITS] == [44, 24, 12]


@pytest.mark.parametrize("given", [{"val_fraction": 0.2}, {"test_fraction": 0.2}, FIFTHS])
def test_fractions_beside_a_column_split_are_refused(tmp_path: Path, given: Any) -> None:
    """They would have no effect."""
    np.savez(tmp_path / "a.npz", **arrays())
    with pytest.raises(ValueError, match=r"a\.npz has a column split: dataset\.val_fraction and"):
        recipe(tmp_path / "a.npz", **given)


def test_the_first_frame_in_two_splits_is_found(tmp_path: Path) -> None:
    for number in range(6):
        np.save(tmp_path / f"{number}.npy", image(number))
    rows = ["0.npy,1.npy,0", "2.npy,3.npy,0", "1.npy,1.npy,0", "4.npy,./0.npy,0", "5.npy,3.npy,0"]
    pairs = read_csv_pairs(write_csv(tmp_path, rows), "c4")
    for split, expected in (
        ((0, 1, 0, 0, 1), None),
        ((0, 0, 0, 0, 0), None),
        ((0, 1, 0, 0, 2), (1, 4)),
        ((0, 1, 0, 2, 2), (0, 3)),
        ((0, 1, 1, 2, 1), (0, 2)),
    ):
        assert first_shared_frame(pairs, np.array(split)) == expected


@given(st.lists(st.tuples(*[st.integers(0, 5)] * 2, st.integers(0, 2)), min_size=1, max_size=12))
def test_shared_frames_are_those_of_every_two_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, ...]]
) -> None:
    root = tmp_path_factory.mktemp("table")
    for number in range(6):
        np.save(root / f"{number}.npy", image(number))
    path = write_csv(root, [f"{a}.npy,{b}.npy,0" for a, b, _ in rows])
    split = np.array([row[2] for row in rows])
    clashes = {
        (first, second)
        for second in range(len(rows))
        for first in range(second)
        if split[first] != split[second] and set(rows[first][:2]) & set(rows[second][:2])
    }
    found = first_shared_frame(read_csv_pairs(path, "c4"), split)
    assert (found is None) == (not clashes)
    assert found is None or (found in clashes and found[1] == min(second for _, second in clashes))


def test_rows_of_an_npz_share_no_frame(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays(target=arrays()["source"]))
    pairs = read_npz_pairs(tmp_path / "a.npz", "c4")
    assert first_shared_frame(pairs, pairs.split) is None


def test_num_samples_keeps_the_first_rows_of_each_split(tmp_path: Path) -> None:
    path = write_orbits(tmp_path, 20)
    whole, part = recipe(path, **FIFTHS), recipe(path, 20, **FIFTHS)
    for split, num in zip(SPLITS, (12, 4, 4), strict=True):
        assert records(part, split) == records(whole, split)[:num]
    with pytest.raises(ValueError, match=r"num_samples=81, but .*pairs\.csv has 80 pairs"):
        recipe(path, 81, **FIFTHS)


def test_built_dataset_verifies_and_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = write_orbits(tmp_path / "in", 12)
    table = recipe(path, targets_are_exact=True, shard_mib=0.0005)
    table = pickle.loads(pickle.dumps(table))
    out = tmp_path / "out"
    manifest = build_dataset(table, out)
    assert manifest.target_is_action_on_source
    assert len(manifest.splits["train"].shards) > 1
    assert manifest.source_checksums.keys() >= {"pairs.csv", "i0_0.png", "i11_3.png"}
    assert len(list(verify_dataset(out))) == 3
    reader = PairStore(out).split("train")
    read = reader.read(np.arange(reader.num_records))
    turned = make_group("c4").act_on_image(
        torch.from_numpy(np.asarray(read.source)), torch.from_numpy(read.action[:, 0]).long()
    )
    np.testing.assert_array_equal(turned.numpy(), read.target)


def test_many_files_fit_into_the_attributes_of_a_shard(tmp_path: Path) -> None:
    """Checksums of all files take more than the 64 KiB of a compact attribute."""
    (tmp_path / "in").mkdir()
    for number in range(1200):
        np.save(tmp_path / "in" / f"frame{number:04d}.npy", np.zeros((2, 2), np.uint8))
    rows = [f"frame{n:04d}.npy,frame{n + 1:04d}.npy,0" for n in range(0, 1200, 2)]
    build_dataset(recipe(write_csv(tmp_path / "in", rows)), tmp_path / "out")
    assert PairStore(tmp_path / "out").split("train").num_records == 420


def test_wrong_exact_targets_are_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = write_orbits(tmp_path / "in")
    Image.fromarray(image(99)).save(tmp_path / "in" / "i3_2.png")
    recipe(path)
    with pytest.raises(
        ValueError, match=r"pairs\.csv, line 16: the target is not the action of c4"
    ):
        build_dataset(recipe(path, targets_are_exact=True), tmp_path / "out")


def test_interpolated_targets_may_differ_by_rounding(tmp_path: Path) -> None:
    group, rng = make_group("so2"), np.random.default_rng(0)
    smooth = np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8) * 8
    source = np.stack([smooth] * 12)[:, None]
    g = group.sample(rng, 12)
    target = group.act_on_image(torch.from_numpy(source).float(), g).numpy()
    arrays = {"source": source, "action": group.encode(g).numpy()}
    settings = {"group": "so2", "targets_are_exact": True}
    np.savez(tmp_path / "a.npz", target=target.clip(0, 255).round().astype(np.uint8), **arrays)
    assert len(records(recipe(tmp_path / "a.npz", **settings), "train")) > 0
    np.savez(tmp_path / "b.npz", target=source, **arrays)
    with pytest.raises(ValueError, match="the target is not the action of so2"):
        records(recipe(tmp_path / "b.npz", **settings), "train")


def test_quaternions_are_stored_as_the_group_writes_them(tmp_path: Path) -> None:
    volumes = np.zeros((6, 8, 8, 8), np.uint8)
    action = np.array([[-0.5, -0.5, -0.5, -0.5]] * 6) * 0.99
    np.savez(tmp_path / "a.npz", source=volumes, target=volumes, action=action)
    table = recipe(tmp_path / "a.npz", group="so3")
    assert table.frames.shape == (1, 8, 8, 8)
    np.testing.assert_allclose(records(table, "train")[0][2], [0.5] * 4, atol=1e-6)


def test_text_labels_become_numbers_and_integers_stay(tmp_path: Path) -> None:
    for number in range(6):
        np.save(tmp_path / f"{number}.npy", image(number))
    header = "source,target,quarter_turns,label,split"
    splits = ("train", "val", "test")
    names = [f"{n}.npy,{n}.npy,0,{('dog', 'cat')[n % 2]},{splits[n // 2]}" for n in range(6)]
    table = recipe(write_csv(tmp_path, names, header))
    assert [r[3] for split in SPLITS for r in records(table, split)] == [1, 0] * 3
    assert table.label_meaning == "label of the table: 0 cat, 1 dog"
    numbers = [f"{n}.npy,{n}.npy,0,{n * 7},{splits[n // 2]}" for n in range(6)]
    table = recipe(write_csv(tmp_path, numbers, header))
    assert [r[3] for split in SPLITS for r in records(table, split)] == [0, 7, 14, 21, 28, 35]


@pytest.mark.parametrize(
    ("labels", "fault"),
    [
        (("3", "", "5"), "pairs.csv, line 3 has no label"),
        (("cat", "dog", " "), "pairs.csv, line 4 has no label"),
        (("1", "2", str(2**63)), f"pairs.csv, line 4: label {2**63} does not fit into 64 bits"),
        ((str(-(2**63) - 1), "2", "3"), "pairs.csv, line 2: label -9223372036854775809 does not"),
    ],
)
def test_labels_of_a_csv_that_cannot_be_kept(
    tmp_path: Path, labels: tuple[str, ...], fault: str
) -> None:
    """A blank cell would make names of numbers, and shift every label."""
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", image(number))
    rows = [f"{n}.npy,{n}.npy,0,{label}" for n, label in enumerate(labels)]
    with pytest.raises(ValueError, match=fault):
        recipe(write_csv(tmp_path, rows, "source,target,quarter_turns,label"))


def arrays(**changed: Any) -> dict[str, Any]:
    source = np.stack([image(number) for number in range(6)])
    target = np.stack([np.rot90(frame) for frame in source])
    split = np.array(["train", "train", "val", "val", "test", "test"])
    base = {"source": source, "target": target, "action": np.ones((6, 1)), "split": split}
    kept: dict[str, Any] = {**base, "label": np.arange(6), **changed}
    return {name: value for name, value in kept.items() if value is not None}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((6, 6, 6), (1, 6, 6)),
        ((6, 1, 6, 6), (1, 6, 6)),
        ((6, 3, 6, 6), (3, 6, 6)),
        ((6, 6, 6, 6), (1, 6, 6, 6)),
        ((6, 1, 6, 6, 6), (1, 6, 6, 6)),
    ],
)
def test_npz_shapes(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.savez(tmp_path / "a.npz", **arrays(source=values, target=255 - values))
    table = recipe(tmp_path / "a.npz")
    assert table.frames.shape == expected
    for split, first in zip(SPLITS, (0, 2, 4), strict=True):
        for row, record in enumerate(records(table, split), start=first):
            action, label = (1.0,), row
            assert record == (values[row].tobytes(), (255 - values[row]).tobytes(), action, label)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"action": None}, "has no array action"),
        ({"labels": np.arange(6)}, "unknown array 'labels'"),
        ({"source": np.zeros((6, 6, 6))}, "source holds float64, not uint8"),
        ({"target": np.zeros((6, 5, 5), np.uint8)}, "target has shape (6, 5, 5)"),
        ({"action": np.ones(6)}, "action is float64 of shape (6,)"),
        ({"action": np.array([[0], [1], [2], [3], [4], [0]])}, "row 4: quarter_turns=4 is not"),
        ({"action": np.full((6, 1), 1.5)}, "row 0: action (1.5) is not an element of the group c4"),
        ({"action": np.full((6, 1), np.nan)}, "row 0: quarter_turns=nan is not within"),
        ({"label": np.arange(5)}, "label is int64 of shape (5,)"),
        ({"split": np.array(["train"] * 5 + ["dev"])}, "row 5: split 'dev' is none of train, val"),
        ({"split": np.array(["train"] * 6)}, "the val split would be empty: no row"),
        ({"label": np.array([{}] * 6, object)}, "it holds Python objects; it must hold arrays"),
        ({"label": np.array(["a"] * 5 + [""])}, "row 5 has no label"),
        ({"label": np.array([2**63] * 6, np.uint64)}, "row 0: label 9223372036854775808 does not"),
        ({"source": np.zeros((0, 6, 6), np.uint8)}, "has no rows"),
    ],
)
def test_faulty_npz_is_one_line(tmp_path: Path, changed: dict[str, Any], fault: str) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays(**changed))
    with pytest.raises(ValueError) as error:
        recipe(path)
    assert fault in str(error.value)
    assert str(path) in str(error.value)
    assert "pickle" not in str(error.value)
    assert "\n" not in str(error.value)


def test_an_npz_of_another_kind_of_file_is_one_line(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("source", "text")
    with pytest.raises(ValueError, match=r"a\.npz: source is not an array"):
        recipe(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 not an archive", b"text", pickle.dumps({"source": 1})]
)
def test_npz_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"a\.npz is not a readable npz file: it is not a complete"
    ):
        recipe(path)


def header(text: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        path = root / "pairs.csv"
        path.write_text(path.read_text().replace("source,target,quarter_turns", text))

    return spoil


def line(number: int, text: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        path = root / "pairs.csv"
        lines = path.read_text().splitlines()
        lines[number - 1] = text
        path.write_text("\n".join(lines))

    return spoil


def no_rows(root: Path) -> None:
    write_csv(root, [])


def nothing(root: Path) -> None:
    (root / "pairs.csv").write_text("")


def missing(root: Path) -> None:
    (root / "i2_1.png").unlink()


def larger(root: Path) -> None:
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(root / "i2_1.png")


def no_picture(root: Path) -> None:
    (root / "i2_1.png").write_text("text")


def floats(root: Path) -> None:
    np.save(root / "x.npy", np.zeros((SIDE, SIDE)))
    line(4, "i0_0.png,x.npy,0")(root)


def objects(root: Path) -> None:
    np.save(root / "x.npy", np.array([{}]), allow_pickle=True)
    line(4, "i0_0.png,x.npy,0")(root)


def no_array(root: Path) -> None:
    (root / "x.npy").write_text("text")
    line(4, "i0_0.png,x.npy,0")(root)


def directory(root: Path) -> None:
    (root / "folder.png").mkdir()
    line(4, "folder.png,i0_1.png,0")(root)


def latin(root: Path) -> None:
    (root / "pairs.csv").write_bytes(b"source,target,quarter_turns\n\xff,\xff,0\n")


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (header("source,destination,quarter_turns"), "has no column target"),
        (header("source,target,angle"), "has no column quarter_turns"),
        (header("source,target,quarter_turns,label,subject"), "unknown column 'subject'"),
        (header("source,target,quarter_turns,target"), "has column target twice"),
        (line(3, "i0_0.png,i0_1.png"), "line 3: 2 values in 3 columns"),
        (line(3, "i0_0.png,i0_1.png,one"), "line 3: quarter_turns='one' is not a number"),
        (line(3, "i0_0.png,i0_1.png,4"), "line 3: quarter_turns=4 is not within 0 to 3"),
        (line(3, "i0_0.png,i0_1.png,0.4"), "line 3: action (0.4) is not an element"),
        (line(3, "i0_0.png,i0_1.gif,0"), "line 3:"),
        (no_rows, "has no rows"),
        (nothing, "has no column source"),
        (missing, "line 11:"),
        (larger, "line 11: i2_1.png has shape (1, 9, 9) where i0_0.png has (1, 6, 6)"),
        (no_picture, "line 11:"),
        (floats, "x.npy does not hold an array of uint8"),
        (objects, "x.npy is not a readable NPY file"),
        (no_array, "x.npy is not a readable NPY file: it does not begin as NPY files do"),
        (directory, "folder.png is a directory"),
        (line(3, ",i0_1.png,0"), "line 3 has no source"),
        (line(4, "i0_0.png, ,0"), "line 4 has no target"),
        (latin, "is not a CSV file in UTF-8"),
    ],
)
def test_faulty_csv_is_one_line_with_the_row(
    tmp_path: Path, spoil: Callable[[Path], None], fault: str
) -> None:
    path = write_orbits(tmp_path, 6)
    spoil(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        recipe(path)
    assert fault in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_split_names_of_a_csv(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", image(0))
    path = write_csv(tmp_path, ["0.npy,0.npy,0,dev"], "source,target,quarter_turns,split")
    with pytest.raises(ValueError, match=r"line 2: split 'dev' is none of train, val, test"):
        recipe(path)


def test_one_frame_in_all_rows_cannot_be_split(tmp_path: Path) -> None:
    for number in range(6):
        np.save(tmp_path / f"{number}.npy", image(number))
    path = write_csv(tmp_path, [f"0.npy,{n}.npy,0" for n in range(6)])
    with pytest.raises(
        ValueError, match="the val split would be empty: of 6 rows, those that share"
    ):
        recipe(path)


@pytest.mark.parametrize(
    ("shape", "group", "action"), [((6, 6), "so3", [1.0, 0, 0, 0]), ((4, 6), "c4", [1])]
)
def test_exact_targets_need_frames_that_the_group_acts_on(
    tmp_path: Path, shape: tuple[int, ...], group: str, action: list[float]
) -> None:
    frames = np.zeros((6, *shape), np.uint8)
    given = arrays(source=frames, target=frames, action=np.array([action] * 6))
    np.savez(tmp_path / "a.npz", **given)
    assert recipe(tmp_path / "a.npz", group=group).frames.shape == (1, *shape)
    with pytest.raises(ValueError, match=r"source\.root=.*a\.npz: "):
        recipe(tmp_path / "a.npz", group=group, targets_are_exact=True)


def test_root_is_asked_for_and_must_be_a_table(tmp_path: Path) -> None:
    config = TableDatasetConfig("table", "pairs", "c4", None, None, False, 1.0)
    with pytest.raises(ValueError, match=r"give source\.root=FILE"):
        PairsTable(config, TableSourceConfig("table"), 0, None)
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        recipe(tmp_path / "no.csv")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ValueError, match=r"neither a \.csv nor an \.npz file"):
        recipe(tmp_path / "a.txt")
