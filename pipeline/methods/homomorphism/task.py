"""The task of the homomorphism autoencoder: objective and evaluation for the trainer.

From x_0 alone, latents after each action are h_0 = E(x_0), h_i = rho(a_i) h_(i-1):

    loss/image   cross-entropy of D(h_i) and x_i, a sum over values, a mean over images i >= 0
    loss/latent  |E(x_i) - h_i|^2, a mean over numbers and i >= 1; weight `latent`

A record has x_0, a_1 and x_1. For a second step, a_2 is the action of the next pair of the global
batch, and x_2 is x_0 under both. Evaluation takes the first step alone.
"""

import torch
from torch import nn

from orbit.core.groups import make_group
from orbit.core.store.manifest import Manifest
from orbit.core.store.origin import Orbits
from pipeline.global_batch import gather_rows, rank_number
from pipeline.methods.homomorphism.model import HomomorphismModel
from pipeline.methods.homomorphism.settings import HomomorphismConfig
from pipeline.methods.interface import PlainTask
from pipeline.methods.latent_action.task import check_images
from pipeline.methods.latent_losses import PairLossEvaluation
from pipeline.models.latent_action import as_images, reconstruction_losses

TERMS = ("loss/total", "loss/image", "loss/latent")


def step_losses(
    model: HomomorphismModel,
    images: list[torch.Tensor],
    elements: list[torch.Tensor],
    weight: float,
) -> torch.Tensor:
    """Total and terms of each sequence, (3, N), of normalised images x_0 to x_n, n elements."""
    codes = model.encoder(torch.cat(images)).chunk(len(images))
    latents = [codes[0]]
    for g in elements:
        latents.append(model.act(latents[-1], g))
    raw, wanted = model.decoder(torch.cat(latents)), torch.cat(images)
    raw = raw.to(wanted.dtype)
    errors = reconstruction_losses(raw, as_images(raw, "logits"), wanted, "logits")
    image = errors.flatten(1).sum(1).view(len(images), -1).mean(0)
    pairs = zip(codes[1:], latents[1:], strict=True)
    latent = torch.stack([(a - b).to(wanted.dtype).square().flatten(1).mean(1) for a, b in pairs])
    latent = latent.mean(0)
    return torch.stack([image + weight * latent, image, latent])


class HomomorphismObjective(nn.Module):
    """The mean of `step_losses`."""

    def __init__(self, model: HomomorphismModel, config: HomomorphismConfig) -> None:
        super().__init__()
        self.model, self.num_steps, self.weight = model, config.num_steps, config.latent

    def forward(
        self,
        source: torch.Tensor,
        target: torch.Tensor,
        action: torch.Tensor,
        label: torch.Tensor,
        valid: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss and the vector of its terms."""
        model, group = self.model, self.model.group
        images = [model.normalise(source), model.normalise(target)]
        elements = [group.decode(action)]
        if self.num_steps == 2:
            of_all = gather_rows(action)
            own = torch.arange(len(action), device=action.device) + rank_number() * len(action)
            elements.append(group.decode(of_all[(own + 1) % len(of_all)]))
            both = group.compose(elements[1], elements[0])
            images.append(group.act_on_image(images[0], both))
        terms = step_losses(model, images, elements, self.weight).mean(1)
        return terms[0], terms.detach()


class HomomorphismTask(PlainTask):
    """See `pipeline.methods.interface.Task`."""

    term_names = TERMS
    selection_metric = "loss/total"

    def __init__(
        self, config: HomomorphismConfig, manifest: Manifest, device: torch.device
    ) -> None:
        origin = manifest.origin
        check_images(manifest, "homomorphism")
        if config.num_steps == 2 and not (isinstance(origin, Orbits) and origin.scene == "plain"):
            raise ValueError(
                f"task.num_steps=2 needs images that the group moves as a whole, and those of"
                f" {manifest.name} are not: set task.num_steps=1"
            )
        model = HomomorphismModel(config, manifest.frames, make_group(manifest.group))
        self.model = model.to(device)
        self.objective = HomomorphismObjective(self.model, config)
        self.mixes_batch = config.num_steps == 2
        self._weight = config.latent
        self._seen_bins = origin.train_bins if isinstance(origin, Orbits) else None

    def evaluation(self, model: nn.Module) -> PairLossEvaluation:
        assert isinstance(model, HomomorphismModel)

        def losses(x: torch.Tensor, wanted: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
            return step_losses(model, [x, wanted], [g], self._weight)

        return PairLossEvaluation(model, TERMS, losses, self._seen_bins)
