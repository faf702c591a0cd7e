"""Protects the continuous actions on pixels: as near to a group action as interpolation can be.

Linear interpolation of f between lattice points at fractions (a, b, ...) of a cell errs
by at most a(1-a)/2 max|f_xx| + b(1-b)/2 max|f_yy| + ..., one axis after the other, and
never makes an error that was there before any larger, as it takes weighted means. A
smooth f, known between the lattice points and zero near the edge of the disc, must
therefore turn by g up to bound(g), and g (h f) must agree with (g h) f up to
bound(g) + bound(h) + bound(g h), which is zero at multiples of 90 degrees.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from orbit.core.groups import make_group, quaternions

ROUNDING = 1e-11
Field = Callable[[torch.Tensor], torch.Tensor]


def smooth_field(num_axes: int, radius: float, seed: int) -> Field:
    """A function of points (..., k) in pixels, zero outside the radius: windowed long waves."""
    rng = np.random.default_rng(seed)
    waves = torch.from_numpy(rng.normal(0, 2 / radius, (4, num_axes)))
    phases = torch.from_numpy(rng.uniform(0, 2 * math.pi, 4))

    def field(points: torch.Tensor) -> torch.Tensor:
        window = (1 - points.square().sum(-1) / radius**2).clamp(min=0) ** 4
        return window * (points @ waves.T + phases).cos().sum(-1)

    return field


def greatest_curvature(field: Field, num_axes: int, radius: float) -> float:
    """The greatest second derivative of the field in any direction, found on dense points."""
    axes = [torch.linspace(-radius, radius, 61 if num_axes == 2 else 25).double()] * num_axes
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)
    hessians = torch.func.vmap(torch.func.hessian(field))(points)
    # Between those points it may be a little greater.
    return 1.1 * float(torch.linalg.matrix_norm(hessians, 2).max())


def lattice(side: int, num_axes: int) -> torch.Tensor:
    """Points (x, y[, z]) of a lattice, (S, S, k) or (S, S, S, k) float64, y upwards."""
    axes = [torch.arange(side).double() - (side - 1) / 2] * num_axes
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flip(-1)
    points[..., 1] *= -1
    return points


def motion(spec: str, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Matrix (k, k) and shift (k,) of one element, by the documented meaning."""
    num_axes = 2 if "so2" in spec else 3
    shift = g[-num_axes:] if "shift" in spec else torch.zeros(num_axes).double()
    if num_axes == 3:
        return quaternions.to_matrix(g[:4]), shift
    angle = float(g.flatten()[0])
    turn = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    return torch.tensor(turn).double(), shift


def bound(spec: str, g: torch.Tensor, curvature: float, side: int) -> float:
    """The greatest error of acting once, from how far sources lie from lattice points."""
    matrix, shift = motion(spec, g)
    points = lattice(side, len(shift))
    if "shift" not in spec:
        points = points[points.norm(dim=-1) <= (side - 1) / 2]
    fraction = ((points - shift) @ matrix + (side - 1) / 2).remainder(1)
    return float((fraction * (1 - fraction) / 2).sum(-1).max()) * curvature + ROUNDING


def moved(spec: str, field: Field, g: torch.Tensor, side: int) -> torch.Tensor:
    """The values of g f on the lattice, without interpolation."""
    matrix, shift = motion(spec, g)
    return field((lattice(side, len(shift)) - shift) @ matrix)


def elements(spec: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs g, h in float64: drawn ones, multiples of 90 degrees, and one with the other."""
    group = make_group(spec)
    rng = np.random.default_rng(5)
    g, h = (group.sample(rng, 8).double() for _ in range(2))
    quarter = [(0, 0, 1), (1, 0, 0), (0, 1, 0)]
    for index in range(4):
        turns = (index + 1) * math.pi / 2, -(index + 1) * math.pi / 2
        for target, angle in zip((g, h), turns, strict=True):
            if "so2" in spec:
                target.view(8, -1)[index, 0] = angle
            else:
                axis = quarter[index % 3 if angle > 0 else 0]
                target[index, :4] = quaternions.from_axis(axis, math.degrees(angle))
    if "shift" in spec:
        num_axes = 2 if "so2" in spec else 3
        g[:4, -num_axes:], h[:4, -num_axes:] = 1.0, -2.0
    if "so3" in spec:
        g[:, :4] /= g[:, :4].norm(dim=1, keepdim=True)
        h[:, :4] /= h[:, :4].norm(dim=1, keepdim=True)
    h[3] = group.sample(rng, 1).double()[0]
    if "so3" in spec:
        h[3, :4] /= h[3, :4].norm()
    return g, h


@pytest.mark.parametrize(
    ("spec", "side", "radius"),
    [
        ("so2", 41, 17.5),
        ("so2", 40, 17.0),
        ("so3", 33, 14.0),
        ("so2+shift:48:2.5", 48, 15.0),
        ("so3+shift:36:2", 36, 11.0),
    ],
)
def test_continuous_actions_are_those_of_the_group_up_to_interpolation(
    spec: str, side: int, radius: float
) -> None:
    group = make_group(spec)
    num_axes = 2 if "so2" in spec else 3
    field = smooth_field(num_axes, radius, 1)
    curvature = greatest_curvature(field, num_axes, radius)
    image = field(lattice(side, num_axes)).expand(8, 1, *(side,) * num_axes)
    greatest = float(image.abs().max())
    g, h = elements(spec)
    gh = group.compose(g, h)
    acted = group.act_on_image(image, g)[:, 0]
    in_turn = group.act_on_image(group.act_on_image(image, h), g)[:, 0]
    at_once = group.act_on_image(image, gh)[:, 0]
    bounds = []
    for index in range(8):
        of_g, of_h, of_gh = (bound(spec, element[index], curvature, side) for element in (g, h, gh))
        truth = moved(spec, field, g[index], side)
        assert (acted[index] - truth).abs().max() <= of_g
        difference = float((in_turn[index] - at_once[index]).abs().max())
        assert difference <= of_g + of_h + of_gh
        bounds.append(of_g + of_h + of_gh)
        # The other way round is another motion, and the bound tells them apart.
        wrong = moved(spec, field, group.inverse(g)[index], side)
        if index >= 4:
            assert (acted[index] - wrong).abs().max() > of_g
    assert max(bounds[:3]) < 1e-9
    assert max(bounds) < 0.5 * greatest
