"""Protects the reader of 3DIEBench's folders: poses, elements, splits, labels, and what is refused.

A tree of two synsets with few views stands for the 17 GB.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.preparing import all_records, column, prepare, recipe_of
from helpers.training import make_config, never_stop
from PIL import Image
from scipy.spatial.transform import Rotation

from data_prep.verification import claims
from data_prep.verification.datasets import verify_dataset
from orbit.core.groups import make_group
from orbit.core.store.manifest import SPLITS, Manifest
from orbit.core.store.reader import PairStore
from pipeline.data.batches import what_stays
from pipeline.methods.interface import Latents
from pipeline.referee import measure as referee
from pipeline.referee.views import make_views
from pipeline.training.run import train

NUM_VIEWS, SIDE = 4, 8
TRAIN = [f"/{synset}/{name}/" for name in ("c", "a", "b") for synset in ("02691156", "00000001")]
VAL = ["/02691156/x/", "/00000001/y/", "/00000001/x/"]
WORDS = (
    *("dataset=threediebench", f"source.num_views={NUM_VIEWS}", f"source.size={SIDE}"),
    *("dataset.num_targets=2", "dataset.val_fraction=0.3"),
)


def write_tree(root: Path, num_views: int = NUM_VIEWS) -> Path:
    """Pictures that name object and view: red is ten times the place, green 7 times the number."""
    rng = np.random.default_rng(0)
    for place, entry in enumerate(TRAIN + VAL):
        folder = root / entry.strip("/")
        folder.mkdir(parents=True)
        for view in range(num_views):
            pixels = np.full((16, 16, 3), (10 * place, 7 * view, 0), np.uint8)
            Image.fromarray(pixels).save(folder / f"image_{view}.jpg", quality=100)
            latent = rng.uniform(-np.pi / 2, np.pi / 2, 7)
            np.save(folder / f"latent_{view}.npy", latent)
    for part, entries in (("train", TRAIN), ("val", VAL)):
        np.save(root / f"{part}_images.npy", np.array(entries, "<U43"))
        labels = np.array([int(entry[1] == "0" and "0269" in entry) for entry in entries])
        np.save(root / f"{part}_labels.npy", labels)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("bench") / "3diebench")


@pytest.fixture(scope="module")
def store(root: Path, tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    """Small shards, so that a split has several."""
    words = (*WORDS, f"source.root={root}", "dataset.shard_mib=0.001")
    return prepare(tmp_path_factory.mktemp("bench") / "out", *words)


def shown(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The object and view that each frame shows."""
    red, green = frames[:, 0].mean((1, 2)) / 10, frames[:, 1].mean((1, 2)) / 7
    return red.round().astype(int), green.round().astype(int)


def latent(root: Path, place: int, view: int) -> np.ndarray:
    return np.load(root / (TRAIN + VAL)[place].strip("/") / f"latent_{view}.npy")


@pytest.mark.parametrize("split", SPLITS)
def test_elements_lead_from_pose_to_pose_from_the_left(
    root: Path, store: PairStore, split: str
) -> None:
    records = all_records(store, split)
    matrix = Rotation.from_quat(np.roll(records.action, -1, 1)).as_matrix()
    is_right = []
    for row, (place, first, second) in enumerate(
        zip(*shown(records.source), shown(records.target)[1], strict=True)
    ):
        # Lower-case letters: axes that stay, x first.
        before, after = (
            Rotation.from_euler("xyz", latent(root, place, view)[:3]).as_matrix()
            for view in (first, second)
        )
        assert np.allclose(matrix[row] @ before, after, atol=1e-5)
        is_right.append(np.allclose(before @ matrix[row], after, atol=1e-3))
        for end, view in (("source", first), ("target", second)):
            factors = column(store, split, f"{end}_factors")[row]
            assert np.allclose(factors, latent(root, place, view)[3:], atol=1e-6)
    assert not all(is_right), "the other side would be another element"
    pose = column(store, split, "target_pose")
    moved = make_group("so3").compose(
        torch.from_numpy(records.action), torch.from_numpy(column(store, split, "source_pose"))
    )
    assert make_group("so3").distance(moved, torch.from_numpy(pose)).max() < 1e-3


def test_pairs_stay_inside_an_object_and_objects_inside_a_split(store: PairStore) -> None:
    seen = []
    for split in SPLITS:
        records = all_records(store, split)
        objects = shown(records.source)[0]
        np.testing.assert_array_equal(objects, shown(records.target)[0])
        seen.append(set(objects.tolist()))
        entries = [(TRAIN + VAL)[place] for place in objects]
        labels = [["00000001", "02691156"].index(entry.split("/")[1]) for entry in entries]
        np.testing.assert_array_equal(records.label, labels)
    assert [len(places) for places in seen] == [4, 2, 3]
    assert seen[0] | seen[1] == set(range(len(TRAIN))), "validation is a share of training objects"
    assert seen[2] == set(range(len(TRAIN), len(TRAIN + VAL)))
    assert store.manifest.label_meaning == "synset: 0 00000001, 1 02691156"


def test_views_are_sources_and_targets_alike_in_training_and_the_first_is_elsewhere(
    store: PairStore,
) -> None:
    records = all_records(store, "train")
    (objects, first), (_, second) = shown(records.source), shown(records.target)
    assert (first != second).all()
    for place in set(objects.tolist()):
        for views in (first, second):
            counts = np.bincount(views[objects == place], minlength=NUM_VIEWS)
            assert counts.tolist() == [2] * NUM_VIEWS
    assert store.split("train").records_per_source == 2
    test = all_records(store, "test")
    assert shown(test.source)[1].tolist() == [0] * 3 * NUM_VIEWS
    assert shown(test.target)[1].tolist() == list(range(NUM_VIEWS)) * 3
    assert len(store.manifest.split("train").shards) > 1


def test_the_manifest_says_which_side_and_where_it_is_from(root: Path, store: PairStore) -> None:
    manifest = store.manifest
    assert "g = R2 R1^-1" in manifest.columns["target_pose"].meaning
    assert "left action" in manifest.columns["target_pose"].meaning
    assert manifest.origin.flat()["source"] == "threediebench"
    assert manifest.origin.flat()["num_views"] == NUM_VIEWS
    assert len(manifest.source_checksums) == 4
    assert "source=threediebench" in str(what_stays(manifest))
    lines = list(verify_dataset(store.root))
    assert len(lines) == 3
    assert all("elements compared with poses" in line for line in lines)
    again = recipe_of(*WORDS, f"source.root={root}", "out=out", "num_samples=6")
    assert [plan.layout.num_frames for plan in again.plans()] == [12, 4, 8]


def test_shared_measures_rank_all_views_of_new_objects(tmp_path: Path) -> None:
    """With the pose as latent, which pixels cannot give, everything is found."""
    root = write_tree(tmp_path / "in", 36)
    words = ("dataset=threediebench", "source.num_views=36", "source.size=8")
    store = prepare(tmp_path / "out", *words, f"source.root={root}", "dataset.val_fraction=0.3")
    group = make_group("so3")
    entries = {
        tuple(shown(frame[None])[n][0] for n in (0, 1)): pose
        for split in SPLITS
        for frame, pose in zip(
            all_records(store, split).target, column(store, split, "target_pose"), strict=True
        )
    }

    def encode(frames: torch.Tensor) -> dict[str, torch.Tensor]:
        places = zip(*(values.tolist() for values in shown(frames.numpy())), strict=True)
        q = torch.from_numpy(np.stack([entries[place] for place in places]))
        return {"z": group.irreps(1)[1].matrix(q).flatten(1)}

    def act(z: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return (group.irreps(1)[1].matrix(g) @ z.view(-1, 3, 3)).flatten(1)

    def latents(model: torch.nn.Module, manifest: Manifest) -> Latents:
        return Latents(encode, "z", act)

    models = (torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
    found = referee.measure(latents, models, store, "test", 64)
    assert make_views(store, "test").num_views == 36
    assert found.metrics["retrieval/mrr"] == found.metrics["retrieval/hits_at_1"] == 1
    assert found.metrics["retrieval/pose_error"] < 1e-4
    assert found.metrics["retrieval/pose_error_chance"] > 0.3
    assert found.metrics["pose_r2/gaussian/z"] > 0.3
    assert found.metrics["inferred/pose_error"] < 0.1
    assert "equal angles" in found.refused["d_lsbd"]


# What is refused


def spoilt(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "in"))


def refused(root: Path, tmp_path: Path, *words: str) -> str:
    """The line with which a preparation ends; nothing is left behind."""
    keys = {word.partition("=")[0] for word in words}
    kept = [word for word in WORDS if word.partition("=")[0] not in keys]
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        prepare(tmp_path / "out", *kept, f"source.root={root}", *words)
    line = str(caught.value)
    assert "\n" not in line
    assert not (tmp_path / "out" / "manifest.json").exists()
    return line


def set_entry(root: Path, file: str, number: int, value: str | int) -> None:
    values = np.load(root / file)
    values[number] = value
    np.save(root / file, values)


def test_missing_views_and_objects_are_named(root: Path, tmp_path: Path) -> None:
    root = spoilt(root, tmp_path)
    (root / "02691156/x/image_3.jpg").unlink()
    assert "02691156/x/image_3.jpg is missing" in refused(root, tmp_path)
    (root / "02691156/x/latent_1.npy").unlink()
    assert "02691156/x/latent_1.npy is missing" in refused(root, tmp_path)
    shutil.rmtree(root / "02691156/x")
    assert "02691156/x is missing, which val_images.npy names" in refused(root, tmp_path)
    (root / "val_labels.npy").unlink()
    assert "val_labels.npy is missing" in refused(root, tmp_path)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros(6), "float64 of shape (6,), not (7,)"),
        (np.zeros((1, 7)), "shape (1, 7)"),
        (np.zeros(7, np.int64), "int64"),
        (np.array([0, np.nan, 0, 0, 0, 0, 0]), "not finite"),
        (np.array([None] * 7), "Python objects"),
    ],
)
def test_latents_of_another_form_are_refused(
    root: Path, tmp_path: Path, values: np.ndarray, reason: str
) -> None:
    root = spoilt(root, tmp_path)
    np.save(root / "00000001/y/latent_2.npy", values, allow_pickle=True)
    line = refused(root, tmp_path)
    assert "00000001/y/latent_2.npy" in line
    assert reason in line


@pytest.mark.parametrize("entry", ["/../x/", "/02691156/../", "/a/b/c/", "/a/", "", "/./x/"])
def test_entries_that_leave_the_folder_are_refused(root: Path, tmp_path: Path, entry: str) -> None:
    root = spoilt(root, tmp_path)
    set_entry(root, "val_images.npy", 1, entry)
    line = refused(root, tmp_path)
    assert "val_images.npy, entry 1" in line
    assert "is not /SYNSET/OBJECT/" in line


def test_an_object_of_both_parts_is_refused(root: Path, tmp_path: Path) -> None:
    root = spoilt(root, tmp_path)
    set_entry(root, "val_images.npy", 1, TRAIN[0])
    assert f"names {TRAIN[0]} and train_images.npy, too" in refused(root, tmp_path)
    set_entry(root, "val_images.npy", 1, VAL[0])
    assert f"names {VAL[0]} twice" in refused(root, tmp_path)


def test_labels_in_another_order_are_refused(root: Path, tmp_path: Path) -> None:
    root = spoilt(root, tmp_path)
    for part in ("train", "val"):
        labels = np.load(root / f"{part}_labels.npy")
        np.save(root / f"{part}_labels.npy", 1 - labels)
    assert "labels are positions of sorted synsets" in refused(root, tmp_path)
    np.save(root / "val_labels.npy", np.zeros(3))
    assert "val_labels.npy holds float64" in refused(root, tmp_path)
    np.save(root / "val_labels.npy", np.array([5, 1, 1]))
    assert "val_labels.npy, entry 0: synset 02691156 has label 5" in refused(root, tmp_path)
    np.save(root / "val_images.npy", np.array([[1, 2]]))
    assert "not a list of texts" in refused(root, tmp_path)


def test_numbers_that_do_not_fit_are_refused(root: Path, tmp_path: Path) -> None:
    assert "a view has 3 others" in refused(root, tmp_path, "dataset.num_targets=4")
    assert "name 9 objects" in refused(root, tmp_path, "num_samples=10")
    assert "leaves no object" in refused(root, tmp_path, "dataset.val_fraction=0.99")
    with pytest.raises(FileNotFoundError, match="no such directory"):
        recipe_of(*WORDS, f"source.root={tmp_path / 'nowhere'}", "out=out")
    with pytest.raises(ValueError, match=r"give source\.root=DIR"):
        recipe_of(*WORDS, "out=out")


def test_elements_of_the_other_side_do_not_pass_verification(store: PairStore) -> None:
    records = all_records(store, "test")
    columns = {name: column(store, "test", name) for name in store.manifest.columns}
    group = make_group("so3")
    before, after = (
        torch.from_numpy(columns[name]).double() for name in ("source_pose", "target_pose")
    )
    right = group.encode(group.compose(group.inverse(before), after)).numpy()
    found = [
        claims.faults(store.manifest, records.source, records.target, action, columns)
        for action in (records.action, right)
    ]
    assert not found[0].any()
    assert found[1].mean() > 0.5


def test_it_trains_on_pairs_of_every_view(store: PairStore, tmp_path: Path) -> None:
    words = ["experiment=objects_views", "epochs=1", "global_batch=4", "collapse.action=warn"]
    words += ["task.model.width=4", "task.model.depth=2", "task.model.vector_size=16"]
    words += ["compile=false", "task.mask.name=fixed"]
    result = train(make_config(store.root, tmp_path / "run", *words), never_stop())
    assert result["step"] == 4, "4 objects with 4 views, each once a source"
    assert result["metrics"]["equivariance_error/variant"] > 0
    with pytest.raises(ValueError, match=r"own files \(source=threediebench\)"):
        train(make_config(store.root, tmp_path / "fresh", *words, "pairs=fresh"), never_stop())
