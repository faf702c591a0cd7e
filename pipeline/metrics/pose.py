"""How much of g a latent holds: ridge regression to the pose, and its R2, with floors.

Targets are cosine and sine of an angle, or a unit quaternion (w, x, y, z) with w not negative. The
group acts from the left, so that R(g x) = g R(x); the pose of a view g x is g. (3DIEBench's
relative rotations R1^-1 R2 act from the right; here g = R2 R1^-1.)

    R2 by component    mean over components j of 1 - sum (t_j - p_j)^2 / sum (t_j - mean t_j)^2
    R2 pooled          1 - sum (t - p)^2 / sum (t - m)^2, sums over samples and components, m one
                       number, the mean over both (SIE; Garrido et al.)

The relative pose of two views g1 x and g2 x is g2 g1^-1. From their latents a and b, side by side,
it is read by the kernel (1 + a . a')(1 + b . b'), `bilinear`: latents that turn by representations
give it by products of two numbers. Unknown objects without an upright pose have relative poses
only.

Predicting the mean of each component scores 0 by component. Pooled it scores more as soon as the
components have different means, as those of quaternions have: compare only with `mean`.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from orbit.core.groups import Group

STRENGTHS = tuple(10.0**power for power in range(-6, 3))
"""Ridge strengths, in units of the kernel's mean diagonal."""
WIDTHS = (1.0, 0.3)
"""Widths of the Gaussian kernel, in units of the median distance."""
KERNELS = ("linear", "gaussian")
PAIR_KERNELS = ("bilinear", "gaussian")
"""Of latents of two views side by side."""


class Features(NamedTuple):
    """Features (N, D) and targets (N, K) of the same samples."""

    features: torch.Tensor
    targets: torch.Tensor


def pose_components(group: Group) -> tuple[str, ...]:
    """Names of the numbers that describe a pose; ValueError for a group that is not of rotations
    of the plane or of space, or of two angles."""
    match group.name.partition(":")[0]:
        case "c4" | "so2" | "turns":
            return ("cosine", "sine")
        case "so3":
            return ("w", "x", "y", "z")
        case "torus" | "turn_hue":
            return tuple(component.name for component in group.action_components)
    raise ValueError(
        f"poses of {group.name} are no angles or quaternions: allowed c4, so2, so3,"
        " torus, turn_hue, turns"
    )


def pose_targets(group: Group, g: torch.Tensor) -> torch.Tensor:
    """Poses (N, K) float64 of elements (N, ...); ValueError as for `pose_components`."""
    pose_components(group)
    if group.name == "c4":
        angle = g.double() * (math.pi / 2)
        return torch.stack((angle.cos(), angle.sin()), 1)
    return group.encode(g).double()


def r2_by_component(true: torch.Tensor, predicted: torch.Tensor) -> list[float]:
    """R2 of each component of (N, K); 0 for one that never varies."""
    true, predicted = true.double(), predicted.double()
    error = (true - predicted).square().sum(0)
    total = (true - true.mean(0)).square().sum(0)
    return [1 - float(e) / float(t) if t > 0 else 0.0 for e, t in zip(error, total, strict=True)]


def r2_pooled(true: torch.Tensor, predicted: torch.Tensor) -> float:
    """R2 over all components of (N, K), with one mean; 0 if nothing varies."""
    true, predicted = true.double(), predicted.double()
    total = float((true - true.mean()).square().sum())
    return 1 - float((true - predicted).square().sum()) / total if total > 0 else 0.0


Predict = Callable[[torch.Tensor], torch.Tensor]


class Space(NamedTuple):
    """A kernel, and the width of a Gaussian one."""

    kernel: str
    width: float

    def products(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Inner products of (N, D) and (M, D), (N, M)."""
        if self.kernel == "bilinear":
            halves = zip(first.chunk(2, 1), second.chunk(2, 1), strict=True)
            (a, others_a), (b, others_b) = halves
            return (1 + a @ others_a.T) * (1 + b @ others_b.T)
        products = first @ second.T
        if self.kernel == "linear":
            return products
        squares = [x.square().sum(1) for x in (first, second)]
        distance = squares[0][:, None] + squares[1] - 2 * products
        return (distance.clamp_min_(0) / (-2 * self.width**2)).exp_()


def fit_mean(train: Features) -> Predict:
    """Predicts the mean target, whatever the features."""
    mean = train.targets.double().mean(0)
    return lambda features: mean.expand(len(features), -1)


def fit_ridge(train: Features, val: Features, kernel: str = "linear") -> Predict:
    """Ridge regression in the kernel's space: `linear`, `gaussian`, or of halves `bilinear`.

    Strength, and width of the Gaussian, have the smallest squared error on `val`, whose objects
    should not be those of `train`. Features are centred and divided by one number, so that their
    relative sizes stay. Features that never vary predict the mean.
    """
    allowed = sorted({*KERNELS, *PAIR_KERNELS})
    if kernel not in allowed:
        raise ValueError(f"kernel={kernel!r} is unknown: allowed {', '.join(allowed)}")
    inputs = train.features.double()
    centre = inputs.mean(0)
    scale = (inputs - centre).square().sum(1).mean().sqrt()
    if scale <= 0:
        return fit_mean(train)
    inputs = (inputs - centre) / scale
    mean = train.targets.double().mean(0)
    targets = train.targets.double() - mean
    checked = (val.features.double() - centre) / scale
    least, best = math.inf, fit_mean(train)
    for width in _widths(inputs, kernel):
        # The eigenvectors serve all strengths.
        space = Space(kernel, width)
        values, vectors = torch.linalg.eigh(space.products(inputs, inputs))
        rotated, products = vectors.T @ targets, space.products(checked, inputs) @ vectors
        unit = float(values.clamp_min(0).mean())
        for strength in STRENGTHS:
            weights = rotated / (values.clamp_min(0) + strength * unit)[:, None]
            error = float((val.targets.double() - mean - products @ weights).square().mean())
            if error < least:
                least = error
                best = _predictor(inputs, vectors @ weights, centre, scale, mean, space)
    return best


def _predictor(
    inputs: torch.Tensor,
    weights: torch.Tensor,
    centre: torch.Tensor,
    scale: torch.Tensor,
    mean: torch.Tensor,
    space: Space,
) -> Predict:
    def predict(features: torch.Tensor) -> torch.Tensor:
        return space.products((features.double() - centre) / scale, inputs) @ weights + mean

    return predict


def _widths(inputs: torch.Tensor, kernel: str) -> Sequence[float]:
    if kernel != "gaussian":
        return (1.0,)
    some = inputs[:: max(1, len(inputs) // 256)]
    median = float(torch.pdist(some).median()) if len(some) > 1 else 0.0
    return tuple(width * (median if median > 0 else 1.0) for width in WIDTHS)
