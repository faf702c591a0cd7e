"""Squared errors and structural similarity (SSIM, with its usual Gaussian window) of frames.

The values of SSIM are torchmetrics', whose window has 11^2 or 11^3 weights. A Gaussian window is
separable: one pass along each axis, as a product with a banded matrix of which only the band is
multiplied.

Of two frames x and y only sum s = x + y and difference d = x - y are blurred, and their squares:
with means m and variances v under the window,

    2 m_x m_y = (m_s^2 - m_d^2) / 2        m_x^2 + m_y^2 = (m_s^2 + m_d^2) / 2
    2 cov_xy  = (v_s - v_d) / 2            v_x + v_y     = (v_s + v_d) / 2
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch.nn.functional import pad

from pipeline.data.places import slices_in_cache

SIGMA = 1.5
RADIUS = 5
MIN_SIDE = RADIUS + 1
"""The smallest side; smaller frames cannot be mirrored at their edges."""
C1, C2 = 0.01**2, 0.03**2
MAX_DOUBT = 2e-6
"""The largest rounding error of SSIM before it is computed in float64."""
BAND = 32
"""The number of positions of an axis that are computed in one product."""
SPARSE = 4
"""One row in this many is enough to estimate a mean and the rounding error."""


class Room:
    """Memory that is reused, because fresh memory costs a process more than the sums in it."""

    def __init__(self) -> None:
        self._kept: dict[torch.dtype, torch.Tensor] = {}

    def take(self, num: int, shape: Sequence[int], like: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """`num` uninitialised tensors of `shape`, of the type and device of `like`."""
        needed = num * math.prod(shape)
        kept = self._kept.get(like.dtype)
        if kept is None or len(kept) < needed:
            kept = self._kept[like.dtype] = like.new_empty(needed)
        return kept[:needed].view(num, *shape).unbind()


def structural_similarity(output: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """SSIM of each pair of images (N, C, H, W) or volumes (N, C, D, H, W) on [0, 1], (N,)."""
    return compare(output, wanted, (0.0, 1.0))[1]


def compare(
    output: torch.Tensor,
    wanted: torch.Tensor,
    value_range: tuple[float, float],
    room: Room | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean squared error and SSIM, (N,) float64 both, of each pair of frames (N, C, ...).

    Frames have values in `value_range`, and are compared as if that were [0, 1]. A few channels are
    processed at a time, whatever N is. A `room` that is kept is reused by the next call.
    """
    first, second = output.flatten(0, 1), wanted.flatten(0, 1)
    room = Room() if room is None else room
    parts = [
        _compare_channels(first[part], second[part], value_range, room)
        for part in slices_in_cache(first)
    ]
    error, similarity = torch.cat(parts, 1).view(2, *output.shape[:2]).mean(2)
    return error, similarity


def _compare_channels(
    output: torch.Tensor, wanted: torch.Tensor, value_range: tuple[float, float], room: Room
) -> torch.Tensor:
    """Mean squared error and SSIM of channels (K, H, W) or (K, D, H, W), (2, K) float64.

    Variances are small differences of large sums. On a CPU float32 is tried first, and channels are
    computed again in float64 if flat parts far from the mean make float32 too coarse.
    """
    if output.is_cuda:
        return _in_precision(output, wanted, value_range, torch.float64, room)[:2]
    found = _in_precision(output, wanted, value_range, torch.float32, room)
    result, again = found[:2], found[2] > MAX_DOUBT
    if again.any():
        exact = _in_precision(output[again], wanted[again], value_range, torch.float64, room)
        result[:, again] = exact[:2]
    return result


def _in_precision(
    output: torch.Tensor,
    wanted: torch.Tensor,
    value_range: tuple[float, float],
    dtype: torch.dtype,
    room: Room,
) -> torch.Tensor:
    """Mean squared error, SSIM, and an estimate of its rounding error, (3, K) float64."""
    low, high = value_range
    span = high - low
    # The first axis of the frame precedes that of channels, so that one product blurs it
    # everywhere.
    x, y = (frames.transpose(0, 1).to(dtype) for frames in (output, wanted))
    shape = (len(x), 4, *x.shape[1:])
    values, blurred = room.take(2, shape, x.new_empty(0))
    firsts, squares = values[:, :2], values[:, 2:]
    torch.add(x, y, out=values[:, 0])
    torch.sub(x, y, out=values[:, 1])
    # Variances do not change if a value near the mean is subtracted, and are rounded less.
    centres = _means(firsts[::SPARSE]).to(dtype).view(1, 2, -1, *(1,) * (x.ndim - 2))
    firsts -= centres
    torch.mul(firsts, firsts, out=squares)
    _, shift, _, square = _means(values)
    centre = centres.view(2, -1)[1].double()
    error = (square + centre * (2 * shift + centre)) / span**2
    blurred = _blurred(values, blurred)
    sum_mean, difference_mean, sum_variance, difference_variance = blurred.unbind(1)
    doubt = blurred[::SPARSE, 2:].clone()
    blurred[:, 2:].addcmul_(blurred[:, :2], blurred[:, :2], value=-1)
    difference_variance.clamp_min_(0)
    # With L and S as below, SSIM is (1 - 2 L) (1 - 2 S) = 1 - 2 (L + S - 2 L S).
    sum_mean += centres[:, 0] - 2 * low
    difference_mean += centres[:, 1]
    difference_mean.square_()
    below = torch.addcmul(difference_mean, sum_mean, sum_mean, out=sum_mean)
    luminance = difference_mean.div_(below.add_(2 * C1 * span**2))
    below = sum_variance.add_(difference_variance).add_(2 * C2 * span**2)
    structure = difference_variance.div_(below)
    doubt[:, 0].mul_(structure[::SPARSE]).add_(doubt[:, 1], alpha=0.5).div_(below[::SPARSE])
    doubt = _means(doubt[:, :1])[0] * (2 * torch.finfo(dtype).eps)
    luminance.addcmul_(luminance, structure, value=-2).add_(structure)
    similarity = 1 - 2 * _means(blurred[:, 1:2])[0]
    return torch.stack([error, similarity, doubt])


def _means(values: torch.Tensor) -> torch.Tensor:
    """Means (B, K) float64 of channels (H, B, K, W) or (D, B, K, H, W), of some rows or planes."""
    # Sum over rows first, because summing within short rows is slow.
    return values.sum(0).flatten(2).double().mean(2) / len(values)


def _blurred(frames: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Frames (H, B, K, W) or (D, B, K, H, W) under the Gaussian window, mirrored at their edges.

    The result is in the memory of `frames` or of `other`, which has the same shape; both are
    overwritten.
    """
    depth, _, _, *middle, width = frames.shape
    _down(frames.view(depth, -1), other.view(depth, -1))
    if middle:
        slices, out = (x.view(-1, *middle, width) for x in (other, frames))
        torch.matmul(_window(middle[0], out.dtype, out.device).T, slices, out=out)
        frames, other = other, frames
    _along(other.view(-1, width), frames.view(-1, width))
    return frames


def _down(values: torch.Tensor, out: torch.Tensor) -> None:
    """Columns of values (L, M) under the window."""
    for places, near, band in _bands(len(values), values.dtype, values.device):
        torch.mm(band.T, values[near], out=out[places])


def _along(values: torch.Tensor, out: torch.Tensor) -> None:
    """Rows of values (M, L) under the window."""
    for places, near, band in _bands(values.shape[1], values.dtype, values.device):
        torch.mm(values[:, near], band, out=out[:, places])


@lru_cache(maxsize=16)
def _bands(
    size: int, dtype: torch.dtype, device: torch.device
) -> list[tuple[slice, slice, torch.Tensor]]:
    """Positions of an axis, the positions whose values they need, and their weights, (j, i)."""
    window = _window(size, dtype, device)
    bands = []
    for first in range(0, size, BAND):
        places = slice(first, min(size, first + BAND))
        near = slice(max(0, first - RADIUS), min(size, places.stop + RADIUS))
        bands.append((places, near, window[near, places].contiguous()))
    return bands


@lru_cache(maxsize=16)
def _window(size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Weight of position j for position i of an axis, with mirrored positions, (j, i)."""
    places = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64)
    weights = torch.exp(-((places / SIGMA) ** 2) / 2)
    weights /= weights.sum()
    if dtype == torch.float32:
        # Their sum is 1 to the last digit; any difference would show as variance in flat parts.
        weights = (weights * 2**24).round() / 2**24
        weights[RADIUS] += 1 - weights.sum()
    one_hot = torch.eye(size, dtype=torch.float64)
    mirrored = pad(one_hot[None], (RADIUS, RADIUS), mode="reflect")[0]
    return (mirrored.unfold(1, len(places), 1) @ weights).to(device, dtype)
