"""A method: predict the next frame from the current one and the action, through a change of the
latent.

    z' = E(x) + T(E(x), a),    loss = |D(z') - x'|^2 + weight |z' - stop_gradient(E(x'))|^2

Its metric `change_error` is |D(z') - x'|^2 / |x - x'|^2: 1 is no better than copying x.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import nn

from mylab.thirds import ThirdsConfig
from orbit.api import (
    Batch,
    Findings,
    Manifest,
    Method,
    Metric,
    NetworkConfig,
    Open,
    PlainTask,
    Subject,
    make_network,
    save_figure,
)

TERMS = ("loss/total", "loss/image", "loss/latent")


@dataclass(frozen=True)
class ForwardModelConfig:
    """Any network, `hidden` units of T, and the weight of the latent term."""

    name: Literal["forward_model"]
    model: Annotated[NetworkConfig | ThirdsConfig, Open("networks")] = ThirdsConfig()
    hidden: int = 128
    weight: float = 0.1


class ForwardModel(nn.Module):
    """`forward` maps stored frames (N, C, H, W) and actions (N, A) to D(z') and z'."""

    def __init__(self, config: ForwardModelConfig, manifest: Manifest) -> None:
        super().__init__()
        network = make_network(config.model, manifest.frames.shape)
        self.encoder, self.decoder = network.encoder, network.decoder
        self._scale, self._shift = manifest.frames.loading()
        self.register_buffer("largest", torch.tensor([c.maximum for c in manifest.action]))
        size, hidden = torch.Size(network.latent_shape).numel(), config.hidden
        first = nn.Linear(size + len(manifest.action), hidden)
        self.transition = nn.Sequential(first, nn.SiLU(), nn.Linear(hidden, size))

    def load(self, frames: torch.Tensor) -> torch.Tensor:
        """Stored frames to [-1, 1]."""
        return frames.to(torch.float32) * self._scale + self._shift

    def forward(self, source: torch.Tensor, action: Any) -> tuple[torch.Tensor, torch.Tensor]:
        latent = self.encoder(self.load(source))
        change = self.transition(torch.cat([latent.flatten(1), action / self.largest], 1))
        latent = latent + change.view_as(latent)
        return self.decoder(latent).tanh(), latent

    def errors(self, source: torch.Tensor, target: torch.Tensor, action: Any) -> torch.Tensor:
        """Mean squares of D(z') - x', z' - E(x') and x - x' for each record, (3, N)."""
        predicted, latent = self(source, action)
        wanted = self.load(target)
        with torch.no_grad():
            after = self.encoder(wanted)
        differences = (predicted - wanted, latent - after, self.load(source) - wanted)
        return torch.stack([each.square().flatten(1).mean(1) for each in differences])


class ForwardObjective(nn.Module):
    def __init__(self, model: ForwardModel, weight: float) -> None:
        super().__init__()
        self.model, self.weight = model, weight

    def forward(self, source: Any, target: Any, action: Any, label: Any, valid: Any) -> Any:
        image, latent, _ = self.model.errors(source, target, action).mean(1)
        total = image + self.weight * latent
        return total, torch.stack([total, image, latent]).detach()


class ForwardEvaluation:
    """Sums of the three errors and of the records of a split: see `orbit.api.Evaluation`."""

    def __init__(self, model: ForwardModel, weight: float) -> None:
        self.model, self.weight = model, weight
        self._sums = torch.zeros(4, dtype=torch.float64, device=model.largest.device)

    @torch.no_grad()
    def update(self, batch: Batch) -> None:
        errors = self.model.errors(batch.source, batch.target, batch.action).double()
        self._sums += torch.cat([errors, torch.ones_like(errors[:1])]) @ batch.valid.double()

    def sums(self) -> torch.Tensor:
        return self._sums

    def metrics(self, sums: torch.Tensor) -> dict[str, float]:
        image, latent, change, num = sums.tolist()
        losses = ((image + self.weight * latent) / num, image / num, latent / num)
        return dict(zip(TERMS, losses, strict=True)) | {"change_error": image / max(change, 1e-12)}


class ForwardTask(PlainTask):
    term_names, mixes_batch, selection_metric = TERMS, False, "loss/total"

    def __init__(self, config: ForwardModelConfig, manifest: Manifest, device: Any) -> None:
        self.model = ForwardModel(config, manifest).to(device)
        self.objective, self._weight = ForwardObjective(self.model, config.weight), config.weight

    def evaluation(self, model: Any) -> ForwardEvaluation:
        return ForwardEvaluation(model, self._weight)


def _measure(subject: Subject) -> Findings:
    return Findings({})  # no metrics beyond those of validation


@torch.no_grad()
def _draw(subject: Subject) -> None:
    """predictions.png: x, x', and the model's prediction from x."""
    import matplotlib.pyplot as plt

    read = subject.reader.read(np.arange(min(6, subject.reader.num_records)))
    model: Any = subject.run.model
    source, target, action = (
        torch.from_numpy(each).to(model.largest.device)
        for each in (read.source, read.target, read.action)
    )
    rows = {"x": model.load(source), "x'": model.load(target), "D(z')": model(source, action)[0]}
    figure, axes = plt.subplots(3, len(source), squeeze=False, figsize=(1.5 * len(source), 4.8))
    for line, (name, frames) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name)
        for axis, frame in zip(line, frames.cpu(), strict=True):
            axis.imshow(frame[0], cmap="gray", vmin=-1, vmax=1)
            axis.set(xticks=[], yticks=[])
    save_figure(figure, subject.run_dir / "predictions.png")


MEANING = "Squared error over that of predicting no change: 1 is as good as copying."
METHOD = Method(
    "forward_model",
    ForwardModelConfig,
    ForwardTask,
    _measure,
    _draw,
    describe=lambda run, manifest: {"forward model": "predicts x' from x and a; knows no group"},
    metrics=(Metric("change_error", MEANING, "lower", is_headline=True),),
)
