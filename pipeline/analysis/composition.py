"""Is acting twice the same as acting once?

For elements g, h drawn uniformly, one pair a record, by a fixed seed:

    composition_error/image     root mean square of g(h x) - (g h) x, model outputs on [0, 1]
    composition_error/latent    ||g(h z_v) - (g h) z_v|| / ||z_v||
    psnr/composed               of g(h x) against the true (g h) x

The latent one is exactly 0 where an exact group moves latent cells, and says how far
an interpolating or a learned action is from one of the group.
"""

import math

import numpy as np
import torch

from data_prep.store.reader import SplitReader
from pipeline.analysis.records import ELEMENT_STREAM, SEED, batches, device_of
from pipeline.analysis.sums import relative, square_sum
from pipeline.metrics.psnr import psnr
from pipeline.models.latent_action import LatentActionModel


@torch.no_grad()
def composition_metrics(
    model: LatentActionModel,
    reader: SplitReader,
    records: np.ndarray,
    batch: int,
    group_acts_on_frames: bool,
) -> dict[str, float]:
    """The metrics above on these records' sources.

    `psnr/composed` only where `group_acts_on_frames`, which makes the truth known.
    """
    device, group = device_of(model), model.group
    rng = np.random.default_rng([SEED, ELEMENT_STREAM])
    all_g, all_h = (group.sample(rng, len(records)).to(device) for _ in range(2))
    image = latent = norm = error = 0.0
    for places, read in batches(reader, records, batch):
        g, h = all_g[places], all_h[places]
        both = group.compose(g, h)
        frames = torch.from_numpy(read.source).to(device)
        images = model.normalise(frames)
        twice = model.to_unit_range(model.transform(model.transform(images, h), g))
        once = model.to_unit_range(model.transform(images, both))
        image += square_sum(twice - once)
        variant = model.encode(images).variant
        latent += square_sum(model.act(model.act(variant, h), g) - model.act(variant, both))
        norm += square_sum(variant)
        if group_acts_on_frames:
            truth = group.act_on_image(frames if group.is_exact else frames.float(), both)
            error += square_sum(twice - model.to_unit_range(model.normalise(truth)))
    num_values = len(records) * math.prod(reader.frames.shape)
    metrics = {
        "composition_error/image": math.sqrt(image / num_values),
        "composition_error/latent": relative(latent, norm),
    }
    if group_acts_on_frames:
        metrics["psnr/composed"] = psnr(error / num_values)
    return metrics
