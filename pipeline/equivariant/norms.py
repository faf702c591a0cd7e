"""Norms that treat all values of a fibre alike, and so commute with the group."""

import torch
from torch import nn

from pipeline.equivariant.field_types import FieldType
from pipeline.global_batch import GlobalBatchNorm


class FibreLayerNorm(nn.LayerNorm):
    """Layer norm of fibres (..., fibre, channels) over channels, with one affine map for all.

    Statistics or weights over the fibre, too, would tell its values apart.
    """

    def __init__(self, num_channels: int, eps: float = 1e-5) -> None:
        super().__init__(num_channels, eps)


class FieldBatchNorm2d(GlobalBatchNorm):
    """Batch norm of feature maps (N, num_channels, H, W) with one mean and variance a field.

    Statistics are over the global batch, the plane and the fibre; parameters and running
    statistics are (num_fields,), shared over the fibre. ValueError for fields with signs: a
    mean that is taken away would change sign with them.
    """

    def __init__(self, fields: FieldType, eps: float = 1e-5, momentum: float = 0.1) -> None:
        if fields.has_signs:
            raise ValueError(f"{fields.representation} fields have no batch norm: it is not odd")
        super().__init__(fields.num_fields, eps, momentum)
        self.fields = fields

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = (self.fields.num_fields, self.fields.fibre_size)
        return super().forward(x.unflatten(1, shape)).flatten(1, 2)
