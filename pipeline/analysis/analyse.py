"""All analyses that a dataset and a model allow."""

import math
from collections.abc import Callable

from data_prep.store.manifest import Manifest
from data_prep.store.reader import SplitReader
from pipeline.analysis.baselines import baseline_metrics
from pipeline.analysis.blocks import block_metrics, shows_blocks
from pipeline.analysis.composition import composition_metrics
from pipeline.analysis.equivariance import equivariance_metrics
from pipeline.analysis.records import spread_records, spread_sources
from pipeline.analysis.swap import swap_metrics
from pipeline.analysis.swap_truth import can_swap
from pipeline.models.latent_action import LatentActionModel
from pipeline.progress import Progress
from pipeline.runs import Run


def analyse(
    run: Run, manifest: Manifest, reader: SplitReader, max_records: int, batch: int
) -> dict[str, float]:
    """Metrics by name, finite, and but for rounding the same for any `batch`.

    Each reads up to `max_records` records spread over the split; `block/` reads all.
    """
    model = run.model
    assert isinstance(model, LatentActionModel)
    records, sources = spread_records(reader, max_records), spread_sources(reader, max_records)
    acts = manifest.target_is_action_on_source
    parts: dict[str, Callable[[], dict[str, float]]] = {
        "equivariance": lambda: equivariance_metrics(model, reader, records, batch),
        "composition": lambda: composition_metrics(model, reader, records, batch, acts),
        "baselines": lambda: baseline_metrics(model, reader, records, batch),
    }
    if shows_blocks(manifest) and is_spatial(model):
        side = manifest.generator["side"]
        parts["blocks"] = lambda: block_metrics(model, reader, side, batch)
    if can_swap(manifest, reader) and len(sources) > 1:
        parts["swaps"] = lambda: swap_metrics(model, manifest, reader, sources, batch)
    metrics: dict[str, float] = {}
    with Progress(len(parts), "analyses", "analysing", lines=False) as progress:
        for found in progress.through(parts):
            metrics |= found
    return metrics


def is_spatial(model: LatentActionModel) -> bool:
    """Whether the latent has cells that stand for places, not one vector."""
    return math.prod(model.latent_shape[1:]) > 1
