"""World models of a composed configuration, without a dataset."""

import torch

from orbit.core.config.compose import compose
from orbit.core.config.schema import build
from orbit.core.groups import make_group
from orbit.core.groups.interface import ActionComponent
from orbit.core.store.manifest import FrameSpec
from pipeline.methods.world_model.settings import WorldModelConfig
from pipeline.training.settings import TrainConfig
from pipeline.world_models.grid.symmetric import make_grid_model
from pipeline.world_models.homeomorphic_vae import HomeomorphicVAE
from pipeline.world_models.reacher import make_reacher_model
from pipeline.world_models.settings import (
    GridModelConfig,
    HomeomorphicVAEConfig,
    ReacherModelConfig,
)
from pipeline.world_models.teapot import make_teapot_model
from pipeline.world_models.world_model import WorldModel

MOVES = (
    ActionComponent("object", "which", "number", 0.0, 4.0),
    ActionComponent("direction", "where to", "number", 0.0, 3.0),
)
TORQUES = tuple(ActionComponent(f"torque_{joint}", "", "1", -1.0, 1.0) for joint in "01")


def frames(num_channels: int, side: int) -> FrameSpec:
    return FrameSpec((num_channels, side, side), "uint8", (0.0, 255.0), (0.0, 1.0))


def kind_words(name: str) -> tuple[str, ...]:
    """The words of WORLD/KIND: a kind, `none_matched` with as many numbers as `ours`, `masked`."""
    world, _, kind = name.partition("/")
    if kind == "masked":
        return f"experiment={world}", "control=masked_latent"
    size = f"task.model.latent_size={32 if world == 'reacher' else 8}"
    matched = (size,) if kind == "none_matched" else ()
    return f"experiment={world}", f"task.model.kind={kind.removesuffix('_matched')}", *matched


def world_model(*words: str, seed: int = 0) -> WorldModel:
    """The model that words choose, on frames of the paper's size, its weights drawn by a seed."""
    given = ["data=-", "run_dir=-", *words]
    config = build(TrainConfig, compose("train", given, frozenset({"data", "run_dir"})))
    assert isinstance(config.task, WorldModelConfig)
    model = config.task.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(model, GridModelConfig):
            return make_grid_model(model, make_group("c4"), frames(3, 50), MOVES)
        if isinstance(model, ReacherModelConfig):
            return make_reacher_model(model, make_group("d4"), frames(6, 129), TORQUES)
        if isinstance(model, HomeomorphicVAEConfig):
            return HomeomorphicVAE(model, make_group("so3"), frames(1, 64))
        return make_teapot_model(model, make_group("so3"), frames(1, 64))


def seen(model: WorldModel, num: int) -> torch.Tensor:
    """Normalised frames of noise that a model takes, (num, C, H, W)."""
    generator = torch.Generator().manual_seed(num)
    return torch.rand(num, *model.frames.shape, generator=generator)
