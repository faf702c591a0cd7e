"""How group elements move fibres and feature fields: values change place and sign only."""

import torch

from pipeline.equivariant.field_types import FieldType
from pipeline.equivariant.representations import (
    SIGNED,
    check_representation,
    moved_places,
    moved_signs,
)
from pipeline.groups import make_group


def act_on_fibre(
    x: torch.Tensor, g: torch.Tensor, group: str, representation: str = "regular", dim: int = -2
) -> torch.Tensor:
    """Move the fibres along axis `dim` of `x` (N, ...), one element of `g` (N,) int64 each.

    Exact, of any dtype with signs where the representation has them; `dim` is not 0.
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

    The map turns as a picture does (`pipeline.groups`) and its fibres move along. Exact.
    ValueError unless maps are square.
    """
    if x.shape[-1] != x.shape[-2]:
        raise ValueError(f"{fields.group} moves square maps, not {tuple(x.shape[-2:])}")
    moved = make_group(fields.group).act_on_image(x, g)
    fibres = moved.unflatten(1, (fields.num_fields, fields.fibre_size))
    return act_on_fibre(fibres, g, fields.group, fields.representation, 2).flatten(1, 2)
