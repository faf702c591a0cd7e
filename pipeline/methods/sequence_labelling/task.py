"""The sequence labelling task: weighted cross-entropy of the positions of a sequence.

The loss is a mean over positions; peaks count `positive_weight` times. Evaluation also measures how
much of the first layer is a cyclic convolution (`circulant_share`; the paper shows its heat map).

The network is a fully connected layer that may learn to commute with shifts, followed by other
layers. The first layer has no activation: before convolutions, which commute with shifts exactly,
it has the role of the symmetric embedding network.

Final evaluation of sequence labelling: scores, and the first layer's weights in a picture.

accuracy, f1            over all positions of all sequences, at a threshold of one half
circulant_share         of the first layer's energy: 1 for a cyclic convolution, 1/L for noise
equivariance_error/...  |f(shifted x) - shifted f(x)| by the norm of f(x), where f is the
                        `first_layer` or all of the network (`logits`), shifts in turn
equivariance_error_centred/...  the same by the typical distance of f(x) and f(x') of two sequences
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from orbit.core.groups import Group, make_group
from orbit.core.pictures import save_figure
from orbit.core.store.manifest import FrameSpec, Manifest
from orbit.core.store.reader import SplitReader
from pipeline.data.packing import Batch
from pipeline.measuring import (
    Findings,
    Subject,
    add_scale,
    batches,
    device_of,
    new_figure,
    show,
    spread_records,
)
from pipeline.methods.interface import PlainTask
from pipeline.methods.sequence_labelling.settings import (
    ConvolutionalConfig,
    FullyConnectedConfig,
    SequenceLabellingConfig,
)
from pipeline.metrics.images import MeanError, distances, lengths
from pipeline.metrics.latents import TypicalDistance, circulant_part, circulant_share
from pipeline.metrics.ranking import LabelCounts, count_labels


class SequenceLabeller(nn.Module):
    """Logits of the labels of each position of sequences, which are frames (B, 1, 1, L).

    `first` is the first layer, `rest` maps its outputs (B, L) to logits (B, L).
    """

    def __init__(
        self, config: FullyConnectedConfig | ConvolutionalConfig, group: Group, frames: FrameSpec
    ) -> None:
        super().__init__()
        if frames.shape[:2] != (1, 1) or len(frames.shape) != 3:
            raise ValueError(
                f"task.name=sequence_labelling needs sequences (1, 1, L), not {frames.shape}"
            )
        length = frames.shape[2]
        self.name, self.group, self.frames = config.name, group, frames
        self._scale, self._shift = frames.loading()
        self.first = nn.Linear(length, length)
        if isinstance(config, ConvolutionalConfig):
            self.rest = cyclic_convolutions(config)
        else:
            self.rest = linear_layers(length, config.num_layers)

    def normalise(self, frames: torch.Tensor) -> torch.Tensor:
        """Stored values to the loaded range, float32."""
        return frames.to(torch.float32) * self._scale + self._shift

    def forward(self, sequences: torch.Tensor) -> torch.Tensor:
        """Logits (B, L) of normalised frames (B, 1, 1, L)."""
        logits: torch.Tensor = self.rest(self.first(sequences.flatten(1)))
        return logits


def linear_layers(length: int, num_layers: int) -> nn.Sequential:
    """ReLU and a linear layer, `num_layers` times."""
    layers: list[nn.Module] = []
    for _ in range(num_layers):
        layers += [nn.ReLU(), nn.Linear(length, length)]
    return nn.Sequential(*layers)


def cyclic_convolutions(config: ConvolutionalConfig) -> nn.Sequential:
    """Cyclic convolutions with ReLU between them: (B, L) to (B, L)."""
    sizes = [1, *[config.channels] * (config.num_layers - 1), 1]
    layers: list[nn.Module] = [nn.Unflatten(1, (1, -1))]
    for index, (num_in, num_out) in enumerate(pairwise(sizes)):
        if index > 0:
            layers.append(nn.ReLU())
        padding = config.kernel // 2
        layers.append(
            nn.Conv1d(num_in, num_out, config.kernel, padding=padding, padding_mode="circular")
        )
    return nn.Sequential(*layers, nn.Flatten(1))


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
    """Loss, and precision and recall of positions, thresholded at a probability of one half.

    Float64 sums; see `pipeline.methods.interface.Evaluation`.
    """

    def __init__(self, model: SequenceLabeller, positive_weight: float) -> None:
        self.model, self.positive_weight = model, positive_weight
        device = next(model.parameters()).device
        # Sequences, loss, true positives, predicted positives, peaks, sequences without a mistake.
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


@torch.no_grad()
def labelling_metrics(
    model: SequenceLabeller, reader: SplitReader, max_records: int | None, batch: int
) -> dict[str, float]:
    """The metrics above over the records of a split, or up to `max_records` of them."""
    device = device_of(model)
    counts = LabelCounts()
    errors = {"first_layer": MeanError(), "logits": MeanError()}
    typical = {name: TypicalDistance() for name in errors}
    records = spread_records(reader, max_records or reader.num_records)
    for places, read in batches(reader, records, batch):
        sequences = model.normalise(torch.from_numpy(read.source).to(device))
        true = model.normalise(torch.from_numpy(read.target).to(device)).flatten(1) > 0.5
        counts = counts.plus(count_labels(model(sequences) > 0, true))
        shifts = torch.from_numpy(shifts_of(places, sequences.shape[-1])).to(device)
        moved = shifted(sequences, shifts)
        for name, plain, found in (
            ("first_layer", model.first(sequences.flatten(1)), model.first(moved.flatten(1))),
            ("logits", model(sequences), model(moved)),
        ):
            wanted = shifted(plain, shifts)
            errors[name].add(distances(wanted, found), lengths(wanted))
            typical[name].add(plain[:, None])
    spreads = {name: each.value.item() for name, each in typical.items()}
    return {
        "accuracy": counts.accuracy,
        "f1": counts.f1,
        "circulant_share": circulant_share(model.first.weight),
        **{
            f"equivariance_error_centred/{name}": each.raw / spreads[name]
            for name, each in errors.items()
            if spreads[name] > 0
        },
        **{f"equivariance_error/{name}": each.relative for name, each in errors.items()},
    }


def shifts_of(places: slice, length: int) -> np.ndarray:
    """The shifts of the records at these positions: 1 to L - 1 in turn, (N,) int64."""
    return np.asarray(1 + np.arange(places.start, places.stop) % (length - 1))


def shifted(sequences: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Sequences (N, ..., L), each shifted cyclically to the right by its own shift (N,)."""
    length = sequences.shape[-1]
    source = (torch.arange(length, device=shifts.device) - shifts[:, None]) % length
    index = source.view(len(shifts), *(1,) * (sequences.ndim - 2), length)
    return sequences.gather(-1, index.expand_as(sequences))


CLIPPED = 99.5
"""Percentile of magnitudes at which the colours of each panel saturate."""


def write_first_layer(path: Path, weights: torch.Tensor, title: str) -> None:
    """Heat maps of (n, n) weights, rows outputs and columns inputs, as a PNG.

    Each panel has its own colour scale, because the circulant part of noisy weights would be
    invisible on the scale of the weights.
    """
    weights = weights.detach().cpu().double()
    share = circulant_share(weights)
    panels = {
        "weights": weights.numpy(),
        f"circulant part: {share:.1%} of the energy\n(noise: {1 / len(weights):.1%})": (
            circulant_part(weights).numpy()
        ),
    }
    figure, axes = new_figure(1, 4, (8.6, 4.4), title, width_ratios=[1, 0.05, 1, 0.05])
    for column, (name, values) in enumerate(panels.items()):
        axis = axes[0, 2 * column]
        end = max(float(np.percentile(np.abs(values), CLIPPED)), 1e-12)
        image = show(axis, values, cmap="RdBu_r", vmin=-end, vmax=end)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("input", fontsize=8)
        axis.set_ylabel("output", fontsize=8)
        axes[0, 2 * column + 1].remove()
        add_scale(figure, axes[0, 0].get_gridspec()[0, 2 * column + 1], image, "")
    save_figure(figure, path)


def measure(subject: Subject) -> Findings:
    """The metrics above; see `pipeline.methods.interface.Method`."""
    model = _model(subject)
    return Findings(labelling_metrics(model, subject.reader, subject.max_records, subject.batch))


def draw(subject: Subject) -> None:
    """pictures/first_layer.png."""
    model, run = _model(subject), subject.run
    folder = subject.run_dir / "pictures"
    folder.mkdir(exist_ok=True)
    title = f"First layer, {model.name}, step {run.step}"
    write_first_layer(folder / "first_layer.png", model.first.weight, title)


def _model(subject: Subject) -> SequenceLabeller:
    assert isinstance(subject.run.model, SequenceLabeller)
    return subject.run.model
