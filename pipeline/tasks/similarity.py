"""Structural similarity (SSIM) of images and volumes, with its usual Gaussian window.

Images are torchmetrics' business. For volumes its window of 11^3 weights costs 20 times
as much as the three passes along the axes that a Gaussian window comes apart into.
"""

import torch
from torch.nn.functional import conv3d, pad

SIGMA = 1.5
RADIUS = 5
MIN_SIDE = RADIUS + 1
"""Smaller frames cannot be mirrored at their edges."""
C1, C2 = 0.01**2, 0.03**2


def structural_similarity(output: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """SSIM of each pair of images (N, C, H, W) or volumes (N, C, D, H, W) on [0, 1], (N,)."""
    if output.ndim == 5:
        return _similarity_of_volumes(output, wanted)
    from torchmetrics.functional.image import structural_similarity_index_measure

    result = structural_similarity_index_measure(output, wanted, data_range=1.0, reduction="none")
    assert isinstance(result, torch.Tensor)
    return result.view(len(output))


def _similarity_of_volumes(output: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    stacked = torch.cat([output, wanted, output * output, wanted * wanted, output * wanted])
    mean_output, mean_wanted, output_2, wanted_2, product = _blurred(stacked).chunk(5)
    variance_output = (output_2 - mean_output**2).clamp_min(0)
    variance_wanted = (wanted_2 - mean_wanted**2).clamp_min(0)
    covariance = product - mean_output * mean_wanted
    luminance = (2 * mean_output * mean_wanted + C1) / (mean_output**2 + mean_wanted**2 + C1)
    structure = (2 * covariance + C2) / (variance_output + variance_wanted + C2)
    return (luminance * structure).flatten(1).mean(1)


def _blurred(volumes: torch.Tensor) -> torch.Tensor:
    """Volumes (N, C, D, H, W) under the Gaussian window, mirrored at their faces."""
    places = torch.arange(-RADIUS, RADIUS + 1, dtype=volumes.dtype, device=volumes.device)
    weights = torch.exp(-((places / SIGMA) ** 2) / 2)
    weights = weights / weights.sum()
    shape = volumes.shape
    blurred = pad(volumes, (RADIUS,) * 6, mode="reflect")
    blurred = blurred.flatten(0, 1).unsqueeze(1)
    for axis in range(3):
        kernel = weights.view([-1 if place == axis else 1 for place in range(3)])
        blurred = conv3d(blurred, kernel[None, None])
    return blurred.view(shape)
