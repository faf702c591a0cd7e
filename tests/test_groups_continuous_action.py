"""Protects the actions of continuous groups on frames and latents, away from smooth images.

Frames of every stored type must turn, and turns by multiples of 90 degrees must be those
of C4 within the disc or ball; volumes must turn as scipy turns them; what no
interpolation can serve must be refused.
"""

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from orbit.core.groups import MIN_INTERPOLATED_LATENT_SIDE, make_group
from pipeline.arithmetic import prepare_compiler

SPECS = ("so2", "so3", "so2+shift:20:2.5", "so3+shift:16:3")


def draw(spec: str, seed: int, num: int) -> torch.Tensor:
    return make_group(spec).sample(np.random.default_rng(seed), num)


def shape_of(spec: str) -> tuple[int, ...]:
    side = int(spec.split(":")[1]) if ":" in spec else 15
    return (side,) * (3 if "so3" in spec else 2)


def about_z(spec: str, degrees: list[float]) -> torch.Tensor:
    """Turns about the first axis of volumes, without shift, float64."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    if "so2" in spec:
        rotation = angles[:, None]
    else:
        zero = torch.zeros_like(angles)
        rotation = torch.stack(((angles / 2).cos(), zero, zero, (angles / 2).sin()), 1)
    if "shift" not in spec:
        return rotation.view(-1, *make_group(spec).identity(1).shape[1:])
    return torch.cat((rotation, torch.zeros(len(degrees), len(shape_of(spec)))), 1)


def is_inside(shape: tuple[int, ...]) -> torch.Tensor:
    """The lattice points of the inscribed disc or ball."""
    half = (shape[0] - 1) / 2
    axes = [torch.arange(side) - half for side in shape]
    return sum(axis.square() for axis in torch.meshgrid(*axes, indexing="ij")) <= half**2


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("odd", [False, True])
def test_quarter_turns_are_those_of_c4(spec: str, odd: bool) -> None:
    group, cyclic = make_group(spec), make_group("c4")
    shape = shape_of(spec) if "shift" in spec else tuple(s + odd for s in shape_of(spec))
    x = torch.from_numpy(np.random.default_rng(0).uniform(0, 1, (4, 2, *shape)))
    expected = cyclic.act_on_image(x, cyclic.elements())
    if "shift" not in spec:
        expected = torch.where(is_inside(shape), expected, x)
    g = about_z(spec, [0.0, 90.0, 180.0, -90.0])
    assert (group.act_on_image(x, g) - expected).abs().max() < 1e-12
    single = group.act_on_image(x.float(), g.float())
    assert single.dtype == torch.float32
    assert (single - expected).abs().max() < 2e-5


@pytest.mark.parametrize("spec", SPECS[:2])
def test_the_rest_of_the_frame_stays_and_constants_do(spec: str) -> None:
    group = make_group(spec)
    x = torch.rand(5, 1, *shape_of(spec))
    g = draw(spec, 0, 5)
    acted = group.act_on_image(x, g)
    outside = ~is_inside(shape_of(spec))
    assert outside.any()
    assert torch.equal(acted[:, :, outside], x[:, :, outside])
    assert (acted - x)[:, :, ~outside].abs().amax(-1).min() > 0.05
    assert torch.allclose(group.act_on_image(3 * x - 1, g), 3 * acted - 1, atol=1e-5)


def test_volumes_turn_as_in_scipy() -> None:
    q = draw("so3", 0, 4).double()
    q = q / q.norm(dim=1, keepdim=True)
    volume = np.random.default_rng(0).normal(size=(11, 11, 11))
    x = torch.from_numpy(volume).expand(4, 1, 11, 11, 11)
    acted = make_group("so3").act_on_image(x, q)
    # scipy asks for the matrix that takes places of the result, (z, y downwards, x), to sources.
    to_arrays = np.array([[0.0, 0, 1], [0, -1, 0], [1, 0, 0]])
    inside = is_inside((11, 11, 11)).numpy()
    for found, element in zip(acted[:, 0].numpy(), q, strict=True):
        back = to_arrays @ Rotation.from_quat(np.roll(element.numpy(), -1)).inv().as_matrix()
        back = back @ to_arrays.T
        centre = np.full(3, 5.0)
        expected = affine_transform(volume, back, centre - back @ centre, order=1, mode="nearest")
        assert np.allclose(found[inside], expected[inside], rtol=0, atol=1e-10)


@pytest.mark.parametrize("spec", SPECS)
def test_stored_frames_are_rounded_and_halves_stay_halves(spec: str) -> None:
    group = make_group(spec)
    g = draw(spec, 0, 6)
    values = np.random.default_rng(0).integers(0, 256, (6, 1, *shape_of(spec)), dtype=np.uint8)
    x = torch.from_numpy(values)
    exact = group.act_on_image(x.double(), g.double())
    acted = group.act_on_image(x, g)
    assert acted.dtype == torch.uint8
    assert (acted.double() - exact).abs().max() <= 0.5 + 1e-2
    for dtype in (torch.bfloat16, torch.float16):
        half = group.act_on_image((x / 255).to(dtype), g)
        assert half.dtype == dtype
        assert (half.double() - exact / 255).abs().max() < 0.01
    with pytest.raises(ValueError, match="int64"):
        group.act_on_image(x.long(), g)


@pytest.mark.parametrize("spec", SPECS)
def test_mixed_precision_misplaces_nothing(spec: str) -> None:
    group = make_group(spec)
    g, x = draw(spec, 0, 3), torch.rand(3, 1, *shape_of(spec))
    expected = group.act_on_image(x, g)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(group.act_on_image(x, g), expected)


@pytest.mark.parametrize("spec", SPECS)
def test_action_is_linear_so_that_gradients_are_those_of_a_matrix(spec: str) -> None:
    group = make_group(spec)
    g = draw(spec, 0, 2).double()
    x, y = torch.rand(2, 2, 1, *shape_of(spec), dtype=torch.float64)
    x.requires_grad_()
    weight = torch.rand_like(x)
    (group.act_on_latent(x, g) * weight).sum().backward()
    change = (group.act_on_latent(y, g) * weight).sum()
    assert float((x.grad * y).sum()) == pytest.approx(float(change), rel=1e-10)


def test_each_sample_has_its_own_element() -> None:
    for spec in SPECS:
        group, g = make_group(spec), draw(spec, 0, 3)
        x = torch.rand(3, 2, *shape_of(spec))
        acted = group.act_on_image(x, g)
        for index in range(3):
            one = group.act_on_image(x[index : index + 1], g[index : index + 1])
            assert torch.allclose(one[0], acted[index], atol=1e-6)


@pytest.mark.parametrize("spec", SPECS[2:])
def test_shifts_go_right_up_and_along_the_first_axis_and_scale_with_the_lattice(spec: str) -> None:
    group = make_group(spec)
    num_axes, period = len(shape_of(spec)), shape_of(spec)[0]
    for side in (period, 2 * period):
        x = torch.rand(1, 1, *(side,) * num_axes)
        cells = 2 * side // period
        for axis in range(num_axes):
            g = group.identity(1)
            g[0, axis - num_axes] = 2.0
            direction = -1 if axis == 1 else 1
            rolled = x.roll(direction * cells, num_axes + 1 - axis)
            kept = (slice(None), slice(None), *(slice(cells, -cells),) * num_axes)
            assert torch.allclose(group.act_on_latent(x, g)[kept], rolled[kept], atol=1e-4)


def test_what_comes_into_view_repeats_the_border() -> None:
    group = make_group("so2+shift:20:2.5")
    x = torch.arange(5.0, 25.0).expand(1, 1, 20, 20)
    acted = group.act_on_image(x, torch.tensor([[0.0, 3.0, 0.0]]))
    assert torch.allclose(acted[0, 0, 5, :6], torch.tensor([5.0, 5, 5, 5, 6, 7]), atol=1e-5)


@pytest.mark.parametrize("spec", SPECS)
def test_frames_and_latents_of_another_lattice_are_refused(spec: str) -> None:
    group, shape = make_group(spec), shape_of(spec)
    group.check_spatial_shape(shape)
    others = [(*shape, shape[0]), shape[:1], (*shape[1:], 99), ()]
    if "shift" in spec:
        others.append(tuple(side + 1 for side in shape))
    for spatial in others:
        with pytest.raises(ValueError, match=spec.replace("+", r"\+")):
            group.check_spatial_shape(spatial)
    least = MIN_INTERPOLATED_LATENT_SIDE
    group.check_latent_shape((least,) * len(shape))
    with pytest.raises(ValueError, match=f"at least {least} cells"):
        group.check_latent_shape((least - 1,) * len(shape))


def test_images_of_objects_in_space_are_sent_to_an_action_on_channels() -> None:
    for spec, side in (("so3", 28), ("so3+shift:16:3", 16)):
        with pytest.raises(ValueError, match="action on latent channels"):
            make_group(spec).check_spatial_shape((side, side))


def test_a_frame_of_one_cell_stays() -> None:
    x = torch.rand(2, 1, 1, 1)
    assert torch.equal(make_group("so2").act_on_image(x, draw("so2", 0, 2)), x)


def test_compiled_action_is_that_of_eager() -> None:
    group = make_group("so3")
    x, g = torch.rand(2, 1, 14, 14, 14), draw("so3", 0, 2)

    def act(x: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return group.act_on_latent(x, group.decode(action))

    prepare_compiler()
    compiled = torch.compile(act, fullgraph=True)
    assert torch.allclose(compiled(x, group.encode(g)), act(x, group.encode(g)), atol=1e-5)
