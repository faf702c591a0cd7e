"""Latent group actions (paper 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orbit.core.metrics import TOTAL_LOSS, Column, Metric
from orbit.core.store.manifest import FrameSpec, Manifest
from pipeline.methods.interface import Latents, Method
from pipeline.methods.latent_action.settings import LatentActionConfig

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from orbit.core.store.reader import Records
    from pipeline.measuring import Findings, Subject, TrainedModel
    from pipeline.methods.latent_action.task import LatentActionTask
    from pipeline.programs import Program

DEFAULT_RECORDS = 4096


def _make(config: LatentActionConfig, manifest: Manifest, device: torch.device) -> LatentActionTask:
    from pipeline.methods.latent_action.task import LatentActionTask

    return LatentActionTask(config, manifest, device)


def _measure(subject: Subject) -> Findings:
    from pipeline.measuring import Findings
    from pipeline.methods.latent_action.measures import analyse

    most = subject.max_records if subject.max_records is not None else DEFAULT_RECORDS
    return Findings(analyse(subject.run, subject.manifest, subject.reader, most, subject.batch))


def _draw(subject: Subject) -> None:
    from pipeline.methods.latent_action.pictures.write import write_pictures

    write_pictures(subject.run_dir, subject.run, subject.manifest, subject.reader)


def _programs(run: TrainedModel, manifest: Manifest) -> list[Program]:
    from pipeline.methods.latent_action.programs import latent_action_programs
    from pipeline.models.latent_action import LatentActionModel

    assert isinstance(run.model, LatentActionModel)
    return latent_action_programs(run.model)


def _preview(model: nn.Module, records: Records, frames: FrameSpec) -> Mapping[str, np.ndarray]:
    from pipeline.methods.latent_action.pictures.elements import preview_rows
    from pipeline.models.latent_action import LatentActionModel

    assert isinstance(model, LatentActionModel)
    return preview_rows(model, records, frames)


def _latents(model: nn.Module, manifest: Manifest) -> Latents:
    from pipeline.methods.latent_action.parts import offered_latents
    from pipeline.models.latent_action import LatentActionModel

    assert isinstance(model, LatentActionModel)
    return offered_latents(model)


METRICS = (
    TOTAL_LOSS,
    Metric(
        "psnr",
        "-10 log10 of the split's mean squared error on [0, 1], dB.",
        "higher",
        is_headline=True,
        by_element=True,
        column=Column("PSNR", 2),
        worst=Column("PSNR, worst g", 2),
    ),
    Metric(
        "ssim",
        "Mean structural similarity on [0, 1].",
        "higher",
        is_headline=True,
        by_element=True,
        column=Column("SSIM"),
    ),
    Metric(
        "dice",
        "Dice score of binary volumes: twice the overlap with the target over the sum of both.",
        "higher",
        is_headline=True,
        column=Column("Dice"),
    ),
    Metric(
        "equivariance_error/variant",
        "Norm of g z_v(x) - z_v(g x) over that of z_v(g x), g not the identity.",
        "lower",
        is_headline=True,
        column=Column("equivariance of z_v (median)", 4, "median"),
    ),
    Metric(
        "equivariance_error/variant_centred",
        "The same, over the norm of z_v(g x) minus its mean over the split.",
        "lower",
        column=Column("the same, centred (median)", 4, "median"),
    ),
    Metric(
        "invariance_error/invariant",
        "Norm of z_i(x) - z_i(g x) over that of z_i(g x), g not the identity.",
        "lower",
        is_headline=True,
        column=Column("invariance of z_i (median)", 4, "median"),
    ),
    Metric(
        "equivariance_error/latent",
        "As equivariance_error/variant, with the group acting on all of z.",
        "lower",
        column=Column("equivariance of z (median)", 4, "median"),
    ),
    Metric(
        "composition_error/image",
        "Root mean square of g(h x) - (g h) x, both model outputs on [0, 1].",
        "lower",
        column=Column("composition"),
    ),
    Metric(
        "composition_error/latent",
        "Norm of g (h z_v) - (g h) z_v over that of z_v.",
        "lower",
    ),
    Metric(
        "block/share_invariant",
        "Share of the variation of z_i squared that lies in the cells of the block.",
        "higher",
        column=Column("block in z_i", 3),
    ),
    Metric(
        "block/share_variant",
        "Share of the variation of z_v squared that lies in the cells of the block.",
        "lower",
        column=Column("block in z_v", 3),
    ),
    Metric(
        "block/share_absolute_invariant", "As block/share_invariant, with magnitudes.", "higher"
    ),
    Metric("block/share_absolute_variant", "As block/share_variant, with magnitudes.", "lower"),
    Metric(
        "block/area_fraction",
        "Share of the cells that the block touches: block/share_... if z ignores the block.",
        column=Column("block's area", 3),
    ),
    Metric(
        "swap/worse_rmse",
        "The larger of the two errors below: small only if both swapped parts are right.",
        "lower",
        column=Column("swap, worse part"),
    ),
    Metric(
        "swap/background_rmse",
        "RMSE after swapping parts, on [0, 1], where the image of z_i is visible.",
        "lower",
        column=Column("swap, background"),
    ),
    Metric(
        "swap/foreground_rmse",
        "RMSE after swapping parts, on [0, 1], where the image of z_v is visible.",
        "lower",
        column=Column("swap, foreground"),
    ),
    Metric(
        "swap/unswapped_background_rmse",
        "As swap/background_rmse, for the output without a swap.",
        column=Column("swap, unswapped background"),
    ),
    Metric(
        "swap/unswapped_foreground_rmse",
        "As swap/foreground_rmse, for the output without a swap.",
        column=Column("swap, unswapped foreground"),
    ),
    Metric(
        "mask/fraction_variant",
        "Share of the channels that are variant.",
        column=Column("variant share", 3),
    ),
    Metric("mask/live_channels", "Number of channels that vary over images or cells."),
    Metric(
        "mask/live_variant_channels", "Number of variant channels that vary over images or cells."
    ),
    Metric("mask/flips_in_epoch", "Number of mask entries that changed since the epoch began."),
    Metric("loss/recon", "Mean squared error on [-1, 1], or cross-entropy.", "lower"),
    Metric("loss/invariance", "L_inv: the change of z_i under the group.", "lower"),
    Metric("loss/consistency", "L_const: the distance between g z_v(x) and z_v(g x).", "lower"),
    Metric("loss/contrast", "InfoNCE of task.contrast, in training only.", "lower"),
    Metric("mse", "Mean squared error on [0, 1].", "lower"),
    Metric(
        "psnr_seen_elements",
        "PSNR over the elements seen in training (dataset.train_bins).",
        "higher",
    ),
    Metric("psnr_unseen_elements", "PSNR over the elements not seen in training.", "higher"),
    Metric("psnr/composed", "PSNR of the output after acting with h, then with g.", "higher"),
    Metric("baseline/psnr_black", "PSNR of black frames, without a model."),
    Metric("baseline/psnr_copy", "PSNR of the unchanged source, without a model."),
    Metric("baseline/psnr_mean", "PSNR of the mean target, the best constant image."),
    Metric(
        "output_variation", "Variance of outputs over a batch divided by the variance of targets."
    ),
)
"""Columns of tables are in this order."""


METHOD = Method(
    "latent_action",
    LatentActionConfig,
    _make,
    _measure,
    _draw,
    _programs,
    preview=_preview,
    metrics=METRICS,
    latents=_latents,
)
