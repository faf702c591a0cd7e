"""What a model costs: parameters, and floating-point operations for one image."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.models.latent_action import LatentActionModel, LatentParts


def num_parameters(module: nn.Module) -> int:
    """Numbers that training can change."""
    return sum(parameter.numel() for parameter in module.parameters())


def parameters_by_part(model: nn.Module) -> dict[str, int]:
    """Parameters of each immediate part that has any; what belongs to none is left out."""
    counts = {name: num_parameters(part) for name, part in model.named_children()}
    return {name: count for name, count in counts.items() if count}


@torch.no_grad()
def flops_by_part(model: LatentActionModel) -> dict[str, int]:
    """Operations of encoding, acting and decoding one image, by torch's FlopCounterMode.

    A multiplication and an addition are two. Only products count (convolutions, linear
    layers, matrices): moving values and pointwise functions are free to the counter.
    """
    device = next(model.parameters()).device
    images = torch.zeros(1, *model.frames.shape, device=device)
    g = model.group.identity(1).to(device)
    parts = model.encode(images)
    return {
        "encode": _count(lambda: model.encode(images)),
        "act": _count(lambda: model.act(parts.variant, g)),
        "decode": _count(lambda: model.decode(LatentParts(*parts))),
    }


def _count(work: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())
