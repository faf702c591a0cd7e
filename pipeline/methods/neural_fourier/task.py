"""The task of the neural Fourier transform: objective and evaluation for the trainer.

    loss/forward  = |D(g E(x)) - g x|^2          means over the values of frames on [0, 1]
    loss/backward = |D(g^-1 E(g x)) - x|^2
    loss/cycle    = |E(x) - E(D(E(x)))|^2        a sum over z; mean with the same of g x
    loss/align    = |g E(x) - E(g x)|^2          a mean over z

Representations multiply as elements do. So each view's turn by its own absolute pose to pose e and
on to that of the other is one by g, and poses need not be known.
"""

from collections.abc import Mapping

import torch
from torch import nn

from orbit.core.groups import make_group
from orbit.core.store.manifest import Manifest
from orbit.core.store.origin import Orbits
from pipeline.methods.interface import PlainTask
from pipeline.methods.latent_action.task import check_images
from pipeline.methods.latent_losses import PairLossEvaluation
from pipeline.methods.neural_fourier.model import NeuralFourierModel
from pipeline.methods.neural_fourier.settings import NeuralFourierConfig
from pipeline.models.latent_action import as_images


def weights_of(config: NeuralFourierConfig) -> dict[str, float]:
    """The weights of the terms of the loss, by name."""
    weights = {"loss/cycle": config.cycle, "loss/align": config.align}
    used = {name: weight for name, weight in weights.items() if weight > 0}
    return {"loss/forward": 1.0, "loss/backward": 1.0, **used}


def pair_losses(
    model: NeuralFourierModel,
    images: torch.Tensor,
    wanted: torch.Tensor,
    g: torch.Tensor,
    weights: Mapping[str, float],
) -> torch.Tensor:
    """Total and terms of each pair of normalised images x and g x, (1 + number of weights, N)."""
    both = torch.cat([images, wanted])
    latents = model.encoder(both)
    source, target = latents.chunk(2)
    moved = torch.cat([model.act(source, g), model.act(target, model.group.inverse(g))])
    outputs = as_images(model.decoder(moved).to(both.dtype), "tanh")
    errors = model.to_unit_range(outputs) - model.to_unit_range(torch.cat([wanted, images]))
    terms = [*errors.square().flatten(1).mean(1).chunk(2)]
    if "loss/cycle" in weights:
        again = model.encoder(as_images(model.decoder(latents).to(both.dtype), "tanh"))
        changes = (latents - again).to(both.dtype).square().flatten(1).sum(1)
        terms.append(changes.view(2, -1).mean(0))
    if "loss/align" in weights:
        terms.append((moved[: len(g)] - target).to(both.dtype).square().flatten(1).mean(1))
    total = sum(weight * term for weight, term in zip(weights.values(), terms, strict=True))
    return torch.stack([torch.as_tensor(total), *terms])


class NeuralFourierObjective(nn.Module):
    """The mean of `pair_losses`."""

    def __init__(self, model: NeuralFourierModel, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.model, self.weights = model, weights

    def forward(
        self,
        source: torch.Tensor,
        target: torch.Tensor,
        action: torch.Tensor,
        label: torch.Tensor,
        valid: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss and the vector of its terms."""
        model = self.model
        images, wanted = model.normalise(source), model.normalise(target)
        losses = pair_losses(model, images, wanted, model.group.decode(action), self.weights)
        terms = losses.mean(1)
        return terms[0], terms.detach()


class NeuralFourierTask(PlainTask):
    """See `pipeline.methods.interface.Task`."""

    mixes_batch = False
    selection_metric = "loss/total"

    def __init__(
        self, config: NeuralFourierConfig, manifest: Manifest, device: torch.device
    ) -> None:
        check_images(manifest, "neural_fourier")
        model = NeuralFourierModel(config, manifest.frames, make_group(manifest.group))
        self.model = model.to(device)
        origin, self._weights = manifest.origin, weights_of(config)
        self.term_names = ("loss/total", *self._weights)
        self.objective = NeuralFourierObjective(self.model, self._weights)
        self._seen_bins = origin.train_bins if isinstance(origin, Orbits) else None

    def evaluation(self, model: nn.Module) -> PairLossEvaluation:
        assert isinstance(model, NeuralFourierModel)

        def losses(x: torch.Tensor, wanted: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
            return pair_losses(model, x, wanted, g, self._weights)

        return PairLossEvaluation(model, self.term_names, losses, self._seen_bins)
