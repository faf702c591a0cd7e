"""Do latents differ at all? What tells a collapsed encoder from a perfect one."""

import torch


def latent_spread(latents: torch.Tensor) -> float:
    """Root mean square distance of latents (N, ...) from their mean; 0 if all are equal.

    Two drawn ones are sqrt(2) times as far apart, as a root mean square.
    """
    flat = latents.flatten(1).double()
    return float((flat - flat.mean(0)).square().sum(1).mean().sqrt())


def share_distinct(latents: torch.Tensor) -> float:
    """Number of different latents among (N, ...), by exact comparison, divided by N."""
    return len(torch.unique(latents.flatten(1), dim=0)) / len(latents)
