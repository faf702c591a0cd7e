"""The homomorphism autoencoder: its model, and objective and evaluation for the trainer.

The latent of an autoencoder is moved by matrices that are learned from action vectors.

    z = E(x) = (z_1, ..., z_K, z_i),    rho(a) z = (exp(A_1(a)) z_1, ..., exp(A_K(a)) z_K, z_i)

Each A_k is a network from action vectors to matrices; nothing makes rho(a) orthogonal, or rho of a
product the product (Keurti et al., "Homomorphism Autoencoder", with blocks and exponentials).

From x_0 alone, latents after each action are h_0 = E(x_0), h_i = rho(a_i) h_(i-1):

    loss/image   cross-entropy of D(h_i) and x_i, a sum over values, a mean over images i >= 0
    loss/latent  |E(x_i) - h_i|^2, a mean over numbers and i >= 1; weight `latent`

A record has x_0, a_1 and x_1. For a second step, a_2 is the action of the next pair of the global
batch, and x_2 is x_0 under both. Evaluation takes the first step alone.
"""

from typing import Any

import torch
from torch import nn

from orbit.core.groups import Group, make_group
from orbit.core.store.manifest import FrameSpec, Manifest
from orbit.core.store.origin import Orbits
from pipeline.global_batch import gather_rows, rank_number
from pipeline.methods.homomorphism.settings import HomomorphismConfig
from pipeline.methods.interface import PlainTask
from pipeline.methods.latent_action.task import PairLossEvaluation, check_images
from pipeline.models.checkpointing import checkpoint_activations
from pipeline.models.latent_action import (
    FixedMask,
    LatentActionModel,
    as_images,
    reconstruction_losses,
)
from pipeline.models.networks import as_channels_last, make_network
from pipeline.models.settings import FixedMaskConfig


class PerBlock(nn.Module):
    """One linear layer for each of K blocks: (K, N, num_input) to (K, N, num_output), as
    `nn.Linear` would start each of them."""

    def __init__(self, num_blocks: int, num_input: int, num_output: int) -> None:
        super().__init__()
        layers = [nn.Linear(num_input, num_output) for _ in range(num_blocks)]
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(self.bias[:, None], x, self.weight.mT)


class PerBlockNorm(nn.Module):
    """One layer norm for each of K blocks, of (K, N, size)."""

    def __init__(self, num_blocks: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_blocks, 1, size))
        self.bias = nn.Parameter(torch.zeros(num_blocks, 1, size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.layer_norm(x, x.shape[-1:]) * self.weight + self.bias


class HomomorphismAction(nn.Module):
    """Acts on latents (N, C, 1, ...) by rho(a), elements one each."""

    def __init__(self, group: Group, config: HomomorphismConfig, num_channels: int) -> None:
        super().__init__()
        self.group, self.block_size = group, config.block_size
        self.num_blocks, hidden = config.num_blocks, config.hidden
        num_moved = self.num_blocks * self.block_size
        self.num_still = num_channels - num_moved
        still = (self.num_still,) if self.num_still else ()
        self.block_sizes = (*(self.block_size,) * self.num_blocks, *still)
        layers: list[nn.Module] = []
        num_input = len(group.action_components)
        for _ in range(2):
            layers += [
                PerBlock(self.num_blocks, num_input, hidden),
                PerBlockNorm(self.num_blocks, hidden),
                nn.ReLU(),
            ]
            num_input = hidden
        self.hidden = nn.Sequential(*layers)
        self.last = PerBlock(self.num_blocks, hidden, config.block_size**2)

    def matrices(self, g: torch.Tensor) -> torch.Tensor:
        """exp(A_k) of elements, (N, K, block_size, block_size) float32."""
        vectors = self.group.encode(g).to(self.last.weight)
        found = self.last(self.hidden(vectors.expand(self.num_blocks, -1, -1)))  # (K, N, b^2)
        found = found.to(torch.promote_types(found.dtype, torch.float32)).transpose(0, 1)
        size = (self.block_size, self.block_size)
        return torch.matrix_exp(found.contiguous().unflatten(2, size))

    def forward(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        num_moved = self.num_blocks * self.block_size
        moved, still = latent.flatten(1).split([num_moved, self.num_still], 1)
        blocks = moved.unflatten(1, (self.num_blocks, self.block_size, 1))
        turned = (self.matrices(g).to(latent.dtype) @ blocks).flatten(1)
        return torch.cat([turned, still], 1).view_as(latent)


class HomomorphismModel(LatentActionModel):
    """See `pipeline.models.latent_action`: the mask is fixed, the latent one cell; outputs are
    probabilities. ValueError if the layers do not divide the frame."""

    # Of kinds of this method's own, as those of packages are.
    action: Any
    action_settings: Any

    def __init__(self, config: HomomorphismConfig, frames: FrameSpec, group: Group) -> None:
        nn.Module.__init__(self)  # the base class would make these parts from other settings
        self.group, self.frames, self.output_kind = group, frames, "logits"
        network = make_network(config.model, frames.shape)
        self.network, self.latent_shape = network.settings, network.latent_shape
        self.encoder, self.decoder = network.encoder, network.decoder
        self.action = HomomorphismAction(group, config, self.latent_shape[0])
        self.action_settings, self.projector, self.tau = config, None, 0.5
        share = config.num_blocks / len(self.action.block_sizes)
        self.mask_settings = FixedMaskConfig("fixed", share)
        self.mask = FixedMask(self.action.block_sizes, share)
        if getattr(config.model, "activation_checkpointing", False):
            checkpoint_activations(self)
        if getattr(config.model, "memory_format", "contiguous") == "channels_last":
            as_channels_last(self, len(frames.shape) - 1)
        self._scale, self._shift = frames.loading()


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
