"""Norms over many samples: float32 within a sample, float64 from there on."""

import math

import torch


def square_sum(x: torch.Tensor) -> float:
    """Sum of the squares of (N, ...)."""
    return float(x.flatten(1).square().sum(1).double().sum().item())


def relative(squared_difference: float, squared_norm: float) -> float:
    """Root of a ratio of sums of squares; 0 where there is nothing to differ from."""
    return math.sqrt(squared_difference / squared_norm) if squared_norm > 0 else 0.0


def ratio(part: float, whole: float) -> float:
    """part / whole; 0 where the whole is 0."""
    return part / whole if whole > 0 else 0.0
