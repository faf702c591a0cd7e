"""Sequence labelling with a layer that may learn to commute with shifts (paper 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orbit.core.metrics import TOTAL_LOSS, Column, Metric
from orbit.core.store.manifest import Manifest
from pipeline.methods.interface import Method
from pipeline.methods.sequence_labelling.settings import SequenceLabellingConfig

if TYPE_CHECKING:
    import torch

    from pipeline.measuring import Findings, Subject
    from pipeline.methods.sequence_labelling.task import SequenceLabellingTask


def _make(
    config: SequenceLabellingConfig, manifest: Manifest, device: torch.device
) -> SequenceLabellingTask:
    from pipeline.methods.sequence_labelling.task import SequenceLabellingTask

    return SequenceLabellingTask(config, manifest, device)


def _measure(subject: Subject) -> Findings:
    from pipeline.methods.sequence_labelling.task import measure

    return measure(subject)


def _draw(subject: Subject) -> None:
    from pipeline.methods.sequence_labelling.task import draw

    draw(subject)


METRICS = (
    TOTAL_LOSS,
    Metric(
        "circulant_share",
        "Share of the first layer's squared weights that its nearest circulant matrix holds.",
        "higher",
        is_headline=True,
    ),
    Metric(
        "f1",
        "F1 score of peaks, 2 tp / (2 tp + fp + fn), at a threshold of 0.5.",
        "higher",
        is_headline=True,
        column=Column("F1", 3),
    ),
    Metric("accuracy", "Share of positions with the correct label.", "higher"),
    Metric("precision", "Share of the positions labelled as peaks that are peaks.", "higher"),
    Metric("recall", "Share of the peaks that are found.", "higher"),
    Metric("exact_sequences", "Share of sequences without a mistake.", "higher"),
    Metric(
        "equivariance_error/first_layer",
        "Norm of f(shifted x) - shifted f(x) over the norm of f(x), f the first layer.",
        "lower",
    ),
    Metric("equivariance_error/logits", "The same for the whole network.", "lower"),
    Metric(
        "equivariance_error_centred",
        "The same over the typical distance of f(x) and f(x') of two sequences.",
        "lower",
    ),
)
METHOD = Method(
    "sequence_labelling", SequenceLabellingConfig, _make, _measure, _draw, metrics=METRICS
)
