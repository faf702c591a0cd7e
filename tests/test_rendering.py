"""Protects the rasteriser and its meshes.

Silhouettes have the analytic area, the nearer surface hides the farther one, turning the
mesh turns the picture, and a view does not depend on the others rendered with it. Faults
of OBJ files are one line with the place.
"""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from data_prep.settings.sources import RenderSourceConfig
from data_prep.sources.rendered import RenderedSource
from orbit.core.groups import make_group
from orbit.core.reading.meshes import read_obj
from orbit.core.rendering import (
    Mesh,
    asymmetric_plane,
    asymmetric_pot,
    is_closed,
    make_mesh,
    render,
    render_grey,
)
from orbit.core.rendering.rasteriser import AMBIENT, FILLING, LIGHT, pack_mesh, unpack_mesh
from orbit.core.rendering.solid import to_matrices

CUBE = """\
v -1 -1 -1
v 1 -1 -1
v 1 1 -1
v -1 1 -1
v -1 -1 1
v 1 -1 1
v 1 1 1
v -1 1 1
vt 0 0
usemtl none
f 4 3 2 1
f 5/1 6/1 7/1 8/1
f 1//1 2//1 6//1 5//1  # a comment
f -5 -6 -2 -1
f 2 3 7 6
f 1 5 8 4
"""
TETRAHEDRON = (
    np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 2]]),
    np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]),
)
QUARTER_TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])

POINT = "v 1 1 1\nf 1 1 1\n"

seeds = st.integers(0, 2**32 - 1)


def turns(seed: int, num: int) -> np.ndarray:
    return Rotation.random(num, rng=np.random.default_rng(seed)).as_matrix()


def cube(tmp_path: Path) -> Mesh:
    path = tmp_path / "cube.obj"
    path.write_text(CUBE)
    return make_mesh(*read_obj(path))


def sphere(num_rings: int, num_sides: int) -> Mesh:
    polar = np.linspace(0, np.pi, num_rings + 1)[:, None]
    around = 2 * np.pi * np.arange(num_sides) / num_sides
    x, y = np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around)
    vertices = np.stack([x, y, np.broadcast_to(np.cos(polar), x.shape)], 2).reshape(-1, 3)
    first = np.arange(num_sides)
    quads = np.stack([first, np.roll(first, -1), np.roll(first, -1) + num_sides, first + num_sides])
    quads = np.concatenate([quads.T + ring * num_sides for ring in range(num_rings)])
    return make_mesh(vertices, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]))


@pytest.mark.parametrize("size", [16, 33, 64])
@pytest.mark.parametrize("supersampling", [1, 2])
def test_a_sphere_covers_a_disc_and_its_depth_is_its_height(size: int, supersampling: int) -> None:
    pictures = render(sphere(60, 90), turns(0, 3), size, supersampling)
    radius = FILLING * size / 2
    area = pictures.alpha.sum((1, 2, 3))
    assert np.abs(area / (np.pi * radius**2) - 1).max() < 0.02
    place = (np.arange(size) - (size - 1) / 2) / radius
    height = np.sqrt(np.clip(1 - place**2 - place[:, None] ** 2, 0, 1))
    inner = height > 0.5
    # A pixel has the depth of its nearest sample.
    tolerance = 0.02 + (supersampling - 1) * 0.75 / radius
    assert np.abs(pictures.depth[:, inner] - height[inner]).max() < tolerance


def test_cube_covers_its_analytic_shadow(tmp_path: Path) -> None:
    """The shadow of a cube of side a has area a^2 (|r31| + |r32| + |r33|)."""
    rotations, size = turns(1, 40), 96
    area = render(cube(tmp_path), rotations, size).alpha.sum((1, 2, 3))
    side = 2 / np.sqrt(3) * FILLING * size / 2
    assert np.abs(area / (side**2 * np.abs(rotations[:, 2]).sum(1)) - 1).max() < 0.02


@pytest.mark.parametrize("is_swapped", [False, True])
def test_the_nearer_triangle_hides_the_farther(is_swapped: bool) -> None:
    plane = [(-1.0, -1.0), (1.0, -1.0), (0.0, 1.0)]
    vertices = np.array([(*p, 0.3) for p in plane] + [(*p, -0.3) for p in plane])
    faces = np.array([(0, 1, 2), (3, 4, 5)])
    colours = np.array([(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)])
    if is_swapped:
        faces, colours = faces[::-1], colours[::-1]
    mesh = make_mesh(vertices, faces, colours)
    behind = np.diag([1.0, -1.0, -1.0])
    front, back = render(mesh, np.stack([np.eye(3), behind]), 32, 1, False).colour[:, :, 16, 16]
    assert front[0] > 0.3
    assert front[2] == 0
    assert back[2] > 0.3
    assert back[0] == 0


@given(seeds)
def test_nothing_shines_through_a_closed_mesh(seed: int) -> None:
    """No gap between neighbours lets the farther side be seen."""
    pictures = render(sphere(24, 37), turns(seed, 2), 48, 1)
    place = (np.arange(48) - 23.5) / (FILLING * 24)
    inner = place**2 + place[:, None] ** 2 < 0.9
    assert (pictures.depth[:, inner] > 0.2).all()


@given(seeds, st.sampled_from([16, 32, 50]), st.sampled_from([1, 2]))
def test_a_quarter_turn_of_the_mesh_is_one_of_the_picture(
    seed: int, size: int, supersampling: int
) -> None:
    """Light stays, so outlines and depths are compared."""
    base = turns(seed, 1)
    plain = render(asymmetric_plane(), base, size, supersampling)
    turned = render(asymmetric_plane(), QUARTER_TURN @ base, size, supersampling)
    differs = np.abs(np.rot90(plain.alpha, axes=(2, 3)) - turned.alpha) > 0.01
    assert differs.mean() < 0.004
    both = np.isfinite(turned.depth) & np.isfinite(np.rot90(plain.depth, axes=(1, 2)))
    gap = np.abs(np.rot90(plain.depth, axes=(1, 2))[both] - turned.depth[both])
    assert (gap > 0.01).mean() < 0.05


@given(seeds, st.booleans())
def test_a_view_does_not_depend_on_its_batch(seed: int, is_smooth: bool) -> None:
    rotations, mesh = turns(seed, 40), asymmetric_plane()
    together = render(mesh, rotations, 24, is_smooth=is_smooth)
    for row in (0, 17, 39):
        alone = render(mesh, rotations[row : row + 1], 24, is_smooth=is_smooth)
        for many, one in zip(together, alone, strict=True):
            np.testing.assert_array_equal(many[row], one[0])


@given(seeds, st.booleans())
def test_flat_faces_follow_lamberts_law_on_both_sides(seed: int, is_smooth: bool) -> None:
    vertices = np.array([(-1.0, -0.6, 0.0), (1.0, -0.6, 0.0), (0.0, 1.0, 0.0)])
    mesh = make_mesh(vertices, np.array([(0, 1, 2)]), np.array([(1.0, 0.5, 0.0)]))
    rotations = turns(seed, 20)
    normals = rotations[:, :, 2] * np.sign(rotations[:, 2, 2])[:, None]
    expected = AMBIENT + (1 - AMBIENT) * np.maximum(normals @ LIGHT, 0)
    pictures = render(mesh, rotations, 33, 1, is_smooth)
    for colour, alpha, shade in zip(pictures.colour, pictures.alpha, expected, strict=True):
        seen = alpha[0] > 0
        np.testing.assert_allclose(colour[0][seen], shade, atol=1e-4)
        np.testing.assert_allclose(colour[1][seen], shade / 2, atol=1e-4)


def test_no_two_rotations_of_the_generated_solid_look_alike() -> None:
    elements = make_group("octahedral").elements()
    rotations = to_matrices(make_group("octahedral").encode(elements).numpy())
    views = render(asymmetric_plane(), rotations, 32).colour.reshape(len(rotations), -1)
    gaps = np.abs(views[:, None] - views).mean(2) + np.eye(len(views))
    assert gaps.min() > 0.004


def test_faulty_and_missing_meshes_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.obj"
    for text, fault in (
        ("v 0 0 x", "line 1: 'x' is not"),
        (POINT, "all vertices are at the same point"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=fault) as error:
            RenderedSource(RenderSourceConfig("render", str(path), 32), 0, 6, "octahedral")
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="there is no such"):
        RenderedSource(RenderSourceConfig("render", str(tmp_path / "no"), 32), 0, 6, "octahedral")


def test_a_folder_of_meshes_is_a_class_each(tmp_path: Path) -> None:
    (tmp_path / "b.obj").write_text(CUBE)
    (tmp_path / "a.obj").write_text(CUBE.replace("v 1 1 1", "v 1 1 5"))
    source = RenderedSource(RenderSourceConfig("render", str(tmp_path), 24), 0, 6, "octahedral")
    assert source.label_meaning == "0 a, 1 b"
    assert source.labels("all", np.arange(4)).tolist() == [0, 1, 0, 1]
    assert sorted(source.checksums()) == ["a.obj", "b.obj"]
    g = make_group("octahedral").identity(4)
    mixed = source.objects("all", np.array([1, 0, 3, 2]), g)
    alone = source.objects("all", np.array([3]), g[:1])
    np.testing.assert_array_equal(mixed.colour[2], alone.colour[0])


@pytest.mark.parametrize("group", ["octahedral", "so3"])
def test_rendered_source_turns_poses_as_the_group_composes(group: str) -> None:
    """The pose under g h is that of h, turned by g; images are keyed by position alone."""
    source = RenderedSource(RenderSourceConfig("render", None, 24), 3, 50, group)
    acting, rng = make_group(group), np.random.default_rng(0)
    indices = np.array([7, 2, 7, 30])
    g, h = acting.sample(rng, 4), acting.sample(rng, 4)
    product = source.objects("all", indices, acting.compose(g, h))
    matrices = [to_matrices(acting.encode(e).numpy()) for e in (g, h, acting.compose(g, h))]
    np.testing.assert_allclose(matrices[0] @ matrices[1], matrices[2], atol=1e-5)
    copy: RenderedSource = pickle.loads(pickle.dumps(source))
    again = copy.objects("all", indices[::-1], acting.compose(g, h).flip(0))
    np.testing.assert_array_equal(again.colour[::-1], product.colour)
    np.testing.assert_array_equal(again.alpha[::-1], product.alpha)
    other = RenderedSource(RenderSourceConfig("render", None, 24), 4, 50, group)
    assert (other.objects("all", indices, g).alpha != source.objects("all", indices, g).alpha).any()


def test_rendered_source_under_a_turn_about_the_viewing_axis_is_the_turned_outline() -> None:
    source = RenderedSource(RenderSourceConfig("render", None, 32), 0, 20, "so3")
    acting = make_group("so3")
    angle = np.pi / 4
    quarter = torch.tensor([[np.cos(angle), 0.0, 0.0, np.sin(angle)]], dtype=torch.float32)
    indices = np.arange(20)
    plain = source.objects("all", indices, acting.identity(20)).alpha.astype(int)
    turned = source.objects("all", indices, acting.decode(quarter.repeat(20, 1))).alpha
    assert (np.abs(np.rot90(plain, axes=(2, 3)) - turned) > 2).mean() < 0.004


def test_rendered_source_refuses_groups_of_the_plane() -> None:
    with pytest.raises(ValueError, match="allowed: so3, octahedral"):
        RenderedSource(RenderSourceConfig("render", None, 32), 0, 6, "c4")


def test_grey_pictures_are_the_others_without_colour() -> None:
    for mesh in (asymmetric_pot(), make_mesh(*TETRAHEDRON)):
        rotations = turns(3, 12)
        grey = render_grey(mesh, rotations, 40)
        colour = render(mesh, rotations, 40).colour[:, :1]
        assert np.array_equal(grey, np.rint(255 * colour).astype(np.uint8))
        assert np.array_equal(render_grey(mesh, rotations[5:6], 40)[0], grey[5])


def test_closed_surfaces_need_one_side_only() -> None:
    pot = asymmetric_pot()
    assert is_closed(pot)
    rotations = turns(4, 40)
    both, outer = (render_grey(pot, rotations, 48, each).astype(int) for each in (False, True))
    # But for samples on an outline, which a side seen from behind may touch.
    assert (np.abs(both - outer) > 1).mean() < 1e-4
    assert both.any()


def test_what_is_closed_and_what_is_not() -> None:
    vertices, faces = TETRAHEDRON
    assert is_closed(make_mesh(vertices, faces))
    assert is_closed(make_mesh(vertices[faces].reshape(-1, 3), np.arange(12).reshape(-1, 3)))
    assert not is_closed(make_mesh(vertices, faces[:3]))
    assert not is_closed(make_mesh(vertices, faces[:, ::-1]))
    assert not is_closed(make_mesh(vertices, np.concatenate([faces[:3], faces[3:, ::-1]])))
    ball = sphere(8, 12)
    inside_out = make_mesh(ball.vertices, ball.faces[:, ::-1])
    assert is_closed(ball) != is_closed(inside_out)


def test_every_orientation_of_the_pot_looks_different() -> None:
    """From those that a symmetry of its parts would make the same, from the one that has the same
    outline if it is its own mirror image, and from its neighbours."""
    pot, size = asymmetric_pot(), 32
    rotations = turns(5, 25)
    cube = Rotation.create_group("O")
    mirror = np.diag([1.0, 1.0, -1.0])
    shown = render_grey(pot, rotations, size, True).astype(float)

    def apart(others: np.ndarray) -> np.ndarray:
        pictures = render_grey(pot, others, size, True).astype(float)
        return np.sqrt(((pictures - shown) ** 2).mean((1, 2, 3)))

    for turn in cube[cube.magnitude() > 0.1].as_matrix():
        assert apart(rotations @ turn).min() > 12
    for plane in (mirror, np.diag([-1.0, 1.0, 1.0])):
        assert apart(mirror @ rotations @ plane).min() > 4
    for turn in Rotation.from_rotvec(np.radians(12) * np.concatenate([np.eye(3), -np.eye(3)])):
        assert apart(turn.as_matrix() @ rotations).min() > 4


def test_a_mesh_comes_back_from_its_text() -> None:
    vertices, faces = TETRAHEDRON
    spare = np.concatenate([np.full((3, 3), 9.0), vertices])
    text = pack_mesh(spare, faces + 3)
    assert text.startswith("4:4:")
    again, expected = unpack_mesh(text), make_mesh(vertices.astype(np.float32), faces)
    for one, other in zip(again, expected, strict=True):
        assert np.array_equal(one, other)
    broken = (
        "",
        "4:4",
        "x:4:AAAA",
        "4:4:?",
        text.replace("4:4", "4:5"),
        text.replace("4:4", "3:4"),
    )
    for bad in (*broken, text[:-8]):
        with pytest.raises(ValueError, match="not a packed mesh"):
            unpack_mesh(bad)


@given(seeds)
def test_a_ball_is_brightest_where_its_light_comes_from(seed: int) -> None:
    """However it is turned, and whichever lights the other pictures have."""
    lights = np.random.default_rng(seed).standard_normal((3, 3)).astype(np.float32)
    lights[:, 2] = 0.3 + np.abs(lights[:, 2])
    lights /= np.linalg.norm(lights, axis=1, keepdims=True)
    size = 32
    pictures = render(sphere(24, 32), turns(seed, 3), size, lights=lights).colour[:, 0]
    for picture, light in zip(pictures, lights, strict=True):
        weights = np.where(picture > np.quantile(picture, 0.99), 1.0, 0.0)
        down, across = np.indices((size, size)) - (size - 1) / 2
        place = np.array([(weights * across).sum(), -(weights * down).sum()]) / weights.sum()
        np.testing.assert_allclose(place / (FILLING * size / 2), light[:2], atol=0.15)
    alone = render(sphere(24, 32), turns(seed, 3)[1:2], size, lights=lights[1]).colour
    np.testing.assert_array_equal(alone[0, 0], pictures[1])
