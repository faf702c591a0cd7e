"""Decoders of a frozen world model's latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orbit.core.metrics import TOTAL_LOSS, Column, Metric
from orbit.core.store.manifest import FrameSpec, Manifest
from pipeline.methods.decoder.settings import DecoderConfig
from pipeline.methods.interface import Method

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from orbit.core.store.reader import Records
    from pipeline.measuring import Findings, Subject
    from pipeline.methods.decoder.task import DecoderTask


def _make(config: DecoderConfig, manifest: Manifest, device: torch.device) -> DecoderTask:
    from pipeline.methods.decoder.task import DecoderTask

    return DecoderTask(config, manifest, device)


def _measure(subject: Subject) -> Findings:
    from pipeline.measuring import Findings

    return Findings({})  # nothing beyond the metrics of training


def _draw(subject: Subject) -> None:
    from pipeline.methods.decoder.task import draw

    draw(subject)


def _preview(model: nn.Module, records: Records, frames: FrameSpec) -> Mapping[str, np.ndarray]:
    from pipeline.methods.decoder.task import FrozenModelWithDecoder, preview_rows

    assert isinstance(model, FrozenModelWithDecoder)
    return preview_rows(model, records)


METRICS = (
    TOTAL_LOSS,
    Metric(
        "psnr",
        "Of decoded next frames: -10 log10 of the split's mean squared error on [0, 1], dB.",
        "higher",
        is_headline=True,
        column=Column("PSNR", 2),
    ),
    Metric("loss/current", "Squared error of D(z), summed over pixels.", "lower"),
    Metric("loss/next", "Squared error of D(T(z, a)), summed over pixels.", "lower"),
)
METHOD = Method("decoder", DecoderConfig, _make, _measure, _draw, preview=_preview, metrics=METRICS)
