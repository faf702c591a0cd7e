"""Metrics of a latent action model over a split, exact for any batch size and rank count.

Reconstruction is measured on [0, 1]: PSNR = -10 log10 of the split's mean squared
error, SSIM with its usual 11-wide Gaussian window. Latent errors are relative:

    equivariance_error/variant      ||g z_v(x) - z_v(g x)|| / ||z_v(g x)||,  g not the identity
    equivariance_error/variant_centred    the same over ||z_v(g x) - mean of z_v(g x)||
    invariance_error/invariant      ||z_i(x) - z_i(g x)|| / ||z_i(g x)||,    g not the identity

with norms over the whole split (root of summed squares), and the mean its mean latent,
cell by cell: what is the same in every image hides no error from the centred form.
Binary frames have `dice` too, 2 |A and B| / (|A| + |B|) of the shapes of output and
target, cut at one half.
"""

import math
from collections.abc import Sequence

import torch

from pipeline.data.packing import Batch
from pipeline.metrics.psnr import psnr
from pipeline.models.latent_action import LatentActionModel
from pipeline.models.output import as_images, reconstruction_losses
from pipeline.tasks.latent_action.objective import latent_losses, run_pairs
from pipeline.tasks.latent_action.settings import (
    LatentLosses,
    LossWeights,
    Reconstruct,
)
from pipeline.tasks.similarity import structural_similarity

LIVE_STD = 1e-3
ROUNDING = 1e-9


class LatentActionEvaluation:
    """Float64 sums of one split; see `pipeline.tasks.interface.Evaluation`."""

    def __init__(
        self,
        model: LatentActionModel,
        weights: LossWeights,
        reconstruct: Reconstruct = "action",
        seen_bins: Sequence[str] | None = None,
        kind: LatentLosses = "stop_gradient",
    ) -> None:
        """`seen_bins` are those that training knew, where it did not know all."""
        self.model, self.weights, self.reconstruct = model, weights, reconstruct
        self.bin_names: Sequence[str] = model.group.bin_names
        self.seen_bins, self.latent_losses = seen_bins, kind
        device = next(model.parameters()).device
        num_bins, num_channels = len(self.bin_names), model.latent_shape[0]
        self._by_bin = torch.zeros(3, num_bins, dtype=torch.float64, device=device)
        self._losses = torch.zeros(3, dtype=torch.float64, device=device)
        self._latent = torch.zeros(5, dtype=torch.float64, device=device)
        self._variant_sum = torch.zeros(model.latent_shape, dtype=torch.float64, device=device)
        self._channels = torch.zeros(2, num_channels, dtype=torch.float64, device=device)
        self._overlap = torch.zeros(2, dtype=torch.float64, device=device)
        self._num_cells = math.prod(model.latent_shape[1:])

    @torch.no_grad()
    def update(self, batch: Batch) -> None:
        model = self.model
        pairs = run_pairs(model, batch.source, batch.target, batch.action)
        valid = batch.valid.double()
        element_bin = model.group.bin_index(model.group.decode(batch.action))
        raw = pairs.raw.float()
        images = as_images(raw, model.output_kind)
        output, wanted = model.to_unit_range(images), model.to_unit_range(pairs.target)
        squared_error = _square_sum(output - wanted) / output[0].numel()
        similarity = structural_similarity(output, wanted).double()
        columns = torch.stack([valid, squared_error * valid, similarity * valid])
        self._by_bin.index_add_(1, element_bin, columns)
        shape, wanted_shape = (images > 0).flatten(1), (pairs.target > 0).flatten(1)
        both, either = (shape & wanted_shape).sum(1), shape.sum(1) + wanted_shape.sum(1)
        self._overlap += (torch.stack([2 * both, either]) * valid).sum(1)

        consistency = _square_sum(pairs.moved_variant - pairs.target_parts.variant)
        invariance = _square_sum(pairs.source_invariant - pairs.target_parts.invariant)
        recon = self._reconstruction_loss(batch, raw, images, pairs.target)
        means = torch.stack([recon, *latent_losses(pairs, self.latent_losses)])
        self._losses += (means * valid).sum(1)

        is_moved = valid * (element_bin != 0)
        squares = [
            consistency,
            # Of float64 values: its mean's square is taken off it.
            _square_sum(pairs.target_parts.variant.double()),
            invariance,
            _square_sum(pairs.target_parts.invariant),
        ]
        self._latent[:4] += (torch.stack(squares) * is_moved).sum(1)
        self._latent[4] += is_moved.sum()
        weights = is_moved.view(-1, *(1,) * len(model.latent_shape))
        self._variant_sum += (pairs.target_parts.variant * weights).sum(0)

        latent = (pairs.target_parts.variant + pairs.target_parts.invariant).flatten(2)
        moments = torch.stack([latent.sum(2), latent.square().sum(2)]).double()
        self._channels += (moments * valid.view(1, -1, 1)).sum(1)

    def _reconstruction_loss(
        self, batch: Batch, raw: torch.Tensor, images: torch.Tensor, wanted: torch.Tensor
    ) -> torch.Tensor:
        """What training minimises, of each sample, (N,): that of these outputs through the
        action, or of a control without one."""
        model = self.model
        if self.reconstruct != "action":
            wanted = model.normalise(getattr(batch, self.reconstruct))
            raw = model.decode_raw(model.encode(wanted)).float()
            images = as_images(raw, model.output_kind)
        by_value = reconstruction_losses(raw, images, wanted, model.output_kind)
        return by_value.flatten(1).sum(1).double() / wanted[0].numel()

    def _parts(self) -> tuple[torch.Tensor, ...]:
        return (
            self._by_bin,
            self._losses,
            self._latent,
            self._variant_sum,
            self._channels,
            self._overlap,
        )

    def sums(self) -> torch.Tensor:
        parts = self._parts()
        return torch.cat([part.flatten() for part in parts])

    def metrics(self, sums: torch.Tensor) -> dict[str, float]:
        parts = self._parts()
        by_bin, losses, latent, variant_sum, channels, overlap = (
            flat.view(part.shape).cpu()
            for flat, part in zip(sums.split([part.numel() for part in parts]), parts, strict=True)
        )
        count, squared_error, similarity = by_bin
        total = count.sum().item()
        recon, invariance, consistency = (losses / total).tolist()
        weights = self.weights
        metrics = {
            "loss/total": weights.recon * recon
            + weights.invariance * invariance
            + weights.consistency * consistency,
            "loss/recon": recon,
            "loss/invariance": invariance,
            "loss/consistency": consistency,
            "mse": squared_error.sum().item() / total,
            "psnr": psnr(squared_error.sum().item() / total),
            "ssim": similarity.sum().item() / total,
        }
        for index, name in enumerate(self.bin_names):
            if count[index] > 0:
                metrics[f"psnr/{name}"] = psnr((squared_error[index] / count[index]).item())
                metrics[f"ssim/{name}"] = (similarity[index] / count[index]).item()
        if self.seen_bins is not None:
            is_seen = torch.tensor([name in self.seen_bins for name in self.bin_names])
            for name, chosen in (("seen", is_seen), ("unseen", ~is_seen)):
                if count[chosen].sum() > 0:
                    error = squared_error[chosen].sum() / count[chosen].sum()
                    metrics[f"psnr_{name}_elements"] = psnr(error.item())
        if self.model.output_kind == "logits":
            metrics["dice"] = (overlap[0] / overlap[1]).item() if overlap[1] > 0 else 1.0
        equivariance, variant, change, invariant, num_moved = latent.tolist()
        varying = variant - variant_sum.square().sum().item() / max(num_moved, 1.0)
        metrics |= {
            name: math.sqrt(difference / norm)
            for name, difference, norm, smallest in (
                ("equivariance_error/variant", equivariance, variant, 0.0),
                ("equivariance_error/variant_centred", equivariance, varying, ROUNDING * variant),
                ("invariance_error/invariant", change, invariant, 0.0),
            )
            if norm > smallest
        }
        mean, mean_of_squares = channels / (total * self._num_cells)
        is_live = (mean_of_squares - mean**2).clamp_min(0).sqrt() > LIVE_STD
        is_variant = self.model.mask.is_variant().cpu()
        metrics["mask/fraction_variant"] = is_variant.double().mean().item()
        metrics["mask/live_channels"] = float(is_live.sum().item())
        metrics["mask/live_variant_channels"] = float((is_live & is_variant).sum().item())
        return metrics


def _square_sum(x: torch.Tensor) -> torch.Tensor:
    """Sum of squares of each sample, (N,): float32 within a sample, float64 from there on."""
    return x.flatten(1).square().sum(1).double()
