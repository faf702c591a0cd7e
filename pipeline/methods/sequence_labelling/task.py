"""The sequence labelling task: weighted cross-entropy of the places of a sequence.

The loss is a mean over places, peaks counting `positive_weight` times. Beside it, how much
of the first layer is a cyclic convolution (`circulant_share`, paper: its heat map).
"""

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from orbit.core.groups import make_group
from orbit.core.store.manifest import Manifest
from pipeline.data.packing import Batch
from pipeline.methods.interface import PlainTask
from pipeline.methods.sequence_labelling.network import SequenceLabeller
from pipeline.methods.sequence_labelling.settings import SequenceLabellingConfig
from pipeline.metrics.latents import circulant_share


def label_losses(logits: torch.Tensor, labels: torch.Tensor, weight: float) -> torch.Tensor:
    """Mean weighted cross-entropy of each sequence (B,), for logits and labels (B, L)."""
    weights = logits.new_full((1,), weight, dtype=torch.float32)
    losses = binary_cross_entropy_with_logits(
        logits.float(), labels.float(), pos_weight=weights, reduction="none"
    )
    return losses.mean(1)


class SequenceObjective(nn.Module):
    """Labels of the target frame from the source frame."""

    def __init__(self, model: SequenceLabeller, positive_weight: float) -> None:
        super().__init__()
        self.model, self.positive_weight = model, positive_weight

    def forward(
        self,
        source: torch.Tensor,
        target: torch.Tensor,
        action: torch.Tensor,
        label: torch.Tensor,
        valid: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss, twice."""
        model = self.model
        logits, labels = model(model.normalise(source)), model.normalise(target).flatten(1)
        loss = label_losses(logits, labels, self.positive_weight).mean()
        return loss, loss.detach()[None]


class SequenceEvaluation:
    """Loss, and precision and recall of places, cut at a probability of one half.

    Float64 sums; see `pipeline.methods.interface.Evaluation`.
    """

    def __init__(self, model: SequenceLabeller, positive_weight: float) -> None:
        self.model, self.positive_weight = model, positive_weight
        device = next(model.parameters()).device
        # Sequences, loss, peaks found, places called a peak, peaks, sequences without a mistake.
        self._sums = torch.zeros(6, dtype=torch.float64, device=device)

    @torch.no_grad()
    def update(self, batch: Batch) -> None:
        model = self.model
        logits = model(model.normalise(batch.source))
        labels = model.normalise(batch.target).flatten(1)
        found, is_peak = logits > 0, labels > 0.5
        parts = [
            torch.ones_like(batch.valid),
            label_losses(logits, labels, self.positive_weight),
            (found & is_peak).sum(1),
            found.sum(1),
            is_peak.sum(1),
            (found == is_peak).all(1),
        ]
        rows = torch.stack([part.double() for part in parts])
        self._sums += (rows * batch.valid.double()).sum(1)

    def sums(self) -> torch.Tensor:
        return self._sums

    def metrics(self, sums: torch.Tensor) -> dict[str, float]:
        count, loss, hit, called, peaks, exact = sums.tolist()
        return {
            "loss/total": loss / count,
            "precision": hit / max(1.0, called),
            "recall": hit / max(1.0, peaks),
            "exact_sequences": exact / count,
            "circulant_share": circulant_share(self.model.first.weight.detach()),
        }


class SequenceLabellingTask(PlainTask):
    """See `pipeline.methods.interface.Task`."""

    term_names = ("loss/total",)
    mixes_batch = False
    selection_metric = "loss/total"

    def __init__(
        self, config: SequenceLabellingConfig, manifest: Manifest, device: torch.device
    ) -> None:
        group = make_group(manifest.group)
        self._weight = config.positive_weight
        self.model = SequenceLabeller(config.model, group, manifest.frames).to(device)
        self.objective = SequenceObjective(self.model, self._weight)

    def statistics(self) -> dict[str, float]:
        return {"circulant_share": circulant_share(self.model.first.weight.detach())}

    def evaluation(self, model: nn.Module) -> SequenceEvaluation:
        assert isinstance(model, SequenceLabeller)
        return SequenceEvaluation(model, self._weight)
