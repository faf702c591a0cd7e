"""Protects the continuous groups away from interpolation error: laws, draws, conventions.

Quaternions are held against scipy's rotations; draws must follow the Haar measure;
frames of every stored type must turn, and turns by multiples of 90 degrees must be
those of C4 within the disc or ball.
"""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from pipeline.groups import MIN_INTERPOLATED_LATENT_SIDE, Group, make_group, quaternions

SPECS = ("so2", "so3", "so2+shift:20:2.5", "so3+shift:16:3")
HALF = math.sqrt(0.5)


def draw(spec: str, seed: int, num: int) -> torch.Tensor:
    return make_group(spec).sample(np.random.default_rng(seed), num)


def shape_of(spec: str) -> tuple[int, ...]:
    side = int(spec.split(":")[1]) if ":" in spec else 15
    return (side,) * (3 if "so3" in spec else 2)


def as_scipy(q: torch.Tensor) -> Rotation:
    return Rotation.from_quat(np.roll(q.numpy(), -1, axis=-1))


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


def close(group: Group, g: torch.Tensor, h: torch.Tensor, tolerance: float) -> bool:
    return bool((group.distance(g, h) < tolerance).all())


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_group_laws(spec: str, dtype: torch.dtype, tolerance: float) -> None:
    group = make_group(spec)
    # Quaternions of float32 are of unit length to float32 only.
    g, h, k = (draw(spec, seed, 300).to(dtype) for seed in range(3))
    if "so3" in spec:
        g, h, k = (torch.cat((group_unit(x[:, :4]), x[:, 4:]), 1) for x in (g, h, k))
    identity = group.identity(300).to(dtype)
    left = group.compose(group.compose(g, h), k)
    assert left.dtype == dtype
    assert close(group, left, group.compose(g, group.compose(h, k)), tolerance)
    assert close(group, group.compose(g, identity), g, tolerance)
    assert close(group, group.compose(identity, g), g, tolerance)
    assert close(group, group.compose(g, group.inverse(g)), identity, tolerance)
    assert close(group, group.compose(group.inverse(g), g), identity, tolerance)
    assert not close(group, g, h, 0.1)


def group_unit(q: torch.Tensor) -> torch.Tensor:
    return q / q.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("spec", SPECS)
def test_distance_is_a_left_invariant_metric(spec: str) -> None:
    group = make_group(spec)
    g, h, k = (draw(spec, seed, 500).double() for seed in range(3))
    distance = group.distance(g, h)
    assert torch.allclose(distance, group.distance(h, g))
    assert (group.distance(g, k) <= distance + group.distance(h, k) + 1e-6).all()
    moved = group.distance(group.compose(k, g), group.compose(k, h))
    assert torch.allclose(moved, distance, atol=1e-6)
    assert (distance > 0).all()
    for degrees in (1e-4, 30.0, 179.9999, 180.0):
        turns = about_z(spec, [degrees, 0.0])
        found = float(group.distance(turns[:1], turns[1:]))
        assert found == pytest.approx(math.radians(degrees), rel=1e-9)


def test_distance_of_shifts_counts_them_as_parts_of_a_turn() -> None:
    group = make_group("so2+shift:20:2.5")
    g = torch.tensor([[0.3, 1.0, 5.0], [0.3, 1.0, 0.0]])
    assert float(group.distance(g[:1], g[1:])) == pytest.approx(math.pi / 2)


@pytest.mark.parametrize("spec", SPECS)
def test_action_vectors_round_trip(spec: str) -> None:
    group = make_group(spec)
    elements = draw(spec, 0, 500)
    action = group.encode(elements)
    assert action.dtype == torch.float32
    assert action.shape == (500, len(group.action_components))
    assert close(group, group.decode(action), elements, 1e-6)
    assert torch.allclose(group.encode(group.decode(action)), action, atol=1e-6)
    low = torch.tensor([component.minimum for component in group.action_components])
    high = torch.tensor([component.maximum for component in group.action_components])
    assert ((action >= low) & (action <= high)).all()


def test_a_quaternion_and_its_negative_are_one_turn() -> None:
    group = make_group("so3")
    q = draw("so3", 0, 100)
    assert torch.equal(group.encode(-q), group.encode(q))
    assert close(group, q, -q, 1e-6)
    half_turns = torch.tensor([[0.0, -1, 0, 0], [0, 0, -1, 0], [0, 0, -0.6, 0.8], [0, 0, 0, -1]])
    assert torch.equal(group.encode(half_turns), -half_turns)


def test_continuous_groups_have_no_list_of_elements() -> None:
    for spec in SPECS:
        group = make_group(spec)
        assert group.num_elements is None
        for refused in (group.elements, lambda g=group: g.element_index(g.identity(1))):
            with pytest.raises(ValueError, match="cannot be listed"):
                refused()


def test_planar_samples_are_uniform() -> None:
    angles = draw("so2", 0, 36_000)
    counts = torch.histc(angles, 36, -math.pi, math.pi)
    assert int(counts.sum()) == 36_000
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 66.6  # chi-square, 35 degrees, p = 0.001


def test_space_samples_follow_the_haar_measure() -> None:
    q = draw("so3", 0, 40_000)
    assert torch.allclose(q.norm(dim=1), torch.ones(1))
    matrices = quaternions.to_matrix(q.double()).flatten(1)
    # Of a uniform rotation matrix the entries have mean 0 and covariance 1/3.
    assert matrices.mean(0).abs().max() < 5 * math.sqrt(1 / 3 / 40_000)
    covariance = matrices.T @ matrices / 40_000
    assert (covariance - torch.eye(9) / 3).abs().max() < 5 / math.sqrt(40_000)
    # The angle t has the distribution function (t - sin t) / pi.
    angle = quaternions.angle(q.double())
    level = (angle - angle.sin()) / math.pi
    counts = torch.histc(level, 40, 0, 1)
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 72.1  # chi-square, 39 degrees, p = 0.001


@pytest.mark.parametrize("spec", SPECS[2:])
def test_sampled_shifts_fill_their_cube(spec: str) -> None:
    num_axes = len(shape_of(spec))
    shifts = draw(spec, 0, 20_000)[:, -num_axes:]
    greatest = float(spec.split(":")[2])
    for column in shifts.unbind(1):
        assert float(column.abs().max()) <= greatest
        counts = torch.histc(column, 20, -greatest, greatest)
        assert float(((counts - 1000) ** 2 / 1000).sum()) < 43.8  # 19 degrees, p = 0.001
    rotation = draw(spec, 0, 20_000)[:, :-num_axes]
    assert torch.equal(rotation.squeeze(1), draw(spec.split("+")[0], 0, 20_000))


def test_quaternions_agree_with_scipy() -> None:
    p, q = draw("so3", 0, 200).double(), draw("so3", 1, 200).double()
    p, q = group_unit(p), group_unit(q)
    product = as_scipy(p) * as_scipy(q)
    for found, expected in (
        (quaternions.to_matrix(quaternions.multiply(p, q)), product.as_matrix()),
        (quaternions.rotation_vector(q), as_scipy(q).as_rotvec()),
        (quaternions.rotation_vector(-q), as_scipy(q).as_rotvec()),
        (quaternions.to_matrix(quaternions.conjugate(q)), as_scipy(q).inv().as_matrix()),
        (quaternions.angle(q), as_scipy(q).magnitude()),
    ):
        assert np.allclose(found.numpy(), expected, rtol=0, atol=1e-12)
    half_turns = torch.eye(4, dtype=torch.float64)
    for rotation in (q, half_turns):
        back = quaternions.from_matrix(quaternions.to_matrix(rotation))
        assert torch.allclose(back, quaternions.canonical(rotation), rtol=0, atol=1e-12)
    axis_and_angle = quaternions.from_axis((1, 2, -2), 75)
    expected = Rotation.from_rotvec(np.radians(75) * np.array([1, 2, -2]) / 3).as_matrix()
    assert np.allclose(quaternions.to_matrix(axis_and_angle).numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-12, 1e-7, 2e-6, 1e-3])
def test_rotation_vectors_of_tiny_turns_lose_no_digits(size: float) -> None:
    vector = np.array([[0.6, 0.0, -0.8]]) * size
    sine = math.sin(size / 2)
    q = torch.tensor([[math.cos(size / 2), 0.6 * sine, 0.0, -0.8 * sine]], dtype=torch.float64)
    found = quaternions.rotation_vector(q)
    assert np.allclose(found.numpy(), vector, rtol=1e-11, atol=0)


def test_names() -> None:
    so2, so3 = make_group("so2"), make_group("so3")
    assert so2.names(torch.tensor([0.0, math.pi / 3, -math.pi / 2, 6.2831])) == [
        "0",
        "60",
        "270",
        "0",
    ]
    q = torch.tensor(
        [[1.0, 0, 0, 0], [-HALF, 0, 0, -HALF], [HALF, -HALF, 0, 0], [0.5, 0.5, 0.5, -0.5]]
    )
    assert so3.names(q) == ["0", "90 z", "90 -x", "120 [1 1 -1]"]
    oblique = quaternions.from_axis((0.3, 0.5, 0.8), 57)[None].float()
    assert so3.names(oblique) == ["57 [0.3 0.5 0.8]"]
    moved = make_group("so2+shift:20:2.5")
    assert moved.names(torch.tensor([[math.pi / 6, 1.25, -2.0]])) == ["30 + (1.2, -2)"]


@pytest.mark.parametrize("spec", SPECS)
def test_bins_are_ranges_of_the_angle_and_hold_the_identity_apart(spec: str) -> None:
    group = make_group(spec)
    turns = about_z(spec, [0.0, 0.1, 45.0, 46.0, 90.0, 91.0, 135.0, 136.0, 180.0, -20.0])
    expected = [0, 1, 1, 2, 2, 3, 3, 4, 4, 1]
    for elements in (turns, turns.float()):
        assert group.bin_index(elements).tolist() == expected
    assert group.bin_names == ("identity", "0-45", "45-90", "90-135", "135-180")
    g = draw(spec, 0, 50)
    assert (group.bin_index(group.compose(g, group.inverse(g))) == 0).all()
    assert group.bin_index(group.identity(3)).tolist() == [0, 0, 0]
    if "shift" in spec:
        shifted = group.identity(1)
        shifted[0, -1] = 1.0
        assert group.bin_index(shifted).tolist() == [1]
    examples = group.examples()
    assert len(examples) == len(set(group.names(examples))) <= 8
    assert group.bin_index(examples[:1]).tolist() == [0]


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
    q = group_unit(draw("so3", 0, 4).double())
    volume = np.random.default_rng(0).normal(size=(11, 11, 11))
    x = torch.from_numpy(volume).expand(4, 1, 11, 11, 11)
    acted = make_group("so3").act_on_image(x, q)
    # scipy asks for the matrix that takes places of the result, (z, y downwards, x), to sources.
    to_arrays = np.array([[0.0, 0, 1], [0, -1, 0], [1, 0, 0]])
    inside = is_inside((11, 11, 11)).numpy()
    for found, element in zip(acted[:, 0].numpy(), q, strict=True):
        back = to_arrays @ as_scipy(element).inv().as_matrix()
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

    compiled = torch.compile(act, fullgraph=True)
    assert torch.allclose(compiled(x, group.encode(g)), act(x, group.encode(g)), atol=1e-5)
