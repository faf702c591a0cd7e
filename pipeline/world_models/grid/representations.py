"""How quarter turns act on maps and latents of objects on a grid.

The four places of a fibre stand for directions: up, right, down, left. A counter-clockwise
turn by k quarters takes direction d to d - k, so that place d of the turned fibre holds what
was at d + k. Maps turn with the picture.
"""

import torch

from pipeline.groups.cyclic import rotate_quarter_turns


def turn_fibre(x: torch.Tensor, g: torch.Tensor, axis: int) -> torch.Tensor:
    """Values (B, ...) with a fibre of four places along `axis`, turned by g (B,) quarters."""
    axis %= x.ndim
    places = (torch.arange(4, device=x.device) + g[:, None]) & 3
    shape = [len(x) if index == 0 else 4 if index == axis else 1 for index in range(x.ndim)]
    return x.gather(axis, places.view(shape).expand_as(x))


def act_on_maps(y: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Maps (B, n, s, s), or (B, n, 4, s, s) with one a heading, after g (B,) quarter turns."""
    turned = rotate_quarter_turns(y, g)
    return turn_fibre(turned, g, 2) if y.ndim == 5 else turned


def act_on_fibres(z: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Latents (B, n, 4, c), or (B, n, 4c) read as such, after g (B,) quarter turns."""
    if z.ndim == 3:
        return turn_fibre(z.unflatten(2, (4, -1)), g, 2).flatten(2)
    return turn_fibre(z, g, 2)
