"""Protects voxelised meshes: the fill of any closed surface, keyed deformations, faults.

Volumes are compared with the formulas of the bodies, not with another voxeliser.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from helpers.volumes import assert_reads_alike
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.settings.sources import MeshesSourceConfig
from data_prep.sources.meshes import MeshesSource, draw_deformed, fill

SIDE = 40
CENTRE = (SIDE - 1) / 2


def place(mesh: trimesh.Trimesh, seed: int) -> np.ndarray:
    """Vertices turned at random about the lattice's centre."""
    return mesh.vertices @ trimesh.transformations.random_rotation_matrix(
        np.random.default_rng(seed).random(3)
    )[:3, :3].T + np.array([CENTRE] * 3)


def ball(radius: float) -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=4, radius=radius)


def inside_out(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, mesh.faces[:, ::-1], process=False)


def sphere_volume(radius: float) -> float:
    return 4 / 3 * np.pi * radius**3


def shifted(mesh: trimesh.Trimesh, x: float) -> trimesh.Trimesh:
    return mesh.copy().apply_translation((x, 0, 0))


BODIES = {
    "sphere": (ball(15), sphere_volume(15)),
    "box": (trimesh.creation.box((10, 16, 22)), 10 * 16 * 22),
    "torus": (trimesh.creation.torus(11, 5, 64, 64), 2 * np.pi**2 * 11 * 5**2),
    "tube": (trimesh.creation.annulus(7, 13, 20, sections=128), np.pi * (13**2 - 7**2) * 20),
    "hollow ball": (ball(16) + inside_out(ball(9)), sphere_volume(16) - sphere_volume(9)),
    "ball in a hollow ball": (
        ball(16) + inside_out(ball(11)) + ball(6),
        sphere_volume(16) - sphere_volume(11) + sphere_volume(6),
    ),
    "two balls": (shifted(ball(8), -9) + shifted(ball(8), 9), 2 * sphere_volume(8)),
    "balls that overlap": (
        shifted(ball(10), -5) + shifted(ball(10), 5),
        2 * sphere_volume(10) - np.pi * (4 * 10 + 10) * (2 * 10 - 10) ** 2 / 12,
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_filled_volume_is_the_formulas(name: str) -> None:
    mesh, volume = BODIES[name]
    for seed in range(3):
        is_inside = fill(place(mesh, seed), mesh.faces, SIDE)
        assert is_inside.sum() == pytest.approx(volume, rel=0.03)


def test_every_voxel_of_a_sphere_and_a_torus_is_right() -> None:
    axis = np.arange(SIDE) - CENTRE
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    for mesh, distance in (
        (ball(15), 15 - np.sqrt(x**2 + y**2 + z**2)),
        (BODIES["torus"][0], 5 - np.hypot(np.hypot(z, y) - 11, x)),
    ):
        is_inside = fill(mesh.vertices + CENTRE, mesh.faces, SIDE)
        sure = np.abs(distance) > 0.15
        assert (is_inside == (distance > 0))[sure].all()


@given(
    low=st.tuples(*[st.integers(0, 12)] * 3),
    size=st.tuples(*[st.integers(1, 12)] * 3),
    halves=st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_boxes_on_the_lattice_leak_nowhere(low, size, halves: bool) -> None:
    """Faces, edges and corners exactly on voxels' centres: no column is lost or filled up."""
    box = trimesh.creation.box(size)
    vertices = box.vertices + np.array(low) + np.array(size) / 2 - (0.5 if halves else 0)
    is_inside = fill(vertices, box.faces, 24)
    if halves:
        expected = np.zeros((24, 24, 24), bool)
        expected[tuple(slice(a, a + b) for a, b in zip(low, size, strict=True))] = True
        assert (is_inside == expected).all()
    else:
        assert is_inside.sum() == np.prod(size)


def test_what_leaves_the_lattice_is_cut_off() -> None:
    mesh = ball(30)
    assert fill(mesh.vertices + 19.5, mesh.faces, SIDE).mean() > 0.95
    half = fill(ball(10).vertices + np.array([-0.5, 19.5, 19.5]), ball(10).faces, SIDE)
    assert half.sum() == pytest.approx(sphere_volume(10) / 2, rel=0.03)
    assert not fill(mesh.vertices + 100, mesh.faces, SIDE).any()
    assert not fill(mesh.vertices - 100, mesh.faces, SIDE).any()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "meshes"
    (root / "more").mkdir(parents=True)
    trimesh.creation.box((1, 2, 5)).apply_translation((50, 0, 7)).export(root / "box.obj")
    trimesh.creation.torus(1, 0.3).export(root / "torus.obj")
    ball(1).export(root / "more" / "ball.obj")
    return root


def source_of(root: Path, seed: int = 0, num_samples: int | None = 9, **settings) -> MeshesSource:
    return MeshesSource(MeshesSourceConfig("meshes", str(root), **settings), seed, num_samples)


def read_all(source: MeshesSource) -> np.ndarray:
    return source.read("all", np.arange(source.num_images["all"]))[0][:, 0]


def test_reads_alike(root: Path) -> None:
    source = source_of(root)
    assert_reads_alike(source)
    assert source.read("all", np.arange(9))[1].tolist() == [0, 1, 2] * 3
    assert source.label_meaning == "mesh: 0 ball, 1 box, 2 torus"
    assert sorted(source.checksums()) == ["ball.obj", "box.obj", "torus.obj"]
    assert source.is_binary


def test_draws_are_keyed_by_seed_and_position(root: Path) -> None:
    frames = read_all(source_of(root))
    assert (read_all(source_of(root, num_samples=4)) == frames[:4]).all()
    assert len({frame.tobytes() for frame in frames}) == 9
    assert not (read_all(source_of(root, seed=1)) == frames).all((1, 2, 3)).any()
    assert source_of(root, num_samples=None).num_images == {"all": 600}


@pytest.mark.parametrize("side", [12, 27, 28])
@pytest.mark.parametrize("deformation", [0.0, 0.1, 0.5])
def test_solids_fill_the_ball_and_stay_within(root: Path, side: int, deformation: float) -> None:
    frames = read_all(source_of(root, side=side, deformation=deformation))
    axis = np.arange(side) - (side - 1) / 2
    radius = np.sqrt(sum(part**2 for part in np.meshgrid(axis, axis, axis)))
    assert not frames[:, radius > (side - 1) / 2 - 1].any()
    if side > 12:
        assert frames[:, radius > (side - 1) / 2 * 0.6].any(1).all()


def test_deformation_is_what_sets_volumes_apart(root: Path) -> None:
    """A ball stays round without deformation, and is the less so the more there is."""

    def spread(deformation: float) -> float:
        source = source_of(root, 0, 30, classes=("ball", "box"), deformation=deformation)
        frames = read_all(source)[::2] > 0
        widths = [frames.any(others).sum(-1) for others in ((2, 3), (1, 3), (1, 2))]
        return float(np.std(widths, axis=0).mean())

    assert spread(0.0) < 0.6 < spread(0.1) < spread(0.3)


@given(seed=st.integers(0, 999), deformation=st.sampled_from([0.02, 0.1, 0.3]))
@settings(max_examples=30, deadline=None)
def test_deformation_bends_by_its_share(seed: int, deformation: float) -> None:
    """None leaves a turned, smaller, shifted copy; more makes a sphere uneven by about as much."""
    sphere = ball(1).vertices

    def unevenness(share: float) -> float:
        moved = draw_deformed(np.random.default_rng(seed), sphere, share)
        assert np.linalg.norm(moved, axis=1).max() <= 1 + 1e-9
        radii = np.linalg.norm(moved - (moved.min(0) + moved.max(0)) / 2, axis=1)
        return float(1 - radii.min() / radii.max())

    assert unevenness(0.0) < 1e-9
    assert deformation / 10 < unevenness(deformation) < 4 * deformation


def test_axes_of_a_mesh_are_those_of_a_frame(tmp_path: Path) -> None:
    """A cone along y points upwards, to the first of H; one along x to the last of W."""
    turn = trimesh.transformations.rotation_matrix
    for name, angle, axis in (("up", -np.pi / 2, (1, 0, 0)), ("wide", np.pi / 2, (0, 1, 0))):
        trimesh.creation.cone(0.5, 2).apply_transform(turn(angle, axis)).export(
            tmp_path / f"{name}.obj"
        )
    trimesh.creation.cone(0.5, 2).export(tmp_path / "towards.obj")
    source = source_of(tmp_path, classes=("towards", "up", "wide"), deformation=0.0)
    towards, up, wide = read_all(source)[:3] > 0
    for profile in (towards.sum((1, 2)), up.sum((0, 2))[::-1], wide.sum((0, 1))):
        first, last = np.flatnonzero(profile)[[0, -1]]
        assert last - first > 15
        assert profile[first : first + 4].sum() > 5 * profile[last - 3 : last + 1].sum()


def test_only_the_chosen_classes(root: Path) -> None:
    (root / "open.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    source = source_of(root, classes=("torus", "ball"))
    assert source.label_meaning == "mesh: 0 torus, 1 ball"
    with pytest.raises(ValueError, match=r"names cow; .* holds ball, box, open, torus"):
        source_of(root, classes=("ball", "cow"))
    for classes in (("ball",), (), ("ball", "ball")):
        with pytest.raises(ValueError, match="at least two classes"):
            source_of(root, classes=classes)


def with_hole(path: Path) -> None:
    mesh = ball(1)
    trimesh.Trimesh(mesh.vertices, mesh.faces[1:], process=False).export(path)


def with_a_face_turned(path: Path) -> None:
    mesh = ball(1)
    faces = mesh.faces.copy()
    faces[0] = faces[0, ::-1]
    trimesh.Trimesh(mesh.vertices, faces, process=False).export(path)


FAULTS = {
    "hole": (with_hole, "is not closed"),
    "a face turned": (with_a_face_turned, "not oriented alike"),
    "empty": (lambda path: path.write_text(""), "not an OBJ file with faces"),
    "text": (lambda path: path.write_text("no mesh\n" * 9), "not an OBJ file with faces"),
    "bytes": (lambda path: path.write_bytes(bytes(range(256)) * 9), "it is not text"),
    "no faces": (lambda path: path.write_text("v 0 0 0\nv 1 1 1\n"), "not an OBJ file with faces"),
    "absent corner": (
        lambda path: path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n"),
        "line 4: a face has vertex 9 of 3",
    ),
    "broken link": (lambda path: path.symlink_to("nowhere"), "a link to a file that is not there"),
    "same name": (lambda path: ball(1).export(path.parent / "bad" / "ball.obj"), "names must"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_line(fault: str, root: Path) -> None:
    damage, words = FAULTS[fault]
    (root / "bad").mkdir()
    damage(root / "bad.obj")
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        source_of(root)
    assert words in str(caught.value)
    assert "bad" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_empty_folders_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"source\.root=.*nowhere"):
        source_of(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds no file of \.obj"):
        source_of(tmp_path)
    with pytest.raises(ValueError, match=r"source\.root=DIR"):
        MeshesSource(MeshesSourceConfig("meshes"), 0, None)


def test_absent_library_says_how_to_install_it(root: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(ValueError, match=r"needs trimesh: pip install -e '\.\[meshes\]'"):
        source_of(root)
