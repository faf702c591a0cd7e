"""Metrics of a latent action model over a split, exact for any batch size and rank count.

Reconstruction is measured on [0, 1]: PSNR = -10 log10 of the split's mean squared
error, SSIM with its usual 11-wide Gaussian window. Latent errors are relative:

    equivariance_error/variant      ||g z_v(x) - z_v(g x)|| / ||z_v(g x)||,  g not the identity
    equivariance_error/variant_centred    the same over ||z_v(g x) - mean of z_v(g x)||
    invariance_error/invariant      ||z_i(x) - z_i(g x)|| / ||z_i(g x)||,    g not the identity

with norms over the whole split (root of summed squares), and its mean latent, cell by cell: in the
centred form a component that all images share cannot hide an error. Binary frames also have `dice`,
2 |A and B| / (|A| + |B|) of the shapes of output and target, thresholded at one half.
"""

import math
from collections.abc import Sequence

import torch

from pipeline.data.packing import Batch, parts_of_pass, slices_in_cache
from pipeline.methods.latent_action.objective import SMALLEST_VARIANCE, PairOutputs, run_pairs
from pipeline.methods.latent_action.settings import (
    LatentLosses,
    LossWeights,
    Reconstruct,
)
from pipeline.metrics.images import psnr
from pipeline.metrics.similarity import Room, compare
from pipeline.models.latent_action import (
    LatentActionModel,
    OutputKind,
    as_images,
    reconstruction_losses,
)

LIVE_STD = 1e-3
ROUNDING = 1e-9


class LatentActionEvaluation:
    """Float64 sums of one split; see `pipeline.methods.interface.Evaluation`."""

    def __init__(
        self,
        model: LatentActionModel,
        weights: LossWeights,
        reconstruct: Reconstruct = "action",
        seen_bins: Sequence[str] | None = None,
        kind: LatentLosses = "stop_gradient",
    ) -> None:
        """`seen_bins` are the bins that training used, None if it used all."""
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
        self._room = Room()
        self._num_cells = math.prod(model.latent_shape[1:])

    @torch.no_grad()
    def update(self, batch: Batch) -> None:
        for part in parts_of_pass(batch.source):
            self._add(Batch(*(values[part] for values in batch)))

    def _add(self, batch: Batch) -> None:
        """Count records that go through the model together."""
        model, valid = self.model, batch.valid.double()
        pairs = run_pairs(model, batch.source, batch.target, batch.action)
        element_bin = model.group.bin_index(model.group.decode(batch.action))
        frames = [
            self._of_frames(pairs.raw[part], pairs.target[part])
            for part in slices_in_cache(pairs.raw)
        ]
        squared_error, similarity, recon, both, either = torch.cat(frames, 1) * valid
        self._by_bin.index_add_(1, element_bin, torch.stack([valid, squared_error, similarity]))
        self._overlap += torch.stack([2 * both, either]).sum(1)
        is_moved = valid * (element_bin != 0)
        latents = [
            self._of_latents(pairs.part(part), valid[part], is_moved[part])
            for part in slices_in_cache(pairs.moved_variant)
        ]
        invariance, consistency, *squares = torch.cat(latents, 1)
        if self.reconstruct != "action":
            recon = self._control_loss(getattr(batch, self.reconstruct)) * valid
        self._losses[0] += recon.sum()
        self._losses[1:] += (torch.stack([invariance, consistency]) * valid).sum(1)
        self._latent[:4] += (torch.stack(squares) * is_moved).sum(1)
        self._latent[4] += is_moved.sum()

    def _of_frames(self, raw: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Squared error and similarity on [0, 1], what training minimises, and of shapes the
        values in both and those in either, counted twice in both: (5, N)."""
        model, kind = self.model, self.model.output_kind
        raw = raw.float()
        images = as_images(raw, kind)
        low, high = model.frames.loaded_range
        error, similarity = compare(images, wanted, (low, high), self._room)
        # With a Tanh output the loss is the squared error.
        loss = error * (high - low) ** 2
        both = either = torch.zeros_like(error)
        if kind == "logits":
            loss = _loss_of_records(raw, images, wanted, kind)
            shape, wanted_shape = (images > 0).flatten(1), (wanted > 0).flatten(1)
            both = (shape & wanted_shape).sum(1).double()
            either = (shape.sum(1) + wanted_shape.sum(1)).double()
        return torch.stack([error, similarity, loss, both, either])

    def _of_latents(
        self, pairs: PairOutputs, valid: torch.Tensor, is_moved: torch.Tensor
    ) -> torch.Tensor:
        """The two losses, and the squared differences and norms of both parts, (6, N)."""
        variant, invariant = pairs.target_parts
        shape, num = self._variant_sum.shape, len(valid)
        num_channels = shape[0]
        # Variant and invariant parts have different channels, so their sum contains both.
        wanted, found = self._room.take(2, variant.shape, variant)
        torch.add(variant, invariant, out=wanted)
        torch.add(pairs.moved_variant, pairs.source_invariant, out=found)
        errors = found.sub_(wanted).square_().view(num * num_channels, -1)
        error_by_channel = _row_sums(errors).double().view(num, num_channels)
        (latent,) = self._room.take(1, (num, math.prod(shape)), self._by_bin)
        latent.copy_(wanted.flatten(1))
        is_variant = self.model.mask.is_variant().view(-1, *(1,) * (len(shape) - 1))
        moved_sum, valid_sum = (torch.stack([is_moved, valid]) @ latent).view(2, *shape)
        self._variant_sum += moved_sum * is_variant
        self._channels[0] += valid_sum.flatten(1).sum(1)
        channels = latent.view(num * num_channels, -1)
        cell_sums = _row_sums(channels) if self.latent_losses == "relative" else None
        by_channel = _row_sums(channels.square_()).view(num, num_channels)
        self._channels[1] += valid @ by_channel
        chosen = is_variant.flatten().double()
        consistency, invariance = (error_by_channel @ part for part in (chosen, 1 - chosen))
        losses = torch.stack([invariance, consistency]) / latent.shape[1]
        if cell_sums is not None:
            # As `latent_losses` has it, from the sums that are there.
            size = by_channel.sum(1)
            if self._num_cells > 1:
                size -= cell_sums.square_().view(num, num_channels).sum(1) / self._num_cells
            losses /= (size / latent.shape[1]).clamp_min_(SMALLEST_VARIANCE)
        return torch.stack(
            [*losses, consistency, by_channel @ chosen, invariance, by_channel @ (1 - chosen)]
        )

    def _control_loss(self, frames: torch.Tensor) -> torch.Tensor:
        """The loss of a control without an action, for each stored frame, (N,)."""
        model = self.model
        wanted = model.normalise(frames)
        raw = model.decode_raw(model.encode(wanted)).float()
        kind = model.output_kind
        losses = [
            _loss_of_records(raw[part], as_images(raw[part], kind), wanted[part], kind)
            for part in slices_in_cache(raw)
        ]
        return torch.cat(losses)

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


def _loss_of_records(
    raw: torch.Tensor, images: torch.Tensor, wanted: torch.Tensor, kind: OutputKind
) -> torch.Tensor:
    """The mean reconstruction loss of each record, (N,) float64."""
    by_value = reconstruction_losses(raw, images, wanted, kind)
    return by_value.flatten(1).sum(1).double() / wanted[0].numel()


def _row_sums(x: torch.Tensor) -> torch.Tensor:
    """Sums (N,) of the rows of (N, D), by a product, because summing short rows is slow."""
    return x @ x.new_ones(x.shape[1])
