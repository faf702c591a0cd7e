"""A small network between a pooled latent and the space in which a contrastive loss compares."""

from torch import nn


def make_projector(num_channels: int, sizes: tuple[int, int] | None) -> nn.Sequential | None:
    """(N, num_channels) to (N, output) over one hidden layer; None without `sizes`."""
    if sizes is None:
        return None
    hidden, output = sizes
    return nn.Sequential(nn.Linear(num_channels, hidden), nn.ReLU(), nn.Linear(hidden, output))
