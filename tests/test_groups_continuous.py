"""Protects the continuous groups as groups: laws, draws, distances, vectors, bins and names.

Draws must follow the Haar measure; q and -q must be one rotation throughout.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from orbit.core.groups import Group, make_group, quaternions

SPECS = ("so2", "so3", "so2+shift:20:2.5", "so3+shift:16:3")
HALF = math.sqrt(0.5)
Draw = Callable[[str, int, int], torch.Tensor]


def draw(spec: str, seed: int, num: int) -> torch.Tensor:
    return make_group(spec).sample(np.random.default_rng(seed), num)


def draw_by_uniforms(spec: str, seed: int, num: int) -> torch.Tensor:
    group = make_group(spec)
    uniforms = np.random.default_rng(seed).random((num, group.num_uniforms))
    return group.from_uniforms(torch.from_numpy(uniforms))


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


def close(group: Group, g: torch.Tensor, h: torch.Tensor, tolerance: float) -> bool:
    return bool((group.distance(g, h) < tolerance).all())


def unit(q: torch.Tensor) -> torch.Tensor:
    return q / q.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_group_laws(spec: str, dtype: torch.dtype, tolerance: float) -> None:
    group = make_group(spec)
    # Quaternions of float32 are of unit length to float32 only.
    g, h, k = (draw(spec, seed, 300).to(dtype) for seed in range(3))
    if "so3" in spec:
        g, h, k = (torch.cat((unit(x[:, :4]), x[:, 4:]), 1) for x in (g, h, k))
    identity = group.identity(300).to(dtype)
    left = group.compose(group.compose(g, h), k)
    assert left.dtype == dtype
    assert close(group, left, group.compose(g, group.compose(h, k)), tolerance)
    assert close(group, group.compose(g, identity), g, tolerance)
    assert close(group, group.compose(identity, g), g, tolerance)
    assert close(group, group.compose(g, group.inverse(g)), identity, tolerance)
    assert close(group, group.compose(group.inverse(g), g), identity, tolerance)
    assert not close(group, g, h, 0.1)


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


@pytest.mark.parametrize("draw", [draw, draw_by_uniforms])
def test_planar_samples_are_uniform(draw: Draw) -> None:
    angles = draw("so2", 0, 36_000)
    counts = torch.histc(angles, 36, -math.pi, math.pi)
    assert int(counts.sum()) == 36_000
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 66.6  # chi-square, 35 degrees, p = 0.001


@pytest.mark.parametrize("draw", [draw, draw_by_uniforms])
def test_space_samples_follow_the_haar_measure(draw: Draw) -> None:
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


@pytest.mark.parametrize("draw", [draw, draw_by_uniforms])
@pytest.mark.parametrize("spec", SPECS[2:])
def test_sampled_shifts_fill_their_cube(spec: str, draw: Draw) -> None:
    num_axes = len(shape_of(spec))
    shifts = draw(spec, 0, 20_000)[:, -num_axes:]
    greatest = float(spec.split(":")[2])
    for column in shifts.unbind(1):
        assert float(column.abs().max()) <= greatest
        counts = torch.histc(column, 20, -greatest, greatest)
        assert float(((counts - 1000) ** 2 / 1000).sum()) < 43.8  # 19 degrees, p = 0.001
    rotation = draw(spec, 0, 20_000)[:, :-num_axes]
    assert len(rotation.unique(dim=0)) > 19_000


def test_rotations_are_drawn_before_shifts() -> None:
    for spec in SPECS[2:]:
        num_axes = len(shape_of(spec))
        rotation = draw(spec, 0, 50)[:, :-num_axes]
        assert torch.equal(rotation.squeeze(1), draw(spec.split("+")[0], 0, 50))


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
