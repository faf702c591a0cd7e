"""Meta-sequential prediction (Miyato, Koyama, Fukumizu): group elements are never given, but found
for each sequence, as the matrix that moves its latents on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orbit.core.metrics import TOTAL_LOSS, Column, Metric
from orbit.core.store.manifest import FrameSpec, Manifest
from pipeline.methods.interface import Method
from pipeline.methods.meta_sequential.settings import MetaSequentialConfig

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from orbit.core.store.reader import Records
    from pipeline.measuring import Findings, Subject, TrainedModel
    from pipeline.methods.meta_sequential.task import MetaSequentialTask


def _make(
    config: MetaSequentialConfig, manifest: Manifest, device: torch.device
) -> MetaSequentialTask:
    from pipeline.methods.meta_sequential.task import MetaSequentialTask

    return MetaSequentialTask(config, manifest, device)


def _measure(subject: Subject) -> Findings:
    from pipeline.methods.meta_sequential.measures import measure

    return measure(subject)


def _draw(subject: Subject) -> None:
    from pipeline.methods.meta_sequential.measures import draw

    draw(subject)


def _describe(run: TrainedModel, manifest: Manifest) -> Mapping[str, str]:
    from pipeline.methods.meta_sequential.task import MetaSequentialModel

    assert isinstance(run.model, MetaSequentialModel)
    rows, columns = run.model.size
    how = "found by least squares" if run.model.guess is None else "made by a network"
    return {"moved by": f"a {columns} x {columns} matrix, {how}; latents have {rows} rows"}


def _preview(model: nn.Module, records: Records, frames: FrameSpec) -> Mapping[str, np.ndarray]:
    from pipeline.methods.meta_sequential.measures import preview_rows

    return preview_rows(model, records)


ERROR = "Squared error on [0, 1], summed over values, of the picture after x1 (/K: after K steps)"
METRICS = (
    Metric(
        "error/neighbour",
        f"{ERROR}, by the next sequence's M.",
        "lower",
        True,
        column=Column("error, M of the next", 2),
    ),
    Metric("error/own", f"{ERROR}, by its own M.", "lower", True, column=Column("error, own M", 2)),
    TOTAL_LOSS,
    Metric("error/black", f"{ERROR}, predicted as black."),
    Metric("error/copy", f"{ERROR}, predicted as x1."),
    Metric("loss/prediction", "As error/own, but over all records, one step on.", "lower"),
)
METHOD = Method(
    "meta_sequential",
    MetaSequentialConfig,
    _make,
    _measure,
    _draw,
    describe=_describe,
    preview=_preview,
    metrics=METRICS,
)
