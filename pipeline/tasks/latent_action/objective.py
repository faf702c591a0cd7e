"""The three losses of the paper, and the measure that the collapse alarm watches.

    L_recon = || D(g z_v(x) + z_i(x)) - g x ||^2
    L_inv   = || z_i(x) - sg[z_i(g x)] ||^2
    L_const = || g z_v(x) - sg[z_v(g x)] ||^2

sg stops the gradient. Each is a mean over all elements, masked zeros included, as
in the released script. For binary frames L_recon is a cross-entropy. The target branch
is encoded only.

`relative` latent losses have no sg, and divide the squares of each record by the spatial
variance of its z(g x), mean over channels. Neither larger latents nor latents that are
the same everywhere make them smaller.
"""

from typing import Literal, NamedTuple

import torch
from torch import nn

from pipeline.models.latent_action import LatentActionModel, LatentParts
from pipeline.models.output import as_images, reconstruction_losses
from pipeline.tasks.latent_action.contrast import ViewsContrast
from pipeline.tasks.latent_action.settings import (
    LatentLosses,
    LossWeights,
)

TERM_NAMES = (
    "loss/total",
    "loss/recon",
    "loss/invariance",
    "loss/consistency",
    "output_variation",
)
CONTRAST_TERM = "loss/contrast"
SMALLEST_VARIANCE = 1e-6


class PairOutputs(NamedTuple):
    """Everything the losses and metrics need of a batch of pairs; `raw` is the decoder's output."""

    raw: torch.Tensor
    target: torch.Tensor
    source_variant: torch.Tensor
    moved_variant: torch.Tensor
    source_invariant: torch.Tensor
    target_parts: LatentParts

    def part(self, records: slice) -> "PairOutputs":
        """The same of some of the records."""
        variant, invariant = self.target_parts
        return PairOutputs(
            self.raw[records],
            self.target[records],
            self.source_variant[records],
            self.moved_variant[records],
            self.source_invariant[records],
            LatentParts(variant[records], invariant[records]),
        )


def run_pairs(
    model: LatentActionModel,
    source: torch.Tensor,
    target: torch.Tensor,
    action: torch.Tensor,
    target_gradient: bool = False,
) -> PairOutputs:
    """Predict the targets (stored frames) of a batch from its sources and actions."""
    images, wanted = model.normalise(source), model.normalise(target)
    parts = model.encode(images)
    moved = model.act(parts.variant, model.group.decode(action))
    raw = model.decode_raw(LatentParts(moved, parts.invariant))
    with torch.set_grad_enabled(target_gradient and torch.is_grad_enabled()):
        target_parts = model.encode(wanted)
    return PairOutputs(raw, wanted, parts.variant, moved, parts.invariant, target_parts)


def latent_losses(pairs: PairOutputs, kind: LatentLosses) -> tuple[torch.Tensor, torch.Tensor]:
    """L_inv and L_const of each record, (N,) both, float32."""
    variant, invariant = pairs.target_parts.variant.float(), pairs.target_parts.invariant.float()
    losses = [
        (ours.float() - wanted).square().flatten(1).mean(1)
        for ours, wanted in (
            (pairs.source_invariant, invariant),
            (pairs.moved_variant, variant),
        )
    ]
    if kind == "relative":
        size = _variation_over_cells(variant + invariant).clamp_min(SMALLEST_VARIANCE)
        losses = [loss / size for loss in losses]
    return losses[0], losses[1]


class LatentActionObjective(nn.Module):
    """Weighted sum of the losses of a batch, with that of a contrast if there is one."""

    def __init__(
        self,
        model: LatentActionModel,
        weights: LossWeights,
        latent_losses: LatentLosses = "stop_gradient",
        contrast: ViewsContrast | None = None,
    ) -> None:
        super().__init__()
        self.model, self.weights, self.latent_losses = model, weights, latent_losses
        self.contrast = contrast

    def forward(
        self,
        source: torch.Tensor,
        target: torch.Tensor,
        action: torch.Tensor,
        label: torch.Tensor,
        valid: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss and the vector of `TERM_NAMES`, and `CONTRAST_TERM`; labels are not used."""
        has_gradient = self.latent_losses != "stop_gradient"
        pairs = run_pairs(self.model, source, target, action, has_gradient)
        kind = self.model.output_kind
        raw = pairs.raw.float()
        images = as_images(raw, kind)
        recon = reconstruction_losses(raw, images, pairs.target, kind).mean()
        invariance, consistency = (x.mean() for x in latent_losses(pairs, self.latent_losses))
        weights = self.weights
        total = (
            weights.recon * recon
            + weights.invariance * invariance
            + weights.consistency * consistency
        )
        variation = _variation(images.detach(), pairs.target)
        terms = [recon, invariance, consistency, variation]
        if self.contrast is not None:
            contrast = self.contrast(pairs.source_variant, pairs.target)
            total = total + self.contrast.config.weight * contrast
            terms.append(contrast)
        return total, torch.stack([total, *terms]).detach()


class ReconstructionObjective(nn.Module):
    """Plain autoencoding, the group left out: of sources, or of targets (augmentation)."""

    def __init__(self, model: LatentActionModel, of: Literal["source", "target"]) -> None:
        super().__init__()
        self.model, self.of = model, of

    def forward(
        self,
        source: torch.Tensor,
        target: torch.Tensor,
        action: torch.Tensor,
        label: torch.Tensor,
        valid: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss and the vector of `TERM_NAMES`; the latent losses are 0."""
        wanted = self.model.normalise(source if self.of == "source" else target)
        raw = self.model.decode_raw(self.model.encode(wanted)).float()
        images = as_images(raw, self.model.output_kind)
        recon = reconstruction_losses(raw, images, wanted, self.model.output_kind).mean()
        none = torch.zeros_like(recon)
        variation = _variation(images.detach(), wanted)
        return recon, torch.stack([recon, recon, none, none, variation]).detach()


def _variation_over_cells(latent: torch.Tensor) -> torch.Tensor:
    """Variance of latents (N, C, h, w) over their cells, mean over channels; of a vector, its
    mean square. (N,)"""
    cells = latent.flatten(2)
    if cells.shape[2] > 1:
        cells = cells - cells.mean(2, keepdim=True)
    return cells.square().mean((1, 2))


def _variation(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """How much outputs differ across a batch, relative to the targets: 0 for a constant image."""
    spread = (output - output.mean(0)).square().mean()
    wanted = (target - target.mean(0)).square().mean()
    return spread / wanted.clamp_min(1e-12)
