"""Layers that commute exactly with the quarter turns (c4) and symmetries (d4) of the square.

**Elements** are those of `pipeline.groups`: int64 positions in `elements()`. Element k < 4 is k
counter-clockwise quarter turns; element 4 + k of d4 first swaps left and right, then turns k
times.

**Fibres.** A regular fibre has one value for each element, and value h is what is seen after h
acted. So g moves values by (rho(g) x)_h = x_{hg}: a counter-clockwise quarter turn rolls a c4
fibre by -1, as a one-hot move (up, right, down, left) and the orbit of a picture do. A trivial
fibre has one value that stays; a quotient fibre has two, for the elements of sign +1 and of
sign -1 (d4: turns and mirrors; c4: even and odd turns), exchanged by elements of sign -1. A
sign fibre is one value, of which these make the negative, a standard one a vector (x, y) of
the plane.

**Layouts.** Pointwise layers take fibres (..., fibre, channels). Layers on the plane take
feature fields (N, num_fields * fibre, H, W), the values of one field side by side:
`x.unflatten(1, (num_fields, fibre))`. A field moves as a picture does, and its fibre with it.
"""

from pipeline.equivariant.field_action import act_on_fibre, act_on_fields
from pipeline.equivariant.field_types import FieldType
from pipeline.equivariant.group_conv import GroupConv2d
from pipeline.equivariant.group_linear import GroupLinear
from pipeline.equivariant.norms import FibreLayerNorm, FieldBatchNorm2d
from pipeline.equivariant.orbit_stacking import num_orbits, orbit_stack
from pipeline.equivariant.pooling import FieldAvgPool2d, FieldMaxPool2d, pool_fibre
from pipeline.equivariant.representations import representation_matrices, representation_size
from pipeline.equivariant.sizes import check_size, output_size

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
