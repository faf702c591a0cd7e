"""Protects the actions of finite groups on frames and latents: exact, and as documented.

The action is compared with a cell-by-cell computation from the action vector alone,
so that matrices, signs of axes and the order of turn and shift are what is documented.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from orbit.core.groups import Group, make_group
from pipeline.arithmetic import prepare_compiler

POINT_SPECS = ("c4", "d4", "octahedral")
WRAP_SPECS = (
    "wrap1d:6:1",
    "wrap2d:6:2",
    "wrap3d:6:3",
    "c4+wrap:6:1",
    "d4+wrap:8:2",
    "octahedral+wrap:6:2",
)
ALL_SPECS = (*POINT_SPECS, *WRAP_SPECS)


def side_of(spec: str) -> int:
    return int(spec.split(":")[1]) if ":" in spec else 5


def num_axes_of(spec: str) -> int:
    return 3 if "octahedral" in spec or "3d" in spec else 1 if "1d" in spec else 2


def frames(spec: str, seed: int, num: int, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    rows = (3,) if num_axes_of(spec) == 1 else ()
    shape = (num, 2, *rows, *(side_of(spec),) * num_axes_of(spec))
    values = np.random.default_rng(seed).integers(0, 250, shape)
    return torch.from_numpy(values).to(dtype)


def draw(group: Group, seed: int, num: int) -> torch.Tensor:
    return group.sample(np.random.default_rng(seed), num)


def motion(spec: str, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The matrix and shift that an action vector stands for, by the documented meaning."""
    num_axes = num_axes_of(spec)
    point, shift = (np.split(action, [-num_axes])) if ":" in spec else (action, np.zeros(num_axes))
    if spec.startswith("wrap"):
        return np.eye(num_axes), shift
    if spec.startswith("octahedral"):
        return Rotation.from_quat(np.roll(point, -1)).as_matrix().round(), shift
    angle = point[0] * math.pi / 2
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    mirror = np.diag([-1.0 if spec.startswith("d4") and point[1] else 1.0, 1.0])
    return (turn @ mirror).round(), shift


def moved_cell_by_cell(spec: str, image: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Each value of (C, S, S) or (C, S, S, S) put where R p + t says, modulo the side."""
    if num_axes_of(spec) == 1:
        return np.roll(image, int(action[0]), -1)
    matrix, shift = motion(spec, action)
    side, num_axes = image.shape[-1], num_axes_of(spec)
    out = np.full_like(image, 255)
    for cell in np.ndindex(*image.shape[1:]):
        point = np.array(cell[::-1]) - (side - 1) / 2
        point[1] *= -1
        target = matrix @ point + shift
        target[1] *= -1
        index = np.rint(target + (side - 1) / 2).astype(int)[::-1] % side
        out[(slice(None), *index)] = image[(slice(None), *cell)]
    assert num_axes == len(shift)
    return out


@pytest.mark.parametrize("spec", ALL_SPECS)
def test_action_moves_each_cell_where_its_vector_says(spec: str) -> None:
    group = make_group(spec)
    num = group.num_elements if spec in POINT_SPECS else 24
    g = group.elements() if spec in POINT_SPECS else draw(group, 3, num)
    images = frames(spec, 4, num)
    expected = np.stack(
        [
            moved_cell_by_cell(spec, image.numpy(), action.numpy())
            for image, action in zip(images, group.encode(g), strict=True)
        ]
    )
    assert np.array_equal(group.act_on_image(images, g).numpy(), expected)


@settings(max_examples=40)
@given(
    spec=st.sampled_from(ALL_SPECS),
    seed=st.integers(0, 2**31),
    num=st.integers(1, 6),
    dtype=st.sampled_from([torch.uint8, torch.int64, torch.bool, torch.float16, torch.float32]),
)
def test_action_is_an_exact_homomorphism(
    spec: str, seed: int, num: int, dtype: torch.dtype
) -> None:
    group = make_group(spec)
    x = frames(spec, seed, num, dtype)
    g, h = draw(group, seed, num), draw(group, seed + 1, num)
    in_turn = group.act_on_image(group.act_on_image(x, h), g)
    assert in_turn.dtype == dtype
    assert torch.equal(in_turn, group.act_on_image(x, group.compose(g, h)))
    assert torch.equal(group.act_on_image(x, group.identity(num)), x)
    assert torch.equal(group.act_on_image(group.act_on_image(x, g), group.inverse(g)), x)


@pytest.mark.parametrize(
    ("spec", "latent_side"),
    [("wrap2d:12:4", 6), ("c4+wrap:12:4", 3), ("d4+wrap:12:6", 4), ("octahedral+wrap:12:4", 6)],
)
def test_latents_move_with_the_frames_they_pool(spec: str, latent_side: int) -> None:
    group = make_group(spec)
    g = draw(group, 0, 30)
    factor = side_of(spec) // latent_side
    group.check_latent_shape((latent_side,) * num_axes_of(spec))
    pool = torch.nn.AvgPool2d if num_axes_of(spec) == 2 else torch.nn.AvgPool3d
    images = frames(spec, 1, 30, torch.float32)
    pooled = pool(factor)
    assert torch.allclose(
        group.act_on_latent(pooled(images), g), pooled(group.act_on_image(images, g)), atol=1e-3
    )
    h = draw(group, 1, 30)
    latent = torch.randn(30, 3, *(latent_side,) * num_axes_of(spec))
    in_turn = group.act_on_latent(group.act_on_latent(latent, h), g)
    assert torch.equal(in_turn, group.act_on_latent(latent, group.compose(g, h)))


@pytest.mark.parametrize("spec", ["d4", "octahedral", "c4+wrap:6:2", "octahedral+wrap:6:3"])
def test_quarter_turns_within_the_group_are_those_of_c4(spec: str) -> None:
    group, cyclic = make_group(spec), make_group("c4")
    names = ("0", "90 z", "180 z", "90 -z") if "octahedral" in spec else cyclic.bin_names
    elements = group.elements()
    all_names = group.names(elements)
    g = torch.stack([elements[all_names.index(name)] for name in names])
    x = frames(spec, 0, 4)
    assert torch.equal(group.act_on_image(x, g), cyclic.act_on_image(x, cyclic.elements()))


def test_mirror_comes_before_the_turn() -> None:
    group = make_group("d4")
    image = torch.arange(9).reshape(1, 1, 3, 3)
    g = group.decode(torch.tensor([[1.0, 1.0]]))
    assert group.names(g) == ["90 mirrored"]
    assert torch.equal(group.act_on_image(image, g), image.flip(-1).rot90(1, (-2, -1)))


def test_shifts_go_right_up_and_along_the_first_axis() -> None:
    group = make_group("wrap3d:4:1")
    volume = torch.zeros(1, 1, 4, 4, 4)
    volume[0, 0, 0, 2, 0] = 1
    for shift, cell in (((1, 0, 0), (0, 2, 1)), ((0, 1, 0), (0, 1, 0)), ((0, 0, 1), (1, 2, 0))):
        g = group.decode(torch.tensor([shift], dtype=torch.float32))
        acted = group.act_on_image(volume, g)
        assert acted[0, 0].nonzero().tolist() == [list(cell)]


@pytest.mark.parametrize(
    ("spec", "fitting", "misfits"),
    [
        ("d4", (28, 28), [(28, 32), (8, 8, 8), (8,), ()]),
        ("octahedral", (8, 8, 8), [(8, 8), (4, 8, 8)]),
        ("wrap1d:28:4", (3, 28), [(28, 3), (28,), (28, 28, 28)]),
        ("wrap2d:28:4", (28, 28), [(32, 32), (28, 32), (28, 28, 28)]),
        ("octahedral+wrap:8:4", (8, 8, 8), [(8, 8), (4, 4, 4)]),
    ],
)
def test_frames_of_another_lattice_are_refused(
    spec: str, fitting: tuple[int, ...], misfits: list[tuple[int, ...]]
) -> None:
    group = make_group(spec)
    group.check_spatial_shape(fitting)
    for spatial in misfits:
        with pytest.raises(ValueError, match=spec.replace("+", r"\+")):
            group.check_spatial_shape(spatial)


def test_latents_that_shift_by_parts_of_a_cell_are_refused_with_a_step_that_fits() -> None:
    group = make_group("c4+wrap:28:4")
    for fitting in (7, 14, 28):
        group.check_latent_shape((fitting, fitting))
    with pytest.raises(ValueError, match="the nearest step that fits is 7"):
        group.check_latent_shape((8, 8))
    make_group("c4+wrap:28:7").check_latent_shape((8, 8))
    with pytest.raises(ValueError, match="the nearest step that fits is 6"):  # of 3, 6 and 12
        make_group("wrap2d:24:8").check_latent_shape((8, 8))
    with pytest.raises(ValueError, match="no step fits"):
        group.check_latent_shape((9, 9))
    with pytest.raises(ValueError, match="square"):
        group.check_latent_shape((7, 14))
    make_group("octahedral").check_latent_shape((3, 3, 3))


@pytest.mark.parametrize("spec", ["octahedral", "d4+wrap:8:2"])
def test_gradients_pass_back_through_the_inverse(spec: str) -> None:
    group = make_group(spec)
    g = draw(group, 0, 5)
    x = frames(spec, 0, 5, torch.float64).requires_grad_()
    weight = frames(spec, 1, 5, torch.float64)
    (group.act_on_latent(x, g) * weight).sum().backward()
    assert torch.equal(x.grad, group.act_on_latent(weight, group.inverse(g)))


def test_compiled_groups_keep_their_own_tables() -> None:
    def act(group: Group, x: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return group.act_on_latent(x, group.decode(action))

    prepare_compiler()
    compiled = torch.compile(act, fullgraph=True)
    for spec in ("octahedral+wrap:4:2", "wrap3d:4:2"):
        group = make_group(spec)
        x = torch.rand(3, 2, 4, 4, 4)
        action = group.encode(draw(group, 0, 3))
        assert torch.equal(compiled(group, x, action), act(group, x, action))
