"""Does the encoder commute with the group, when the group acts on all of the latent?

    equivariance_error/latent    ||g z(x) - z(g x)|| / ||z(g x)||,  g not the identity

with norms over all records. `equivariance_error/variant` is the same of z_v alone: the
two differ by what the mask keeps from the group (paper, "Group action").
"""

import numpy as np
import torch

from data_prep.store.reader import SplitReader
from pipeline.analysis.records import batches, device_of
from pipeline.analysis.sums import relative, square_sum
from pipeline.models.latent_action import LatentActionModel


@torch.no_grad()
def equivariance_metrics(
    model: LatentActionModel, reader: SplitReader, records: np.ndarray, batch: int
) -> dict[str, float]:
    """`equivariance_error/latent` over these records."""
    device = device_of(model)
    difference = norm = 0.0
    for _, read in batches(reader, records, batch):
        g = model.group.decode(torch.from_numpy(read.action).to(device))
        is_moved = model.group.bin_index(g) != 0
        frames = (torch.from_numpy(x).to(device) for x in (read.source, read.target))
        source, target = (model.encode(model.normalise(x)) for x in frames)
        wanted = target.variant + target.invariant
        moved = model.act(source.variant + source.invariant, g)
        difference += square_sum((moved - wanted)[is_moved])
        norm += square_sum(wanted[is_moved])
    return {"equivariance_error/latent": relative(difference, norm)}
