"""Fields: representations of fibres, types, actions, sizes, norms and pooling.

Windows lie symmetrically on a side of n cells if the last one ends as far from the end as the first
begins from the start: (n + 2 padding - reach) must be divisible by the stride, where reach =
dilation (kernel - 1) + 1. Otherwise a turned map is sampled at other positions, and no layer of
that stride commutes with the group (a stride-2 3x3 convolution with padding 1 needs odd sides: 129,
65, 33, ...).
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import nn

from orbit.core.groups import make_group
from orbit.core.groups import point_groups as point_matrices
from orbit.core.groups.point_groups import PointGroup, point_group
from pipeline.global_batch import GlobalBatchNorm

GROUPS = ("c4", "d4")
ORDERS = {"c4": 4, "d4": 8}
PERMUTATIONS = ("trivial", "quotient", "regular")
"""Representations that only permute the values of a fibre: ReLU and norms commute with them."""
SIGNED = ("sign", "standard")
"""Representations that also change signs of values."""
REPRESENTATIONS = (*PERMUTATIONS, *SIGNED)


def representation_size(group: str, representation: str) -> int:
    """Number of values of a fibre; ValueError for an unknown group or representation."""
    check_representation(group, representation)
    sizes = {"quotient": 2, "standard": 2, "regular": ORDERS[group]}
    return sizes.get(representation, 1)


def representation_matrices(group: str, representation: str) -> torch.Tensor:
    """Orthogonal matrices (|G|, size, size), float64, of all elements in order.

    `trivial`: 1. `sign`: for d4 -1 on mirrors, for c4 -1 on odd turns. `quotient`: two values
    exchanged if the sign is -1 (functions on d4/c4, or on c4/c2). `regular`: the value of h becomes
    that of h g. `standard`: the plane itself, columns (x, y) with y upwards. ValueError for an
    unknown group or representation.
    """
    check_representation(group, representation)
    if representation == "sign":
        return signs(group).to(torch.float64).view(-1, 1, 1)
    if representation == "standard":
        return point_group(group).matrices.to(torch.float64)
    places = moved_places(group, representation)
    return torch.nn.functional.one_hot(places, places.shape[1]).to(torch.float64)


@cache
def moved_places(group: str, representation: str) -> torch.Tensor:
    """The source of each value of a moved fibre: (rho(g) x)_a = sign[g, a] x[table[g, a]].

    The table is (|G|, size) int64; for the signs see `moved_signs`.
    """
    elements = point_group(group)
    if representation == "trivial":
        return torch.zeros(elements.num_elements, 1, dtype=torch.int64)
    if representation == "quotient":
        is_odd = (signs(group) < 0).to(torch.int64)
        return torch.stack((is_odd, 1 - is_odd), 1)
    if representation == "regular":
        return products(group).T.contiguous()
    return representation_matrices(group, representation).abs().argmax(-1)


@cache
def moved_signs(group: str, representation: str) -> torch.Tensor:
    """The sign of each value of a moved fibre, (|G|, size) int64: 1 or -1."""
    if representation in SIGNED:
        return representation_matrices(group, representation).sum(-1).to(torch.int64)
    return torch.ones_like(moved_places(group, representation))


@cache
def products(group: str) -> torch.Tensor:
    """Multiplication table (|G|, |G|) int64: `table[g, h]` is g h, first h, then g."""
    return point_matrices.products(_elements(group).matrices)


@cache
def inverses(group: str) -> torch.Tensor:
    """The inverse of each element, (|G|,) int64."""
    return point_matrices.inverses(_elements(group).matrices)


def signs(group: str) -> torch.Tensor:
    """+1 or -1 of each element, (|G|,) int64; see `representation_matrices`."""
    matrices = _elements(group).matrices
    if group == "d4":
        return point_matrices.determinants(matrices)
    return 1 - 2 * matrices[:, 0, 1].abs()


def check_group(group: str) -> None:
    """Raise ValueError unless layers exist for this group."""
    if group not in GROUPS:
        raise ValueError(f"no layers for group {group!r}; there are some for {', '.join(GROUPS)}")


def check_representation(group: str, representation: str) -> None:
    """ValueError for an unknown group or representation."""
    check_group(group)
    if representation not in REPRESENTATIONS:
        known = ", ".join(REPRESENTATIONS)
        raise ValueError(f"unknown representation {representation!r}; known: {known}")


def _elements(group: str) -> PointGroup:
    check_group(group)
    return point_group(group)


@dataclass(frozen=True)
class FieldType:
    """`num_fields` fields on the plane whose fibres have the same representation.

    Feature maps of this type are (N, num_channels, H, W); the values of one field are neighbours.
    `representation` is `trivial`, `quotient`, `regular`, `sign` or `standard`; the values of the
    last two change signs, so they have no bias, norm or ReLU. ValueError for another group than c4
    and d4, another representation, or no field.
    """

    group: str
    representation: str
    num_fields: int

    def __post_init__(self) -> None:
        check_representation(self.group, self.representation)
        if self.num_fields < 1:
            raise ValueError(f"a field type needs a field at least, not {self.num_fields}")

    @property
    def fibre_size(self) -> int:
        """Number of values of one field at one position."""
        return representation_size(self.group, self.representation)

    @property
    def has_signs(self) -> bool:
        """Whether elements change the signs of values, not only their positions."""
        return self.representation in SIGNED

    @property
    def num_channels(self) -> int:
        """Number of channels of the feature map."""
        return self.num_fields * self.fibre_size


def act_on_fibre(
    x: torch.Tensor, g: torch.Tensor, group: str, representation: str = "regular", dim: int = -2
) -> torch.Tensor:
    """Move the fibres along axis `dim` of `x` (N, ...), one element of `g` (N,) int64 each.

    Exact, for any dtype (with signs if the representation has them); `dim` is not 0.
    """
    check_representation(group, representation)
    places = moved_places(group, representation).to(x.device)[g]
    dim = dim % x.ndim
    shape = [1] * x.ndim
    shape[0], shape[dim] = len(x), places.shape[1]
    moved = x.gather(dim, places.view(shape).expand(x.shape))
    if representation not in SIGNED:
        return moved
    signs = moved_signs(group, representation).to(x.device, x.dtype)[g]
    return moved * signs.view(shape)


def act_on_fields(x: torch.Tensor, g: torch.Tensor, fields: FieldType) -> torch.Tensor:
    """Move feature maps (N, num_channels, S, S) of a type, one element of `g` (N,) each.

    The map turns like a picture (`orbit.core.groups`) and its fibres move with it. Exact.
    ValueError unless maps are square.
    """
    if x.shape[-1] != x.shape[-2]:
        raise ValueError(f"{fields.group} moves square maps, not {tuple(x.shape[-2:])}")
    moved = make_group(fields.group).act_on_image(x, g)
    fibres = moved.unflatten(1, (fields.num_fields, fields.fibre_size))
    return act_on_fibre(fibres, g, fields.group, fields.representation, 2).flatten(1, 2)


class FibreLayerNorm(nn.LayerNorm):
    """Layer norm of fibres (..., fibre, channels) over channels, with one affine map for all.

    Separate statistics or weights for the values of a fibre would not commute with the group.
    """

    def __init__(self, num_channels: int, eps: float = 1e-5) -> None:
        super().__init__(num_channels, eps)


class FieldBatchNorm2d(GlobalBatchNorm):
    """Batch norm of feature maps (N, num_channels, H, W) with one mean and variance a field.

    Statistics are over the global batch, the plane and the fibre; parameters and running statistics
    are (num_fields,), shared over the fibre. ValueError for fields with signs, whose mean would
    change sign too.
    """

    def __init__(self, fields: FieldType, eps: float = 1e-5, momentum: float = 0.1) -> None:
        if fields.has_signs:
            raise ValueError(f"{fields.representation} fields have no batch norm: it is not odd")
        super().__init__(fields.num_fields, eps, momentum)
        self.fields = fields

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = (self.fields.num_fields, self.fields.fibre_size)
        return super().forward(x.unflatten(1, shape)).flatten(1, 2)


def output_size(
    size: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> int:
    """Side of the output of a convolution or pooling."""
    return (size + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1


def check_size(
    what: str, size: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> None:
    """ValueError naming the nearest good sides unless windows lie symmetrically on `size` cells.

    `what` names the layer in the message.
    """
    rest = size + 2 * padding - dilation * (kernel_size - 1) - 1
    if rest < 0:
        raise ValueError(f"{what}: a side of {size} is smaller than the window")
    if rest % stride:
        below, above = size - rest % stride, size + stride - rest % stride
        good = " and ".join(str(side) for side in (below, above) if side > 0)
        raise ValueError(
            f"{what}: stride {stride} is not equivariant on a side of {size};"
            f" the nearest sides that are: {good}"
        )


class FieldMaxPool2d(nn.Module):
    """The maximum of each channel in windows of maps (N, C, H, W).

    2x2 windows of stride 2 need even sides; 3x3 windows of stride 2 with padding 1 need odd
    ones. ValueError in `forward` for other sides unless `require_exact` is false.
    """

    def __init__(
        self,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        require_exact: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride or kernel_size
        self.padding, self.require_exact = padding, require_exact

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._check(x)
        return nn.functional.max_pool2d(x, self.kernel_size, self.stride, self.padding)

    def _check(self, x: torch.Tensor) -> None:
        if self.require_exact:
            for size in x.shape[-2:]:
                check_size("pooling", size, self.kernel_size, self.stride, self.padding)


class FieldAvgPool2d(FieldMaxPool2d):
    """The mean of each channel in windows; positions outside the map do not count."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._check(x)
        return nn.functional.avg_pool2d(
            x, self.kernel_size, self.stride, self.padding, count_include_pad=False
        )


def pool_fibre(x: torch.Tensor, how: Literal["max", "mean"] = "max", dim: int = -2) -> torch.Tensor:
    """Invariant values: the maximum or mean over the fibre along axis `dim`."""
    return x.amax(dim) if how == "max" else x.mean(dim)
