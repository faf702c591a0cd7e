"""D_LSBD of objects under two angles, on a grid of all pairs, one object at a time."""

import numpy as np
import torch

from orbit.core.groups import Torus
from pipeline.measuring import spread
from pipeline.metrics.disentanglement import (
    MIN_ANGLES,
    d_lsbd_of_misses,
    pair_spectrum,
    torus_misses,
    torus_noise_floor,
    why_no_torus_d_lsbd,
)
from pipeline.referee.encoding import Coder
from pipeline.referee.views import MadeViews, Views

NUM_OBJECTS = 8
MAX_VALUES = 1 << 24
"""The most numbers of the latents of one object under the whole grid."""


def torus_scores(coder: Coder, views: Views) -> dict[str, float]:
    """`d_lsbd` of up to 8 objects under 36 x 36 pairs of angles, and what noise scores.

    ValueError with the reason where views cannot be made, where latents are too long, and where the
    model's own action has several pairs of frequencies.
    """
    group, acted = coder.group, coder.latents.acted
    assert isinstance(group, Torus)
    assert acted is not None
    if not isinstance(views, MadeViews):
        raise ValueError(
            f"it needs views under {MIN_ANGLES} x {MIN_ANGLES} pairs of angles, and here only"
            " stored ones are known"
        )
    elements = group.grid(MIN_ANGLES)
    grid = views.under(elements)
    objects = spread(len(views.labels), NUM_OBJECTS)
    sources = coder.encode(views.sources(objects))[acted]
    size = sources[0].numel() * len(elements)
    if size > MAX_VALUES:
        raise ValueError(
            f"{size:,} numbers of an object under all angles, more than {MAX_VALUES:,}"
        )
    shape = (MIN_ANGLES, MIN_ANGLES, -1)
    moved = (coder.act_by_each(source[None], elements).view(shape) for source in sources)
    reason = why_no_torus_d_lsbd(torch.stack([pair_spectrum(z) for z in moved]).sum(0))
    if reason is not None:
        raise ValueError(reason)
    misses = []
    for number in objects:
        (frames,) = grid.frames(number[None], np.arange(len(elements))[None])
        misses.append(torus_misses(coder.encode(frames)[acted].view(shape)))
    noise = torus_noise_floor(len(objects), MIN_ANGLES, sources[0].numel())
    return {"d_lsbd": d_lsbd_of_misses(torch.stack(misses)), "d_lsbd_noise": noise}
