"""The exported programs of a latent action model: transform, and its two halves."""

import copy

import numpy as np
import torch
from torch import nn

from pipeline.models.latent_action import LatentActionModel, LatentParts
from pipeline.programs import (
    SEED,
    Program,
    TensorSpec,
    check_batch,
    check_element,
    example_frames,
    uniform,
)


class Transform(nn.Module):
    """Stored frames and action vectors to images on [0, 1]."""

    def __init__(self, model: LatentActionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor]:
        check_batch(frames)
        check_element(self.model.group, action)
        g = self.model.group.decode(action)
        moved = self.model.transform(self.model.normalise(frames), g)
        return (self.model.to_unit_range(moved),)


class Encode(nn.Module):
    """Stored frames to the two parts of their latents."""

    def __init__(self, model: LatentActionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        check_batch(frames)
        parts = self.model.encode(self.model.normalise(frames))
        return parts.variant, parts.invariant


class Decode(nn.Module):
    """Latent parts and action vectors to images on [0, 1]: act on the variant part, then decode."""

    def __init__(self, model: LatentActionModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, variant: torch.Tensor, invariant: torch.Tensor, action: torch.Tensor
    ) -> tuple[torch.Tensor]:
        check_batch(variant)
        check_element(self.model.group, action)
        moved = self.model.act(variant, self.model.group.decode(action))
        images = self.model.decode(LatentParts(moved, invariant))
        return (self.model.to_unit_range(images),)


def latent_action_programs(model: LatentActionModel) -> list[Program]:
    """The programs `transform`, `encode` and `decode` of a model."""
    spec = model.frames
    low, high = spec.stored_range
    frames = TensorSpec(
        "frames", spec.dtype, spec.shape, f"images as stored: {low:g} is black, {high:g} white"
    )
    action = TensorSpec(
        "action",
        "float32",
        (len(model.group.action_components),),
        f"action vectors of {model.group.name}; see group.components and group.elements",
    )
    images = TensorSpec("images", "float32", spec.shape, "0 is black, 1 white")
    variant, invariant = (
        TensorSpec(name, "float32", model.latent_shape, meaning)
        for name, meaning in (
            ("variant", "the part of the latent on which the group acts"),
            ("invariant", "the part that it leaves alone"),
        )
    )

    def make_latents(num: int) -> tuple[torch.Tensor, ...]:
        shape = (num, *model.latent_shape)
        return uniform(shape, 2), uniform(shape, 3), _actions(model, num)

    return [
        Program(
            "transform",
            "g x: encode, act on the variant part, decode",
            Transform(model),
            (frames, action),
            (images,),
            lambda num: (example_frames(spec, num), _actions(model, num)),
        ),
        Program(
            "encode",
            "the two parts of the latent of x",
            Encode(without(model, "decoder")),
            (frames,),
            (variant, invariant),
            lambda num: (example_frames(spec, num),),
        ),
        Program(
            "decode",
            "act on the variant part, then decode",
            Decode(without(model, "encoder")),
            (variant, invariant, action),
            (images,),
            make_latents,
        ),
    ]


def without(model: LatentActionModel, part: str) -> LatentActionModel:
    """The same model with shared weights but without one part, which is then not exported."""
    trimmed = copy.copy(model)
    # A shallow copy shares the table of submodules, so it is replaced here and not changed.
    trimmed._modules = {name: each for name, each in model._modules.items() if name != part}
    return trimmed


def _actions(model: LatentActionModel, num: int) -> torch.Tensor:
    group = model.group
    return group.encode(group.sample(np.random.default_rng([SEED, 1]), num))
