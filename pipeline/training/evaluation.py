"""Running an evaluation over a split on all ranks."""

from collections.abc import Iterable

import torch

from pipeline.arithmetic import exact_float32
from pipeline.data.packing import Batch
from pipeline.methods.interface import Evaluation
from pipeline.training.distributed import World


@exact_float32()
@torch.no_grad()
def evaluate(evaluation: Evaluation, batches: Iterable[Batch], world: World) -> dict[str, float]:
    """Metrics of a whole split; every rank evaluates its share of the batches and returns all
    metrics.

    Runs in float32, without TF32, whatever the training precision.
    """
    for batch in batches:
        evaluation.update(batch)
    return evaluation.metrics(world.all_reduce_sum(evaluation.sums()))
