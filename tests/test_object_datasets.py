"""Protects datasets of many objects: what counts as one, that no object is in two splits, and
that light and hue are what their columns say whatever the group does.
"""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from helpers.preparing import column, prepare, recipe_of
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.sources.objects import shape_digest
from data_prep.verification import claims
from data_prep.verification.datasets import verify_dataset
from orbit.core.reading.meshes import OpenMeshError
from orbit.core.store.manifest import SPLITS
from orbit.core.store.reader import PairStore

NUM_OBJECTS = 7
VIEWS = ("dataset=objects_views", "source.size=48", "num_samples=21", "dataset.num_drawn=2")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven objects in folders of their own, one of them twice, one open and one nowhere."""
    root = tmp_path_factory.mktemp("objects")
    made = [trimesh.creation.box((1, 1.3, 0.3 + 0.2 * number)) for number in range(NUM_OBJECTS)]
    made.insert(3, made[1].copy().apply_scale(4).apply_translation((9, 0, 5)))
    for number, mesh in enumerate(made):
        (root / f"{number:03}").mkdir()
        mesh.export(root / f"{number:03}" / "model.obj")
    ball = trimesh.creation.icosphere(1)
    trimesh.Trimesh(ball.vertices, ball.faces[1:], process=False).export(root / "torn.obj")
    (root / "void.obj").write_text("v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    return root


@pytest.fixture(scope="module")
def solids(root: Path, tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    words = ("dataset=objects_3d", f"source.root={root}", "source.side=12", "num_samples=16")
    return prepare(tmp_path_factory.mktemp("solids") / "out", *words)


@pytest.fixture(scope="module")
def views(root: Path, tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    return prepare(tmp_path_factory.mktemp("views") / "out", *VIEWS, f"source.root={root}")


meshes = st.builds(
    lambda seed, num: (
        np.random.default_rng(seed).standard_normal((12, 3)),
        np.random.default_rng(seed).permuted(np.tile(np.arange(12), (num, 1)), axis=1)[:, :3],
    ),
    st.integers(0, 2**32 - 1),
    st.integers(1, 20),
)


@given(meshes, st.integers(0, 2**32 - 1), st.integers(-3, 3))
def test_order_place_and_scale_make_no_other_shape(mesh, seed: int, power: int) -> None:
    vertices, faces = mesh
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(vertices))
    same = np.argsort(order)[faces][rng.permutation(len(faces))]
    same = np.stack([np.roll(face, rng.integers(3)) for face in same])
    moved = vertices[order] * 2.0**power + rng.integers(-4, 5, 3)
    assert shape_digest(moved, same) == shape_digest(vertices, faces)


@given(meshes)
@settings(max_examples=50)
def test_what_looks_different_is_another_shape(mesh) -> None:
    vertices, faces = mesh
    digest = shape_digest(vertices, faces)
    bent = vertices.copy()
    bent[faces[0, 0]] += 0.1
    assert shape_digest(bent, faces) != digest
    assert shape_digest(vertices, faces[:, ::-1]) != digest
    assert shape_digest(vertices * (1, 1, -1), faces) != digest


@pytest.mark.parametrize("name", ["solids", "views"])
def test_no_object_is_in_two_splits(name: str, request: pytest.FixtureRequest) -> None:
    store: PairStore = request.getfixturevalue(name)
    seen = [set(column(store, split, "label").tolist()) for split in SPLITS]
    assert all(seen)
    assert sum(map(len, seen)) == len(set.union(*seen)) == NUM_OBJECTS


@pytest.mark.parametrize("name", ["solids", "views"])
def test_what_is_left_out_is_recorded(name: str, request: pytest.FixtureRequest) -> None:
    manifest = request.getfixturevalue(name).manifest
    counts = {key: num for key, num in manifest.origin.flat().items() if key.startswith("num_s")}
    assert counts == {"num_skipped_open": 2, "num_skipped_repeated": 1, "num_samples": 16} | (
        {"num_samples": 21} if name == "views" else {}
    )
    assert manifest.origin.flat()["num_objects"] == NUM_OBJECTS
    used = [f"{number:03}/model.obj" for number in (0, 1, 2, 4, 5, 6, 7)]
    assert list(manifest.source_checksums) == used
    assert "0 000/model to 6 007/model" in manifest.label_meaning


def test_what_is_left_out_is_said(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe_of("dataset=objects_3d", f"source.root={root}", "out=out")
    said = capsys.readouterr().out
    assert "2 meshes are left out, not closed: torn, void" in said
    assert "1 mesh is left out, of the same shape as one before them: 003/model" in said


def test_open_meshes_are_refused_unless_they_are_to_be_skipped(root: Path) -> None:
    words = ("dataset=objects_3d", f"source.root={root}", "out=out", "source.skip_open=false")
    with pytest.raises(OpenMeshError, match=r"torn\.obj is not closed"):
        recipe_of(*words)
    classes = "source.classes=[torn,000/model,001/model,002/model]"
    made = recipe_of(*words[:3], classes).origin().flat()
    assert (made["num_objects"], made["num_skipped_open"]) == (3, 1)


def test_classes_without_open_ones(root: Path) -> None:
    """Where meshes are classes and not objects, the count is recorded, too."""
    words = ("dataset=adrenal", "source=meshes", f"source.root={root}", "out=out")
    with pytest.raises(ValueError, match="would be one class"):
        recipe_of(*words)
    flat = root.parent / "flat"
    flat.mkdir(exist_ok=True)
    for path in root.rglob("*.obj"):
        (flat / path.relative_to(root).as_posix().replace("/", "_")).write_bytes(path.read_bytes())
    made = recipe_of(*words[:2], f"source.root={flat}", "out=out", "source.skip_open=true")
    assert made.origin().flat()["num_skipped_open"] == 2
    assert "num_objects" not in made.origin().flat()
    assert "torn" not in made.label_meaning


@pytest.mark.parametrize("dataset", ["objects_3d", "objects_views"])
def test_fewer_than_three_objects_are_one_line(dataset: str, root: Path, tmp_path: Path) -> None:
    for name in ("001", "003", "000"):
        (tmp_path / f"{name}.obj").write_bytes((root / name / "model.obj").read_bytes())
    with pytest.raises(ValueError, match=r"holds 2 different meshes .*000, 001.*at least 3") as got:
        recipe_of(f"dataset={dataset}", f"source.root={tmp_path}", "out=out")
    assert "\n" not in str(got.value)
    with pytest.raises(ValueError, match=r"give source\.root=DIR"):
        recipe_of(f"dataset={dataset}", "out=out")


def test_one_volume_of_each_object_if_not_told_otherwise(root: Path) -> None:
    recipe = recipe_of("dataset=objects_3d", f"source.root={root}", "out=out")
    assert sum(plan.last - plan.first for plan in recipe.plans()) == NUM_OBJECTS


def test_light_and_hue_stay_where_the_group_turns(views: PairStore) -> None:
    """The colour of every pixel of the object has the hue of its record, source and target."""
    for split in SPLITS:
        reader = views.split(split)
        records = reader.read(np.arange(reader.num_records))
        light, hue = column(views, split, "light"), column(views, split, "hue")
        np.testing.assert_allclose(np.linalg.norm(light, axis=1), 1, atol=1e-6)
        assert (light[:, 2] > 0.3).all()
        pairs = light.reshape(-1, 2, 3)
        assert (pairs[:, 0] == pairs[:, 1]).all()
        for frame, wanted in zip((*records.source, *records.target), (*hue, *hue), strict=True):
            colours = trimesh.visual.color.to_rgba(frame.reshape(3, -1).T)[:, :3].astype(float)
            chroma = np.ptp(colours, axis=1)
            r, g, b = colours[chroma > 60].T
            angle = np.arctan2(np.sqrt(3) * (g - b), 2 * r - g - b) / (2 * np.pi)
            # Hue by hexagon and by angle differ by less than a fiftieth of the circle.
            assert np.abs((angle - wanted + 0.5) % 1 - 0.5).max() < 0.03


def test_verification_finds_what_covers_the_backdrop(views: PairStore) -> None:
    lines = list(verify_dataset(views.root))
    assert len(lines) == 3
    assert "backdrops compared" in lines[0]
    records = views.split("test").read(np.arange(4))
    for end, row in ((0, 1), (1, 2)):
        frames = [records.source.copy(), records.target.copy()]
        frames[end][row, :, 0, 0] ^= 1
        wrong = claims.faults(views.manifest, *frames, records.action, {})
        assert np.flatnonzero(wrong).tolist() == [row]
