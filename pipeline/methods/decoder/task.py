"""The decoder task: draw the current frame from z, and the next one from T(z, a).

|D(z) - x|^2 + |D(T(z, a)) - x'|^2      summed over pixels, mean over records
"""

import torch
from torch import nn

from orbit.core.store.manifest import Manifest
from pipeline.data.packing import Batch
from pipeline.methods.decoder.networks import FrozenModelWithDecoder, make_model
from pipeline.methods.decoder.settings import DecoderConfig
from pipeline.methods.interface import PlainTask
from pipeline.metrics.images import psnr

TERM_NAMES = ("loss/total", "loss/current", "loss/next")


def sample_losses(
    model: FrozenModelWithDecoder, source: torch.Tensor, target: torch.Tensor, action: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared errors of current and next frame of each record, (B,) float32 both."""
    world = model.world_model
    with torch.no_grad():
        latent = world.latent(source)
        following = world.predict(latent, action)
    # One call for both: the statistics of batch norm are those of all that is drawn.
    drawn = model.decode(torch.cat((latent, following)).float()).float()
    wanted = torch.cat((world.normalise(source), world.normalise(target)))
    current, after = (drawn - wanted).square().flatten(1).sum(1).chunk(2)
    return current, after


class DecoderObjective(nn.Module):
    """What the decoder minimises."""

    def __init__(self, model: FrozenModelWithDecoder) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        source: torch.Tensor,
        target: torch.Tensor,
        action: torch.Tensor,
        label: torch.Tensor,
        valid: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss and the vector of `TERM_NAMES`."""
        current, after = (
            losses.mean() for losses in sample_losses(self.model, source, target, action)
        )
        total = current + after
        return total, torch.stack([total, current, after]).detach()


class DecoderEvaluation:
    """The losses, and the PSNR of drawn next frames on [0, 1].

    Float64 sums; see `pipeline.methods.interface.Evaluation`.
    """

    def __init__(self, model: FrozenModelWithDecoder) -> None:
        self.model = model
        device = next(model.parameters()).device
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)

    @torch.no_grad()
    def update(self, batch: Batch) -> None:
        current, after = sample_losses(self.model, batch.source, batch.target, batch.action)
        parts = torch.stack([torch.ones_like(current), current, after]).double()
        self._sums += (parts * batch.valid.double()).sum(1)

    def sums(self) -> torch.Tensor:
        return self._sums

    def metrics(self, sums: torch.Tensor) -> dict[str, float]:
        count, current, after = sums.tolist()
        frames = self.model.world_model.frames
        low, high = frames.loaded_range
        num_values = torch.Size(frames.shape).numel() * (high - low) ** 2
        return {
            "loss/total": (current + after) / count,
            "loss/current": current / count,
            "loss/next": after / count,
            "psnr": psnr(after / count / num_values),
        }


class DecoderTask(PlainTask):
    """See `pipeline.methods.interface.Task`."""

    term_names = TERM_NAMES
    mixes_batch = True  # batch norm
    selection_metric = "loss/total"

    def __init__(self, config: DecoderConfig, manifest: Manifest, device: torch.device) -> None:
        self.model = make_model(config, manifest).to(device)
        self.objective = DecoderObjective(self.model)

    def evaluation(self, model: nn.Module) -> DecoderEvaluation:
        assert isinstance(model, FrozenModelWithDecoder)
        return DecoderEvaluation(model)
