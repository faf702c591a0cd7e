"""The three losses of the paper, and the measure that the collapse alarm watches.

    L_recon = || D(g z_v(x) + z_i(x)) - g x ||^2
    L_inv   = || z_i(x) - sg[z_i(g x)] ||^2
    L_const = || g z_v(x) - sg[z_v(g x)] ||^2

sg stops the gradient. Each is a mean over all elements, masked zeros included, as
in the released script. For binary frames L_recon is a cross-entropy. The target branch
is encoded only, without gradient unless asked for.
"""

from typing import Literal, NamedTuple

import torch
from torch import nn
from torch.nn.functional import mse_loss

from pipeline.models.latent_action import LatentActionModel, LatentParts
from pipeline.models.output import as_images, reconstruction_losses
from pipeline.tasks.latent_action.settings import LossWeights

TERM_NAMES = (
    "loss/total",
    "loss/recon",
    "loss/invariance",
    "loss/consistency",
    "output_variation",
)


class PairOutputs(NamedTuple):
    """Everything the losses and metrics need of a batch of pairs; `raw` is the decoder's output."""

    raw: torch.Tensor
    target: torch.Tensor
    moved_variant: torch.Tensor
    source_invariant: torch.Tensor
    target_parts: LatentParts


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
    return PairOutputs(raw, wanted, moved, parts.invariant, target_parts)


class LatentActionObjective(nn.Module):
    """Weighted sum of the losses of a batch."""

    def __init__(
        self, model: LatentActionModel, weights: LossWeights, target_gradient: bool = False
    ) -> None:
        super().__init__()
        self.model, self.weights, self.target_gradient = model, weights, target_gradient

    def forward(
        self,
        source: torch.Tensor,
        target: torch.Tensor,
        action: torch.Tensor,
        label: torch.Tensor,
        valid: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss and the vector of `TERM_NAMES`; labels are not used."""
        pairs = run_pairs(self.model, source, target, action, self.target_gradient)
        kind = self.model.output_kind
        raw = pairs.raw.float()
        images = as_images(raw, kind)
        recon = reconstruction_losses(raw, images, pairs.target, kind).mean()
        invariance = mse_loss(pairs.source_invariant.float(), pairs.target_parts.invariant.float())
        consistency = mse_loss(pairs.moved_variant.float(), pairs.target_parts.variant.float())
        weights = self.weights
        total = (
            weights.recon * recon
            + weights.invariance * invariance
            + weights.consistency * consistency
        )
        variation = _variation(images.detach(), pairs.target)
        terms = torch.stack([total.detach(), recon, invariance, consistency, variation])
        return total, terms.detach()


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


def _variation(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """How much outputs differ across a batch, relative to the targets: 0 for a constant image."""
    spread = (output - output.mean(0)).square().mean()
    wanted = (target - target.mean(0)).square().mean()
    return spread / wanted.clamp_min(1e-12)
