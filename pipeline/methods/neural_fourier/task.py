"""The neural Fourier transform: its model, and objective and evaluation for the trainer.

The latent of an autoencoder is moved by known representations of the group.

    z = E(x) = (z_k for each frequency k),    g z = (rho_k(g) z_k),    output = D(g z)

Each z_k is a matrix, of which rho_k(g) mixes the rows; its columns are the copies of the
representation (Koyama et al., "Neural Fourier Transform", with known irreps and a known g). With
frequencies 0 and 1 it is the model of Jin et al., "Learning Group Actions on Latent
Representations". What the group moves comes first in the latent: this is z_v, the rest z_i.

    loss/forward  = |D(g E(x)) - g x|^2          means over the values of frames on [0, 1]
    loss/backward = |D(g^-1 E(g x)) - x|^2
    loss/cycle    = |E(x) - E(D(E(x)))|^2        a sum over z; mean with the same of g x
    loss/align    = |g E(x) - E(g x)|^2          a mean over z

Representations multiply as elements do. So each view's turn by its own absolute pose to pose e and
on to that of the other is one by g, and poses need not be known.
"""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import nn

from orbit.core.groups import Group, Irrep, make_group
from orbit.core.groups.irreps import planar_matrix
from orbit.core.store.manifest import FrameSpec, Manifest
from orbit.core.store.origin import Orbits
from pipeline.methods.interface import PlainTask
from pipeline.methods.latent_action.task import PairLossEvaluation, check_images
from pipeline.methods.neural_fourier.settings import NeuralFourierConfig, StridedConfig
from pipeline.models.checkpointing import checkpoint_activations
from pipeline.models.latent_action import FixedMask, LatentActionModel, as_images
from pipeline.models.networks import as_channels_last, make_network
from pipeline.models.settings import FixedMaskConfig


class Representations(NamedTuple):
    """Those that the group moves, and those that it leaves alone."""

    moved: list[Irrep]
    still: list[Irrep]


def representations(group: Group, frequencies: tuple[int, ...] | None) -> Representations:
    """The representations of these frequencies, of a finite group all irreducible ones for None.

    Those of quarter turns are the representations of all angles, at four of them. ValueError if the
    group has no such representations, or if none of them moves.
    """
    if frequencies is None:
        if group.num_elements is None:
            raise ValueError(
                f"task.frequencies=null means all representations, and {group.name} has infinitely"
                " many: name some, such as [0,1,2]"
            )
        found = list(group.irreps(0))
    elif group.name == "c4":
        found = [_of_quarter_turns(frequency) for frequency in frequencies]
    elif group.num_elements is not None:
        raise ValueError(
            f"task.frequencies={list(frequencies)}: the representations of {group.name} have no"
            " frequencies; allowed: null, which takes all"
        )
    else:
        found = [irrep for frequency in frequencies for irrep in _of_frequency(group, frequency)]
    of = Representations([], [])
    for irrep in found:
        (of.still if _is_still(group, irrep) else of.moved).append(irrep)
    if not of.moved:
        raise ValueError(f"task.frequencies: no element of {group.name} moves any of these")
    return of


def _of_frequency(group: Group, frequency: int) -> tuple[Irrep, ...]:
    """Those that come with this frequency; of two angles, pairs whose sizes add up to it."""
    num_before = len(group.irreps(frequency - 1)) if frequency else 0
    return group.irreps(frequency)[num_before:]


def _of_quarter_turns(frequency: int) -> Irrep:
    def matrix(turns: torch.Tensor) -> torch.Tensor:
        return planar_matrix(1, ((frequency * turns) & 3) * (math.pi / 2))

    if frequency == 0:
        return Irrep("trivial", 1, lambda turns: torch.ones(len(turns), 1, 1, device=turns.device))
    return Irrep(f"frequency {frequency}", 2, matrix)


def _is_still(group: Group, irrep: Irrep) -> bool:
    if group.num_elements is None:
        return irrep.size == 1
    matrices = irrep.matrix(group.elements())
    return torch.allclose(matrices, torch.eye(irrep.size).expand_as(matrices), atol=1e-5)


class KnownAction(nn.Module):
    """Acts on latents (N, C, ...) of one cell by copies of representations, elements one each."""

    def __init__(self, of: Representations, num_copies: int) -> None:
        super().__init__()
        self.moved = of.moved
        self.sizes = [irrep.size * num_copies for irrep in of.moved]
        still = [irrep.size * num_copies for irrep in of.still]
        self.num_still = sum(still)
        self.block_sizes = (*self.sizes, *still)

    def forward(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        *parts, still = latent.flatten(1).split([*self.sizes, self.num_still], 1)
        turned = [
            (irrep.matrix(g).to(part.dtype) @ part.unflatten(1, (irrep.size, -1))).flatten(1)
            for irrep, part in zip(self.moved, parts, strict=True)
        ]
        return torch.cat([*turned, still], 1).view_as(latent)


class Affine(nn.Module):
    """scale x + shift."""

    def __init__(self, scale: float, shift: float = 0.0) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * x + self.shift


Coders = tuple[list[nn.Module], list[nn.Module]]
"""Layers of an encoder, frames (N, C, ...) on [0, 1] to vectors (N, size), and of a decoder, back
to values before a sigmoid."""


def around(encoder: nn.Module, decoder: nn.Module, shape: tuple[int, ...], size: int) -> Coders:
    """Linear layers between a network with latents of a shape and vectors of a size."""
    flat = math.prod(shape)
    first = [encoder, nn.Flatten(), nn.Linear(flat, size)]
    last = [nn.Linear(size, flat), nn.Unflatten(1, shape), nn.LayerNorm(list(shape))]
    return first, [*last, nn.LeakyReLU(0.2), decoder]


def strided(config: StridedConfig, frame_shape: tuple[int, ...], size: int) -> Coders:
    """Jin's network; frames of any size, of which each convolution halves the sides, rounded up."""
    num_spatial = len(frame_shape) - 1
    conv: Any = nn.Conv2d if num_spatial == 2 else nn.Conv3d
    back: Any = nn.ConvTranspose2d if num_spatial == 2 else nn.ConvTranspose3d
    sides = [frame_shape[1:]]
    for _ in config.channels:
        sides.append(tuple((side + 1) // 2 for side in sides[-1]))
    widths = (frame_shape[0], *config.channels)
    first: list[nn.Module] = []
    for num_input, num_output in pairwise(widths):
        first += [conv(num_input, num_output, 3, 2, 1), nn.ELU()]
    shape = (widths[-1], *sides[-1])
    flat, hidden = math.prod(shape), config.hidden
    first += [nn.Flatten(), nn.Linear(flat, hidden), nn.ELU(), nn.Linear(hidden, size)]
    last = [nn.Linear(size, hidden), nn.ELU(), nn.Linear(hidden, flat), nn.ELU()]
    last += [nn.Unflatten(1, shape)]
    for level in range(len(config.channels), 0, -1):
        missing = tuple(1 - side % 2 for side in sides[level - 1])
        last += [back(widths[level], widths[level - 1], 3, 2, 1, missing), nn.ELU()]
    return first, last[:-1]


class NeuralFourierModel(LatentActionModel):
    """See `pipeline.models.latent_action`: the mask is fixed, the latent one cell.

    ValueError if the layers do not divide the frame, or for frequencies that the group has not.
    """

    # Of kinds of this method's own, as those of packages are.
    action: Any
    action_settings: Any
    network: Any

    def __init__(self, config: NeuralFourierConfig, frames: FrameSpec, group: Group) -> None:
        nn.Module.__init__(self)  # the base class would make these parts from other settings
        self.group, self.frames, self.output_kind = group, frames, "tanh"
        known = representations(group, config.frequencies)
        self.action = KnownAction(known, config.num_copies)
        self.action_settings = config
        share = len(known.moved) / len(self.action.block_sizes)
        self.mask_settings, self.tau = FixedMaskConfig("fixed", share), 0.5
        self.mask = FixedMask(self.action.block_sizes, share)
        self.projector = None
        size, num_spatial = sum(self.action.block_sizes), len(frames.shape) - 1
        self.latent_shape = (size, *(1,) * num_spatial)
        if isinstance(config.model, StridedConfig):
            self.network = config.model
            first, last = strided(config.model, frames.shape, size)
        else:
            made = make_network(config.model, frames.shape)
            self.network = made.settings
            first, last = around(made.encoder, made.decoder, made.latent_shape, size)
        low, high = frames.loaded_range
        unit = Affine(1 / (high - low), -low / (high - low))
        self.encoder = nn.Sequential(unit, *first, nn.Unflatten(1, self.latent_shape))
        # The Tanh of half of a value is its sigmoid, on [-1, 1].
        self.decoder = nn.Sequential(nn.Flatten(), *last, Affine(0.5))
        if config.leak is not None:
            for layer in self.modules():
                if isinstance(layer, nn.LeakyReLU):
                    layer.negative_slope = config.leak
        if getattr(config.model, "activation_checkpointing", False):
            checkpoint_activations(self)
        if getattr(config.model, "memory_format", "contiguous") == "channels_last":
            as_channels_last(self, num_spatial)
        self._scale, self._shift = frames.loading()


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
