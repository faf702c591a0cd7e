"""Deformed views of images: what changes how a thing is drawn and not what it is."""

import torch
from torch.nn.functional import affine_grid, grid_sample, max_pool2d

from pipeline.tasks.latent_action.settings import ViewsContrastConfig

NUM_DRAWS = 7


def deform(images: torch.Tensor, draws: torch.Tensor, config: ViewsContrastConfig) -> torch.Tensor:
    """Views (N, C, H, W) of images in [-1, 1], from uniform draws (N, `NUM_DRAWS`) in [0, 1).

    What lies beyond the frame continues its border. In float32 whatever autocast says: places
    in bfloat16 would be off by a tenth of a pixel.
    """
    with torch.autocast(images.device.type, enabled=False):
        images = images.float()
        grid = affine_grid(affine_maps(draws, config), list(images.shape), align_corners=False)
        moved = grid_sample(images, grid, padding_mode="border", align_corners=False)
        return change_thickness(moved, draws[:, 6]) if config.thickness else moved


def affine_maps(draws: torch.Tensor, config: ViewsContrastConfig) -> torch.Tensor:
    """From places in a view to places in the image, both in [-1, 1], (N, 2, 3).

    A draw of one half in every column is the identity.
    """
    turn, shear, first, second, right, down = (2 * draws[:, :6] - 1).unbind(1)
    angle, base = config.rotation * turn, torch.as_tensor(1 + config.stretch)
    scale_x, scale_y = base**first, base**second
    slant = config.shear * shear
    cos, sin = angle.cos(), angle.sin()
    # rotation @ shear @ stretch
    rows = [
        torch.stack([cos * scale_x, (cos * slant - sin) * scale_y, config.shift * right], 1),
        torch.stack([sin * scale_x, (sin * slant + cos) * scale_y, config.shift * down], 1),
    ]
    return torch.stack(rows, 1)


def change_thickness(images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Bright parts a pixel thinner (draws below 1/3), as they are, or thicker (above 2/3)."""
    thicker = max_pool2d(images, 3, 1, 1)
    thinner = -max_pool2d(-images, 3, 1, 1)
    draws = draws.view(-1, 1, 1, 1)
    return torch.where(draws < 1 / 3, thinner, torch.where(draws > 2 / 3, thicker, images))
