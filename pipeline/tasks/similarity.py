"""Squared errors and structural similarity (SSIM, with its usual Gaussian window) of frames.

The values of SSIM are torchmetrics', whose window has 11^2 or 11^3 weights. A Gaussian comes apart
into passes along the axes, each a product with a banded matrix of which only the band is
multiplied.

Of two frames x and y only sum s = x + y and difference d = x - y are blurred, and their squares:
with means m and variances v under the window,

    2 m_x m_y = (m_s^2 - m_d^2) / 2        m_x^2 + m_y^2 = (m_s^2 + m_d^2) / 2
    2 cov_xy  = (v_s - v_d) / 2            v_x + v_y     = (v_s + v_d) / 2
"""

from functools import lru_cache

import torch
from torch.nn.functional import pad

from pipeline.data.places import slices_in_cache

SIGMA = 1.5
RADIUS = 5
MIN_SIDE = RADIUS + 1
"""Smaller frames cannot be mirrored at their edges."""
C1, C2 = 0.01**2, 0.03**2
MAX_DOUBT = 2e-6
"""Error of SSIM that rounding may make before it is computed in more digits."""
BAND = 32
"""So many places of an axis are computed in one product."""


def structural_similarity(output: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """SSIM of each pair of images (N, C, H, W) or volumes (N, C, D, H, W) on [0, 1], (N,)."""
    return compare(output, wanted, (0.0, 1.0))[1]


def compare(
    output: torch.Tensor, wanted: torch.Tensor, value_range: tuple[float, float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean squared error and SSIM, (N,) float64 both, of each pair of frames (N, C, ...).

    Frames have values in `value_range`, and are compared as if that were [0, 1]. A few channels
    at a time are worked on, whatever N is.
    """
    first, second = output.flatten(0, 1), wanted.flatten(0, 1)
    parts = [
        _compare_channels(first[part], second[part], value_range) for part in slices_in_cache(first)
    ]
    error, similarity = torch.cat(parts, 1).view(2, *output.shape[:2]).mean(2)
    return error, similarity


def _compare_channels(
    output: torch.Tensor, wanted: torch.Tensor, value_range: tuple[float, float]
) -> torch.Tensor:
    """Mean squared error and SSIM of channels (K, H, W) or (K, D, H, W), (2, K) float64.

    Variances are small differences of large sums. On a processor float32 is tried first, and
    channels are done again in float64 where flat parts far from the mean make that too coarse.
    """
    if output.is_cuda:
        return _in_precision(output, wanted, value_range, torch.float64)[:2]
    *found, doubt = _in_precision(output, wanted, value_range, torch.float32)
    result = torch.stack(found)
    again = doubt > MAX_DOUBT
    if again.any():
        exact = _in_precision(output[again], wanted[again], value_range, torch.float64)
        result[:, again] = exact[:2]
    return result


def _in_precision(
    output: torch.Tensor,
    wanted: torch.Tensor,
    value_range: tuple[float, float],
    dtype: torch.dtype,
) -> torch.Tensor:
    """Mean squared error, SSIM, and about how far rounding may take that, (3, K) float64."""
    low, high = value_range
    span = high - low
    c1, c2 = 2 * C1 * span**2, 2 * C2 * span**2
    # The first axis of the frame comes before that of channels: one product blurs it everywhere.
    x, y = output.transpose(0, 1), wanted.transpose(0, 1)
    values = torch.empty(4, *x.shape, dtype=dtype, device=x.device)
    torch.add(x, y, out=values[0])
    torch.sub(x, y, out=values[1])
    error = _means(values[1].square()) / span**2
    # Variances are the same of values about their mean, and rounded less.
    centres = torch.stack([_means(values[0]), _means(values[1])]).to(dtype)
    centres = centres.view(2, 1, -1, *(1,) * (x.ndim - 2))
    values[:2] -= centres
    torch.mul(values[:2], values[:2], out=values[2:])
    blurred = _blurred(values)
    sum_mean, difference_mean, sum_square, difference_square = blurred
    sum_variance, difference_variance = (blurred[2:] - blurred[:2].square()).clamp_min_(0)
    difference_mean.add_(centres[1]).square_().mul_(2)
    below = sum_mean.add_(centres[0] - 2 * low).square_().add_(difference_mean, alpha=0.5).add_(c1)
    luminance = difference_mean.div_(below).neg_().add_(1)
    below = sum_variance.add_(difference_variance).add_(c2)
    structure = difference_variance.div_(below).mul_(2)
    doubt = sum_square.mul_(structure).add_(difference_square).div_(below)
    doubt = _means(doubt) * torch.finfo(dtype).eps
    similarity = _means(luminance.sub_(structure.mul_(luminance)))
    return torch.stack([error, similarity, doubt])


def _means(values: torch.Tensor) -> torch.Tensor:
    """Means (K,) float64 of channels (H, K, W) or (D, K, H, W)."""
    length = values[0, 0].numel()
    # By a product: to sum short rows is slow.
    sums = values.view(-1, length) @ values.new_ones(length)
    return sums.view(values.shape[:2]).double().sum(0) / (length * len(values))


def _blurred(frames: torch.Tensor) -> torch.Tensor:
    """Frames (B, H, K, W) or (B, D, K, H, W) under the Gaussian window, mirrored at their edges."""
    num, depth, num_channels, *middle, width = frames.shape
    blurred = torch.empty_like(frames)
    for map_, out in zip(frames, blurred, strict=True):
        _down(map_.view(depth, -1), out.view(depth, -1))
    if middle:
        slices = blurred.view(num * depth * num_channels, *middle, width)
        blurred = _window(middle[0], frames.dtype, frames.device).T @ slices
    result = torch.empty_like(frames)
    _along(blurred.view(-1, width), result.view(-1, width))
    return result


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
    """Places of an axis, the places whose values they need, and the weights of these, (j, i)."""
    window = _window(size, dtype, device)
    bands = []
    for first in range(0, size, BAND):
        places = slice(first, min(size, first + BAND))
        near = slice(max(0, first - RADIUS), min(size, places.stop + RADIUS))
        bands.append((places, near, window[near, places].contiguous()))
    return bands


@lru_cache(maxsize=16)
def _window(size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Weight of place j for place i of an axis, mirrored places included, (j, i)."""
    places = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64)
    weights = torch.exp(-((places / SIGMA) ** 2) / 2)
    weights /= weights.sum()
    if dtype == torch.float32:
        # Their sum is 1 to the last digit: a variance in a flat part would be what it lacks.
        weights = (weights * 2**24).round() / 2**24
        weights[RADIUS] += 1 - weights.sum()
    one_hot = torch.eye(size, dtype=torch.float64)
    mirrored = pad(one_hot[None], (RADIUS, RADIUS), mode="reflect")[0]
    return (mirrored.unfold(1, len(places), 1) @ weights).to(device, dtype)
