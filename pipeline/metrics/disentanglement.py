"""D_LSBD of circles (Tonnaer et al.), without its dependence on signs of principal axes.

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

With two angles latents lie on a torus, and each angle must move a circle of its own:
`torus_misses`.
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
    values = latents.flatten(2).double()
    whole = values.square().sum((1, 2))
    return _scaled_components(values - values.mean(1, keepdim=True), whole)


def _scaled_components(centred: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """The first two principal components of each of O sets of N rows of mean 0, (O, N) complex.

    `centred` (O, N, D), `whole` (O,) or a number: the sum of squares before means were subtracted.
    """
    num_rows, num_values = centred.shape[1:]
    is_long = num_values > num_rows or num_values < 2
    values, vectors = torch.linalg.eigh(centred @ centred.mT if is_long else centred.mT @ centred)
    values, vectors = values[:, -2:].clamp_min(0), vectors[:, :, -2:]
    # Directions without any variance have no circle, whatever rounding makes of them.
    is_there = values > 1e-12 * values[:, -1:]
    is_there &= values[:, -1:] > 1e-20 * whole.view(-1, 1)
    if not is_long:
        vectors = (
            centred @ vectors / values.where(is_there, torch.ones_like(values)).sqrt()[:, None]
        )
    second, first = (vectors * is_there[:, None] * math.sqrt(num_rows / 2)).unbind(2)
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


# Two angles


def torus_misses(latents: torch.Tensor) -> torch.Tensor:
    """The scores of one object under two angles, (2, MAX_FREQUENCY) float64 from 0 (best) to 1.

    `latents` (V, V, D) are those at the angles (2 pi v / V, 2 pi w / V). For each angle the mean
    over *this* angle is subtracted, the other one being fixed, and what is left of all V^2 latents
    is brought to two principal components, scaled as for one circle. Entry k is the smaller of

        1 - | mean over v, w of p_vw e^(-2 pi i k v / V) |^2

    and the same for -k. What the other angle alone moves has been subtracted; what both move does
    not score. Raises ValueError for fewer angles than `MIN_ANGLES`.
    """
    num_angles = len(latents)
    if num_angles < MIN_ANGLES or latents.shape[1] != num_angles:
        raise ValueError(
            f"{' x '.join(map(str, latents.shape[:2]))} pairs of angles; D_LSBD of two angles needs"
            f" at least {MIN_ANGLES} of both"
        )
    values = latents.flatten(2).double()
    found = []
    for each in (values, values.transpose(0, 1)):
        centred = (each - each.mean(0, keepdim=True)).flatten(0, 1)[None]
        circle = _scaled_components(centred, values.square().sum()).view(num_angles, num_angles)
        means = torch.fft.fft(circle.mean(1)).abs() / num_angles
        frequencies = torch.arange(1, MAX_FREQUENCY + 1)
        found.append(1 - torch.maximum(means[frequencies], means[-frequencies]).square())
    return torch.stack(found).clamp(0, 1)


def d_lsbd_of_misses(misses: torch.Tensor) -> float:
    """D_LSBD from 0 (best) to 1 of the `torus_misses` (O, 2, K) of objects.

    All pairs of frequencies are allowed, the same ones for all objects, and the scores of both
    angles are averaged.
    """
    return float(misses.mean(0).min(1).values.mean())


def torus_noise_floor(num_objects: int, num_angles: int, num_values: int) -> float:
    """`d_lsbd_of_misses` of normal noise of this shape; see `noise_floor`."""
    generator = torch.Generator().manual_seed(SEED)
    shape = (num_angles, num_angles, max(2, min(num_values, NUM_NOISE_VALUES)))
    drawn = (torch.randn(shape, generator=generator) for _ in range(num_objects))
    return d_lsbd_of_misses(torch.stack([torus_misses(noise) for noise in drawn]))


def pair_spectrum(latents: torch.Tensor) -> torch.Tensor:
    """How much of latents (V, V, D) has each pair of frequencies, (V, V) float64; it adds up over
    objects."""
    spectrum: torch.Tensor = torch.fft.fft2(latents.flatten(2).double(), dim=(0, 1))
    return spectrum.abs().square().sum(2)


def why_no_torus_d_lsbd(spectrum: torch.Tensor) -> str | None:
    """Why D_LSBD of two angles would not be fair to a model; None if it is.

    `spectrum` (V, V) is that of latents on which the *model's own action* has acted, by both
    angles. What each angle moves must have one pair of frequencies.
    """
    num = len(spectrum)
    signed = [k if 2 * k <= num else k - num for k in range(num)]
    total = float(spectrum.sum())
    for axis, which in enumerate(("first", "second")):
        shares: dict[tuple[int, int], float] = {}
        for place in spectrum.nonzero().tolist():
            pair = (signed[place[0]], signed[place[1]])
            if pair[axis]:
                one = max(pair, (-pair[0], -pair[1]))
                shares[one] = shares.get(one, 0.0) + float(spectrum[*place])
        moved = sum(shares.values())
        if moved <= 1e-10 * total:
            return f"the action of the {which} angle does not change any latent"
        ordered = sorted(shares, key=lambda pair: -shares[pair])
        if shares[ordered[0]] < MIN_SHARE * moved:
            listed = ", ".join(
                f"{pair} ({100 * shares[pair] / moved:.0f}%)" for pair in ordered[:3]
            )
            return (
                f"it knows one frequency, and this action of the {which} angle has several pairs:"
                f" {listed}"
            )
    return None
