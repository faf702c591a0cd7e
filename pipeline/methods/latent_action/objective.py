"""The losses of paper 1: reconstruction, invariance, consistency; contrast of deformed views.

InfoNCE in both directions between rows a_n (pooled z_v of x_n) and b_n (that of a deformed
view of g x_n), after a projector and of length 1:

    -1/2 mean_n [ log softmax_m (a_n . b_m / t)_n  +  log softmax_m (b_n . a_m / t)_n ]

The mean over the latent's cells is invariant under a group that moves cells, so z_v can hold
everything on which the group acts, and its mean still does not depend on the pose.

    L_recon = || D(g z_v(x) + z_i(x)) - g x ||^2
    L_inv   = || z_i(x) - sg[z_i(g x)] ||^2
    L_const = || g z_v(x) - sg[z_v(g x)] ||^2

sg stops the gradient. Each is a mean over all elements, masked zeros included, as
in the released script. For binary frames L_recon is a cross-entropy. The target branch
is encoded only.

In both directions, each pair is used a second time as (g x, g^-1, x), and every mean is over both.

`relative` latent losses have no sg, and divide the squares of each record by the spatial variance
of its z(g x), averaged over channels. Neither smaller latents nor an added constant lower them.
"""

from typing import Literal, NamedTuple

import torch
from torch import nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample, max_pool2d, normalize

from pipeline.arithmetic import not_compiled
from pipeline.global_batch import gather_rows, rank_number, uniform_rows
from pipeline.methods.latent_action.settings import (
    LatentLosses,
    LossWeights,
    ViewsContrastConfig,
)
from pipeline.models.latent_action import (
    LatentActionModel,
    LatentParts,
    as_images,
    reconstruction_losses,
)

NUM_DRAWS = 7


def deform(images: torch.Tensor, draws: torch.Tensor, config: ViewsContrastConfig) -> torch.Tensor:
    """Views (N, C, H, W) of images in [-1, 1], from uniform draws (N, `NUM_DRAWS`) in [0, 1).

    Outside the frame the border is repeated. It is computed in float32 even under autocast, because
    positions in bfloat16 would be off by a tenth of a pixel.
    """
    with torch.autocast(images.device.type, enabled=False):
        images = images.float()
        grid = affine_grid(affine_maps(draws, config), list(images.shape), align_corners=False)
        moved = grid_sample(images, grid, padding_mode="border", align_corners=False)
        return change_thickness(moved, draws[:, 6]) if config.thickness else moved


def affine_maps(draws: torch.Tensor, config: ViewsContrastConfig) -> torch.Tensor:
    """Maps from positions in a view to positions in the image, both in [-1, 1], (N, 2, 3).

    A draw of one half in every column is the identity.
    """
    turn, shear, first, second, right, down = (2 * draws[:, :6] - 1).unbind(1)
    angle, base = config.rotation * turn, torch.as_tensor(1 + config.stretch)
    scale_x, scale_y = base**first, base**second
    slant = config.shear * shear
    cos, sin = angle.cos(), angle.sin()
    # rotation @ shear @ stretch
    rows = [
        torch.stack([cos * scale_x, (cos * slant - sin) * scale_y, config.shift * right], 1),
        torch.stack([sin * scale_x, (sin * slant + cos) * scale_y, config.shift * down], 1),
    ]
    return torch.stack(rows, 1)


def change_thickness(images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Make bright parts a pixel thinner (draws below 1/3), thicker (above 2/3), or leave them."""
    thicker = max_pool2d(images, 3, 1, 1)
    thinner = -max_pool2d(-images, 3, 1, 1)
    draws = draws.view(-1, 1, 1, 1)
    return torch.where(draws < 1 / 3, thinner, torch.where(draws > 2 / 3, thicker, images))


class ViewsContrast(nn.Module):
    """Draws its views from `seed` and `step`, which counts optimiser steps."""

    def __init__(self, model: LatentActionModel, config: ViewsContrastConfig, seed: int) -> None:
        super().__init__()
        self.model, self.config = model, config
        self._seed, self.step = seed, 0

    def forward(self, variant: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of z_v of x, (N, C, h, w), and normalised g x, (N, C, H, W)."""
        views = deform(target, self._draws(target), self.config)
        rows = self._project(variant), self._project(self.model.encode(views).variant)
        return info_nce(*rows, self.config.temperature)

    def _project(self, variant: torch.Tensor) -> torch.Tensor:
        assert self.model.projector is not None
        projected = self.model.projector(variant.flatten(2).mean(2))
        return normalize(projected.float(), dim=1)

    @not_compiled
    def _draws(self, target: torch.Tensor) -> torch.Tensor:
        drawn: torch.Tensor = uniform_rows(
            self._seed, self.step, len(target), NUM_DRAWS, target.device
        )
        return drawn


def info_nce(first: torch.Tensor, second: torch.Tensor, temperature: float) -> torch.Tensor:
    """The loss above for this rank's rows (N, D) of length 1, compared with those of all ranks.

    It is computed in float32 even under autocast.
    """
    own = rank_number() * len(first) + torch.arange(len(first), device=first.device)
    with torch.autocast(first.device.type, enabled=False):
        one_way = cross_entropy(first @ gather_rows(second).T / temperature, own)
        other_way = cross_entropy(second @ gather_rows(first).T / temperature, own)
    return (one_way + other_way) / 2


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
    """The values of a batch of pairs that losses and metrics use; `raw` is the decoder's output."""

    raw: torch.Tensor
    target: torch.Tensor
    source_variant: torch.Tensor
    moved_variant: torch.Tensor
    source_invariant: torch.Tensor
    target_parts: LatentParts

    def part(self, records: slice) -> "PairOutputs":
        """The same values for some of the records."""
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


def run_both_directions(
    model: LatentActionModel,
    source: torch.Tensor,
    target: torch.Tensor,
    action: torch.Tensor,
    target_gradient: bool = False,
) -> PairOutputs:
    """The values of (x, g, g x), and behind them those of (g x, g^-1, x); each frame is encoded
    once."""
    images = [model.normalise(source), model.normalise(target)]
    variant, invariant = model.encode(torch.cat(images))
    g = model.group.decode(action)
    of_source, of_target = variant.chunk(2)
    moved = [model.act(of_source, g), model.act(of_target, model.group.inverse(g))]
    moved_variant = torch.cat(moved)
    raw = model.decode_raw(LatentParts(moved_variant, invariant))
    kept = (part if target_gradient else part.detach() for part in (variant, invariant))
    target_parts = [torch.cat(part.chunk(2)[::-1]) for part in kept]
    wanted = torch.cat(images[::-1])
    return PairOutputs(raw, wanted, variant, moved_variant, invariant, LatentParts(*target_parts))


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
        both_directions: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.weights, self.latent_losses = model, weights, latent_losses
        self.contrast = contrast
        self._run = run_both_directions if both_directions else run_pairs

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
        pairs = self._run(self.model, source, target, action, has_gradient)
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
            num_pairs = len(source)
            contrast = self.contrast(pairs.source_variant[:num_pairs], pairs.target[:num_pairs])
            total = total + self.contrast.config.weight * contrast
            terms.append(contrast)
        return total, torch.stack([total, *terms]).detach()


class ReconstructionObjective(nn.Module):
    """Plain autoencoding without the group: of sources, or of targets (augmentation).

    With a contrast, which compares the views of the method, the action is still not used.
    """

    def __init__(
        self,
        model: LatentActionModel,
        of: Literal["source", "target"],
        weight: float = 1.0,
        contrast: ViewsContrast | None = None,
    ) -> None:
        super().__init__()
        self.model, self.of, self.weight, self.contrast = model, of, weight, contrast

    def forward(
        self,
        source: torch.Tensor,
        target: torch.Tensor,
        action: torch.Tensor,
        label: torch.Tensor,
        valid: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss and the vector of `TERM_NAMES`, and `CONTRAST_TERM`; the latent losses are 0."""
        wanted = self.model.normalise(source if self.of == "source" else target)
        raw = self.model.decode_raw(self.model.encode(wanted)).float()
        images = as_images(raw, self.model.output_kind)
        recon = reconstruction_losses(raw, images, wanted, self.model.output_kind).mean()
        none = torch.zeros_like(recon)
        variation = _variation(images.detach(), wanted)
        total, terms = self.weight * recon, [recon, none, none, variation]
        if self.contrast is not None:
            views = self.model.normalise(source), self.model.normalise(target)
            contrast = self.contrast(self.model.encode(views[0]).variant, views[1])
            total = total + self.contrast.config.weight * contrast
            terms.append(contrast)
        return total, torch.stack([total, *terms]).detach()


def _variation_over_cells(latent: torch.Tensor) -> torch.Tensor:
    """Variance of latents (N, C, h, w) over their cells, mean over channels; for a vector, its mean
    square. (N,)"""
    cells = latent.flatten(2)
    if cells.shape[2] > 1:
        cells = cells - cells.mean(2, keepdim=True)
    return cells.square().mean((1, 2))


def _variation(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """How much outputs differ across a batch, relative to the targets: 0 for a constant image."""
    spread = (output - output.mean(0)).square().mean()
    wanted = (target - target.mean(0)).square().mean()
    return spread / wanted.clamp_min(1e-12)
