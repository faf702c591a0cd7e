"""What predictions without a model are worth: what a trained one has to beat.

baseline/psnr_copy    PSNR of the source as it is, as if no element moved anything
baseline/psnr_mean    PSNR of the mean target of these records, the best constant image
"""

import math

import numpy as np
import torch

from data_prep.store.reader import SplitReader
from pipeline.analysis.records import batches, device_of
from pipeline.analysis.sums import square_sum
from pipeline.metrics.psnr import psnr
from pipeline.models.latent_action import LatentActionModel


@torch.no_grad()
def baseline_metrics(
    model: LatentActionModel, reader: SplitReader, records: np.ndarray, batch: int
) -> dict[str, float]:
    """The metrics above, on [0, 1]."""
    device, shape = device_of(model), reader.frames.shape
    total = torch.zeros(shape, dtype=torch.float64, device=device)
    copied = squares = 0.0
    for _, read in batches(reader, records, batch):
        source, target = (
            model.to_unit_range(model.normalise(torch.from_numpy(frames).to(device)))
            for frames in (read.source, read.target)
        )
        copied += square_sum(target - source)
        squares += square_sum(target)
        total += target.sum(0, dtype=torch.float64)
    num_values = len(records) * math.prod(shape)
    # Of float64 sums: the mean's square is taken off the mean square.
    constant = squares - total.square().sum().item() / len(records)
    return {
        "baseline/psnr_copy": psnr(copied / num_values),
        "baseline/psnr_mean": psnr(max(0.0, constant) / num_values),
    }
