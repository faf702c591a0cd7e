"""The exported programs of a world model: from frames to latents, and from latents to the next."""

from collections.abc import Sequence

import torch
from torch import nn

from orbit.core.actions import ActionComponent
from pipeline.programs import (
    Program,
    TensorSpec,
    check_batch,
    check_range,
    example_actions,
    example_frames,
    uniform,
)
from pipeline.world_models.world_model import WorldModel


class Encode(nn.Module):
    """Stored frames to latents, z = E(S(x))."""

    def __init__(self, model: WorldModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor]:
        check_batch(frames)
        return (self.model.latent(frames),)


class Predict(nn.Module):
    """Latents and action vectors to the next latents, T(z, a)."""

    def __init__(self, transition: nn.Module, components: Sequence[ActionComponent]) -> None:
        super().__init__()
        self.transition, self.components = transition, tuple(components)

    def forward(self, latent: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor]:
        check_batch(latent)
        check_range(self.components, action)
        return (self.transition(latent, action),)


@torch.no_grad()
def world_model_programs(model: WorldModel, components: Sequence[ActionComponent]) -> list[Program]:
    """The programs `encode` and `predict` of a model whose actions have these components."""
    spec = model.frames
    low, high = spec.stored_range
    frames = TensorSpec(
        "frames", spec.dtype, spec.shape, f"images as stored: {low:g} is black, {high:g} white"
    )
    names = ", ".join(component.name for component in components)
    action = TensorSpec("action", "float32", (len(components),), f"{names}; see action")
    shape = tuple(model.latent(example_frames(spec, 1)).shape[1:])
    latent, following = (
        TensorSpec(name, "float32", shape, meaning)
        for name, meaning in (
            ("latent", "z = E(S(x)) of a frame"),
            ("following", "z after the action: comparable with the latent of the next frame"),
        )
    )
    return [
        Program(
            "encode",
            "the latent of x",
            Encode(model),
            (frames,),
            (latent,),
            lambda num: (example_frames(spec, num),),
        ),
        Program(
            "predict",
            "the latent after an action; again and again for several",
            Predict(model.transition, components),
            (latent, action),
            (following,),
            lambda num: (uniform((num, *shape), 2), example_actions(components, num)),
        ),
    ]
