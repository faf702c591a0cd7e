"""The convolution between regular fields in the group's Fourier basis; see `fourier_tables`."""

import torch
from torch.nn import functional

from pipeline.equivariant.fourier_tables import FourierTables

MIN_FIELDS = {"c4": 192, "d4": 32}
"""From so many fields on, in and out, this form is the faster one, as measured on a CPU."""


def is_faster(group: str, num_in: int, num_out: int) -> bool:
    """Whether to use this form between so many regular fields."""
    return min(num_in, num_out) >= MIN_FIELDS[group]


def fourier_conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    tables: FourierTables,
    stride: int,
    padding: int,
    dilation: int,
) -> torch.Tensor:
    """Maps (N, num_in |G|, H, W), weights (num_out, num_in, num_weights) to maps without bias."""
    num_out, num_in, _ = weight.shape
    num, order = len(x), tables.synthesis.shape[1]
    height, width = x.shape[-2:]
    fields = x.reshape(num * num_in, order, height, width)
    analysis = tables.analysis.to(x.dtype)
    features = functional.conv2d(fields, analysis, None, stride, padding, dilation)
    height, width = features.shape[-2:]
    features = features.view(num, num_in, -1, height * width)
    factors = weight @ tables.factors.to(weight.dtype).T
    coefficients = []
    for (size, num_rows), part, factor in zip(
        tables.blocks,
        features.split([r * d * tables.num_filters for d, r in tables.blocks], 2),
        factors.split([d * tables.num_filters * d for d, _ in tables.blocks], 2),
        strict=True,
    ):
        depth = size * tables.num_filters
        # (a, N, places, in, b v) times (in, b v, out, e).
        left = part.unflatten(2, (num_rows, depth)).permute(2, 0, 4, 1, 3).flatten(3)
        right = factor.unflatten(2, (depth, size)).permute(1, 2, 0, 3)
        product = left @ right.reshape(num_in * depth, num_out * size)
        # (a, N, places, out, e) to (N, out, a e, places).
        product = product.unflatten(3, (num_out, size)).permute(1, 3, 0, 4, 2)
        coefficients.append(product.flatten(2, 3))
    fibres = tables.synthesis.to(x.dtype).T @ torch.cat(coefficients, 2)
    return fibres.reshape(num, num_out * order, height, width)
