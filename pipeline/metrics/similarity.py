"""Squared errors and structural similarity (SSIM, with its usual Gaussian window) of frames.

The values of SSIM are torchmetrics', whose window has 11^2 or 11^3 weights. A Gaussian window is
separable: one pass along each axis, as a product with a banded matrix of which only the band is
multiplied.

At the edges a window sees the frame mirrored, without repeating the outermost pixel, and the mean
is over all pixels. scikit-image leaves the 5 pixels next to each edge out of the mean, so that its
values are lower for frames with empty margins, which agree.

Of two frames x and y only sum s = x + y and difference d = x - y are blurred, and their squares:
with means m and variances v under the window,

    2 m_x m_y = (m_s^2 - m_d^2) / 2        m_x^2 + m_y^2 = (m_s^2 + m_d^2) / 2
    2 cov_xy  = (v_s - v_d) / 2            v_x + v_y     = (v_s + v_d) / 2

so that with M = m_s^2 + 2 C1, D = m_d^2 and V = v_s + 2 C2

    SSIM = (1 - 2 D / (M + D)) (1 - 2 v_d / (V + v_d)) = 1 - 2 (v_d M + D V) / ((M + D) (V + v_d))
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch.nn.functional import pad

from pipeline.data.packing import slices_in_cache

SIGMA = 1.5
RADIUS = 5
MIN_SIDE = RADIUS + 1
"""The smallest side; smaller frames cannot be mirrored at their edges."""
C1, C2 = 0.01**2, 0.03**2
MAX_DOUBT = 2e-6
"""The largest rounding error of SSIM before it is computed in float64."""
BAND = 16
"""The number of positions of an axis that are computed in one product."""
MAX_SHAPES = 16
"""The most shapes of channels whose views of the memory are kept."""
SPARSE = 4
"""One row in this many is enough to estimate a mean and the rounding error."""


class _Fields:
    """Memory for s, d and their squares of K channels, (H, 4, K, W) or (D, 4, K, H, W), twice.

    Its views are made once, because making them takes as long as using them.
    """

    def __init__(self, values: torch.Tensor, other: torch.Tensor) -> None:
        self.s, self.d, self.s_square, self.d_square = values.unbind(1)
        self.firsts, self.of_d = values[:, :2], values[:, 1::2]
        self.sparse_firsts = self.firsts[::SPARSE]
        blurred, free, self._products = _products(values, other)
        self.means, self.variances = blurred[:, :2], blurred[:, 2:]
        (self.m_s, self.m_d), (self.v_s, self.v_d) = self.means.unbind(1), self.variances.unbind(1)
        self.sparse_variances = self.variances[::SPARSE]
        self.sparse_v_s, self.sparse_v_d = self.sparse_variances.unbind(1)
        self.lacking, self.doubts = free[:, 0], free[::SPARSE, 1:3]
        self.doubt, self.other_doubt = self.doubts.unbind(1)
        self.structure = free[::SPARSE, 3]

    def blur(self) -> None:
        """Blur s, d and their squares, mirrored at their edges, into `means` and `variances`."""
        for left, right, out in self._products:
            torch.matmul(left, right, out=out)


class Room:
    """Memory that is reused, because fresh memory costs a process more than the sums in it."""

    def __init__(self) -> None:
        self._kept: dict[torch.dtype, torch.Tensor] = {}
        self._fields: dict[tuple[tuple[int, ...], torch.dtype], _Fields] = {}

    def take(self, num: int, shape: Sequence[int], like: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """`num` uninitialised tensors of `shape`, of the type and device of `like`."""
        needed = num * math.prod(shape)
        kept = self._kept.get(like.dtype)
        if kept is None or len(kept) < needed:
            kept = self._kept[like.dtype] = like.new_empty(needed)
            self._fields.clear()
        return kept[:needed].view(num, *shape).unbind()

    def fields(self, channels: torch.Tensor) -> _Fields:
        """Memory for comparing channels (H, K, W) or (D, K, H, W)."""
        depth, *others = channels.shape
        key = (tuple(channels.shape), channels.dtype)
        if key not in self._fields:
            values, other = self.take(2, (depth, 4, *others), channels)
            if len(self._fields) == MAX_SHAPES:
                self._fields.clear()
            self._fields[key] = _Fields(values, other)
        return self._fields[key]


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

    Variances are small differences of large sums. On a CPU float32 is tried first, and channels are
    computed again in float64 if flat parts far from the mean make float32 too coarse.
    """
    first, second = output.flatten(0, 1), wanted.flatten(0, 1)
    room = Room() if room is None else room
    if output.is_cuda:
        found = _in_precision(first, second, value_range, torch.float64, room)
    else:
        found = _in_precision(first, second, value_range, torch.float32, room)
        again = found[2] > MAX_DOUBT
        if again.any():
            coarse = (first[again], second[again])
            found[:, again] = _in_precision(*coarse, value_range, torch.float64, room)
    error, similarity = found[:2].view(2, *output.shape[:2]).mean(2)
    return error, similarity


def _in_precision(
    output: torch.Tensor,
    wanted: torch.Tensor,
    value_range: tuple[float, float],
    dtype: torch.dtype,
    room: Room,
) -> torch.Tensor:
    """Mean squared error, SSIM, and an estimate of the rounding error of SSIM, (3, K) float64, of
    channels (K, H, W) or (K, D, H, W)."""
    low, high = value_range
    # The first axis of the frame comes before that of channels: one product blurs it everywhere.
    x, y = (frames.transpose(0, 1).to(dtype) for frames in (output, wanted))
    depth, num, *sides = x.shape
    squares = [x.new_tensor(2 * c * (high - low) ** 2) for c in (C1, C2)]
    offset = x.new_tensor([[2 * low], [0.0]])
    centres, sums = x.new_empty(2, num), x.new_empty(4, num, *sides)
    for part in slices_in_cache(output):
        fields = room.fields(x[:, part])
        _sum_channels(
            x[:, part], y[:, part], fields, squares, offset, centres[:, part], sums[:, part]
        )
    shift, square, lacking, doubt = sums.flatten(2).double().mean(2) / depth
    centre = centres[1].double()
    error = (square + centre * (2 * shift + centre)) / (high - low) ** 2
    doubt *= 2 * torch.finfo(dtype).eps * SPARSE
    return torch.stack([error, 1 - 2 * lacking, doubt])


def _sum_channels(
    x: torch.Tensor,
    y: torch.Tensor,
    fields: _Fields,
    both_c: Sequence[torch.Tensor],
    offset: torch.Tensor,
    centres: torch.Tensor,
    sums: torch.Tensor,
) -> None:
    """Fill in the sums (4, K, W) or (4, K, H, W) over the first axis of channels (H, K, W) or
    (D, K, H, W): of d and d^2, of (1 - SSIM) / 2, and of the factor by which rounding errors
    enter it. The `centres` (2, K) of s and d are subtracted from them first."""
    f, unit = fields, (1, 2, -1, *(1,) * (x.ndim - 2))
    torch.add(x, y, out=f.s)
    torch.sub(x, y, out=f.d)
    # Variances are the same of values about another one near their mean, and rounded less.
    torch.mean(f.sparse_firsts.sum(0).flatten(2), 2, out=centres)
    centres /= len(f.sparse_firsts)
    f.firsts.sub_(centres.view(unit))
    # A Gaussian leaves what is added as it is.
    torch.addcmul(both_c[1], f.s, f.s, out=f.s_square)
    torch.mul(f.d, f.d, out=f.d_square)
    torch.sum(f.of_d, 0, out=sums[:2])
    f.blur()
    f.doubts.copy_(f.sparse_variances)
    f.variances.addcmul_(f.means, f.means, value=-1)
    f.means.add_((centres - offset).view(unit))
    torch.addcmul(both_c[0], f.m_s, f.m_s, out=f.m_s)
    torch.mul(f.m_d, f.m_d, out=f.m_d)
    torch.mul(f.v_d, f.m_s, out=f.lacking).addcmul_(f.m_d, f.v_s)
    f.v_s.add_(f.v_d)
    torch.div(f.sparse_v_d, f.sparse_v_s, out=f.structure)
    f.doubt.mul_(f.structure).add_(f.other_doubt, alpha=0.5).div_(f.sparse_v_s)
    torch.sum(f.doubt, 0, out=sums[3])
    f.lacking.div_(f.m_d.add_(f.m_s).mul_(f.v_s))
    torch.sum(f.lacking, 0, out=sums[2])


def _products(
    values: torch.Tensor, other: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]]:
    """The memory with the blurred values, the memory that is then free, and the products (left
    factor, right factor, result) that blur values (H, B, K, W) or (D, B, K, H, W)."""
    depth, _, _, *middle, width = values.shape
    kind, products = (values.dtype, values.device), []
    down, out = values.view(depth, -1), other.view(depth, -1)
    for places, near, band in _bands(depth, *kind):
        products.append((band.T, down[near], out[places]))
    if middle:
        slices, moved = (x.view(-1, *middle, width) for x in (other, values))
        products.append((_window(middle[0], *kind).T, slices, moved))
        values, other = other, values
    rows, out = other.view(-1, width), values.view(-1, width)
    for places, near, band in _bands(width, *kind):
        products.append((rows[:, near], band, out[:, places]))
    return values, other, products


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
        # Their sum is 1 to the last digit: a variance in a flat part would be what it lacks.
        weights = (weights * 2**24).round() / 2**24
        weights[RADIUS] += 1 - weights.sum()
    one_hot = torch.eye(size, dtype=torch.float64)
    mirrored = pad(one_hot[None], (RADIUS, RADIUS), mode="reflect")[0]
    return (mirrored.unfold(1, len(places), 1) @ weights).to(device, dtype)
