"""The swap test: z_v of one image with z_i of another, against the composited truth.

Record i is paired with another record j by a fixed permutation. D(z_v(i) + z_i(j)) must
show the moving part of i and the resting part of j (paper, swap figure):

    swap/foreground_rmse, swap/background_rmse    root mean squared error on [0, 1] there
    swap/unswapped_...                            of D(z_v(i) + z_i(i)), which ignores j

A model that splits as it should has a small error in both; the unswapped output shows
how large the error in the background is for one that does not.
"""

import math

import numpy as np
import torch

from data_prep.store.manifest import Manifest
from data_prep.store.reader import SplitReader
from pipeline.analysis.records import batches, device_of, partners
from pipeline.analysis.swap_truth import swap_truth
from pipeline.models.latent_action import LatentActionModel, LatentParts


@torch.no_grad()
def swapped(
    model: LatentActionModel, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """D(z_v(first) + z_i(second)) and D(z(first)) on [0, 1], of stored frames (N, C, ...)."""
    device = device_of(model)
    own, other = (
        model.encode(model.normalise(torch.from_numpy(frames).to(device)))
        for frames in (first, second)
    )
    together = LatentParts(own.variant, other.invariant)
    outputs = (model.to_unit_range(model.decode(parts)) for parts in (together, own))
    moved, kept = (np.asarray(output.cpu().numpy()) for output in outputs)
    return moved, kept


def swap_metrics(
    model: LatentActionModel,
    manifest: Manifest,
    reader: SplitReader,
    records: np.ndarray,
    batch: int,
) -> dict[str, float]:
    """The errors above over these records' sources, at least two of them."""
    partner = records[partners(len(records))]
    squares: dict[str, float] = {}
    num_values: dict[str, int] = {}
    for places, read in batches(reader, records, batch):
        other = reader.read(partner[places])
        truth = swap_truth(manifest, reader, read.source, records[places], partner[places])
        outputs = zip(("", "unswapped_"), swapped(model, read.source, other.source), strict=True)
        for which, output in outputs:
            error = (output - truth.images).astype(np.float64) ** 2
            for part in ("foreground", "background"):
                name = f"swap/{which}{part}_rmse"
                where = np.broadcast_to(getattr(truth, part), error.shape)
                squares[name] = squares.get(name, 0.0) + float(error[where].sum())
                num_values[name] = num_values.get(name, 0) + int(where.sum())
    return {name: math.sqrt(squares[name] / max(1, num_values[name])) for name in squares}
