"""Inputs on which written programs are compared with their models: the same every time."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from data_prep.store.manifest import FrameSpec
from pipeline.groups.interface import ActionComponent

SEED = 0


def uniform(shape: tuple[int, ...], stream: int) -> torch.Tensor:
    """Numbers in [0, 1), float32."""
    values = np.random.default_rng([SEED, stream]).random(math.prod(shape), np.float32)
    return torch.from_numpy(values.reshape(shape))


def example_frames(spec: FrameSpec, num: int) -> torch.Tensor:
    """Noise over the whole stored range, (num, C, ...), as stored."""
    low, high = spec.stored_range
    values = low + uniform((num, *spec.shape), 0) * (high - low)
    return values.to(getattr(torch, spec.dtype))


def example_actions(components: Sequence[ActionComponent], num: int) -> torch.Tensor:
    """Action vectors (num, A) within the ranges of their components, whole where counted."""
    low, high = (
        torch.tensor([getattr(component, end) for component in components])
        for end in ("minimum", "maximum")
    )
    values = low + uniform((num, len(components)), 1) * (high - low)
    is_counted = (high - low) > 2
    return torch.where(is_counted, values.round(), values)
