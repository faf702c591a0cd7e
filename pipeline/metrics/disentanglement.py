"""D_LSBD of one circle (Tonnaer et al.), without its dependence on signs of principal axes.

Latents (O, V, D) are those of O objects at the angles 2 pi v / V. For each object, their mean is
subtracted, and the first two principal components are scaled so that each has variance 1/2. As a
complex number the result is p_v; on a circle that is passed k times p_v = c e^(2 pi i k v / V):

    score(k) = 1 - | mean over v of p_v e^(-2 pi i k v / V) |^2

The sign of a principal axis is arbitrary, and the other sign makes -k of k. So each object counts
with the smaller of score(k) and score(-k), and D_LSBD is the smallest mean over objects, k from 1
to 10: 0 for perfect circles, 1 for latents that are all equal. With few angles, noise also comes
near some circle; `noise_floor` says how near.

Only one frequency counts: a latent that turns perfectly at several frequencies at once scores badly
without a fault. `frequency_shares` finds out.
"""

import math

import torch

MAX_FREQUENCY = 10
MIN_ANGLES = 36
MIN_SHARE = 0.95
"""The least share of the variance in one frequency for which D_LSBD is a fair measure."""
NUM_NOISE_VALUES = 64
SEED = 0


def d_lsbd(latents: torch.Tensor) -> float:
    """D_LSBD from 0 (best) to 1 of latents (O, V, D).

    Raises ValueError for fewer angles than `MIN_ANGLES`.
    """
    num_angles = latents.shape[1]
    if num_angles < MIN_ANGLES:
        raise ValueError(f"{num_angles} angles of a turn; D_LSBD needs at least {MIN_ANGLES}")
    circles = _principal_circles(latents)
    # Positions k and -k of the Fourier transform are the means that the score needs.
    means = torch.fft.fft(circles, dim=1).abs() / num_angles
    frequencies = torch.arange(1, MAX_FREQUENCY + 1)
    best = torch.maximum(means[:, frequencies], means[:, -frequencies])
    return float((1 - best.square()).mean(0).min().clamp(0, 1))


def _principal_circles(latents: torch.Tensor) -> torch.Tensor:
    """The two scaled principal components of each object as complex numbers, (O, V)."""
    centred = latents.flatten(2).double()
    centred = centred - centred.mean(1, keepdim=True)
    products = centred @ centred.mT
    values, vectors = torch.linalg.eigh(products)
    size = values[:, -1:].clamp_min(0)
    # Directions without any variance have no circle, whatever rounding makes of them.
    is_there = values[:, -2:] > 1e-12 * size
    is_there &= size > 1e-20 * latents.flatten(1).double().square().sum(1, keepdim=True)
    scale = math.sqrt(latents.shape[1] / 2)
    second, first = (vectors[:, :, -2:] * is_there[:, None] * scale).unbind(2)
    return torch.complex(first, second)


def noise_floor(num_objects: int, num_angles: int, num_values: int) -> float:
    """D_LSBD of normal noise of this shape, drawn by a fixed seed; at most 64 values count."""
    generator = torch.Generator().manual_seed(SEED)
    shape = (num_objects, num_angles, max(2, min(num_values, NUM_NOISE_VALUES)))
    return d_lsbd(torch.randn(shape, generator=generator, dtype=torch.float64))


def frequency_shares(latents: torch.Tensor) -> torch.Tensor:
    """Shares of the variance over angles at the frequencies 1 to V // 2, (V // 2,) float64.

    `latents` (O, V, D). They sum to 1, or are all 0 if nothing varies.
    """
    values = latents.flatten(2).double()
    centred = values - values.mean(1, keepdim=True)
    num_angles = values.shape[1]
    spectrum = torch.fft.fft(centred, dim=1).abs().square().sum((0, 2))
    upper = num_angles // 2
    shares = spectrum[1 : upper + 1].clone()
    shares[: (num_angles - 1) // 2] += spectrum.flip(0)[: (num_angles - 1) // 2]
    total = float(shares.sum())
    scale = float(values.square().sum()) * num_angles
    return shares / total if total > 1e-20 * scale else torch.zeros_like(shares)


def why_no_d_lsbd(moved: torch.Tensor) -> str | None:
    """Why D_LSBD would not be fair to a model; None if it is.

    `moved` (O, V, D) are latents of O images on which the *model's own action* has acted, by the
    angles 2 pi v / V.
    """
    if moved.shape[1] < MIN_ANGLES:
        return f"a turn has {moved.shape[1]} angles, and it needs at least {MIN_ANGLES}"
    shares = frequency_shares(moved)
    if float(shares.sum()) == 0:
        return "the action does not change any latent"
    if float(shares.max()) >= MIN_SHARE:
        return None
    largest = shares.argsort(descending=True)[:3].tolist()
    listed = ", ".join(f"{k + 1} ({100 * float(shares[k]):.0f}%)" for k in largest)
    return f"it knows one frequency, and this action has several: {listed}"
