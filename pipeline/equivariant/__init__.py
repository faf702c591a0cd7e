"""Layers that commute exactly with the quarter turns (c4) and symmetries (d4) of the square.

**Elements** are those of `orbit.core.groups`: int64 positions in `elements()`. Element k < 4 is k
counter-clockwise quarter turns; element 4 + k of d4 first swaps left and right, then turns k
times.

**Fibres.** A regular fibre has one value for each element, and value h is what is seen after h has
acted. So g moves values by (rho(g) x)_h = x_{hg}: a counter-clockwise quarter turn rolls a c4 fibre
by -1, just as it rolls a one-hot move (up, right, down, left) and the orbit of a picture. A trivial
fibre has one value that does not change; a quotient fibre has two, for the elements of sign +1 and
of sign -1 (d4: turns and mirrors; c4: even and odd turns), exchanged by elements of sign -1. A sign
fibre is one value, which these elements negate; a standard fibre is a vector (x, y) of the plane.

**Layouts.** Pointwise layers take fibres (..., fibre, channels). Layers on the plane take feature
fields (N, num_fields * fibre, H, W), the values of one field side by side: `x.unflatten(1,
(num_fields, fibre))`. A field moves like a picture, and its fibres with it.
"""

from pipeline.equivariant.fields import (
    FibreLayerNorm,
    FieldAvgPool2d,
    FieldBatchNorm2d,
    FieldMaxPool2d,
    FieldType,
    act_on_fibre,
    act_on_fields,
    check_size,
    output_size,
    pool_fibre,
    representation_matrices,
    representation_size,
)
from pipeline.equivariant.group_layers import GroupConv2d, GroupLinear
from pipeline.equivariant.steerable_basis import num_orbits, orbit_stack

__all__ = [
    "FibreLayerNorm",
    "FieldAvgPool2d",
    "FieldBatchNorm2d",
    "FieldMaxPool2d",
    "FieldType",
    "GroupConv2d",
    "GroupLinear",
    "act_on_fibre",
    "act_on_fields",
    "check_size",
    "num_orbits",
    "orbit_stack",
    "output_size",
    "pool_fibre",
    "representation_matrices",
    "representation_size",
]
