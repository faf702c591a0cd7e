"""Protects activation checkpointing: the same bits for less memory, and statistics counted once."""

import copy
from pathlib import Path

import pytest
import torch
from helpers.ranks import run_on_ranks
from helpers.world_models import seen, world_model
from torch import nn

from orbit.core.groups import make_group
from orbit.core.store.manifest import FrameSpec
from pipeline.global_batch import GlobalBatchNorm
from pipeline.methods.latent_action.objective import LatentActionObjective
from pipeline.methods.latent_action.settings import LossWeights
from pipeline.models.checkpointing import (
    CheckpointedSequential,
    checkpoint_activations,
    segments,
)
from pipeline.models.latent_action import LatentActionModel
from pipeline.models.settings import AutoencoderConfig, ContextConfig, NetworkConfig, ResidualConfig

pytestmark = pytest.mark.usefixtures("starts_are_warm")

NETWORKS: dict[str, tuple[NetworkConfig, tuple[int, ...]]] = {
    "conv": (AutoencoderConfig(width=8), (3, 16, 16)),
    "context": (ContextConfig("context", width=8, context_channels=8), (1, 16, 16)),
    "residual": (ResidualConfig("residual", width=8, depth=3, latent_channels=8), (3, 32, 32)),
    "residual, volumes": (ResidualConfig("residual", width=8, latent_channels=8), (1, 16, 16, 16)),
    "residual, vector": (ResidualConfig("residual", width=8, vector_size=8), (1, 16, 16)),
}
WORLDS = {
    "grid": ("experiment=shapes_2d", "task.model.view=pixels"),
    "symmetric grid": (
        *("experiment=shapes_2d", "task.model.kind=full", "task.model.view=pixels"),
        "task.model.channels=4",
    ),
    "reacher": (
        *("experiment=reacher", "task.model.kind=full"),
        *("task.model.hidden=4", "task.model.dilations=[2,4]"),
    ),
    "teapot": ("experiment=teapot", "task.model.channels=[4,8]"),
}


def gradients(model: nn.Module, loss: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


def assert_same(one: list[torch.Tensor], other: list[torch.Tensor]) -> None:
    assert len(one) == len(other) > 1
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def saved_bytes(work: object) -> int:
    """What autograd keeps of a forward pass."""
    sizes: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        kept = work()  # type: ignore[operator]
    del kept
    return sum(sizes.values())


@pytest.mark.parametrize(
    ("name", "autocast"), [*((name, False) for name in NETWORKS), ("residual", True)]
)
def test_networks_have_the_same_gradients(name: str, autocast: bool) -> None:
    config, shape = NETWORKS[name]
    torch.manual_seed(0)
    group = make_group("c4")
    spec = FrameSpec(shape, "uint8", (0.0, 255.0), (-1.0, 1.0))
    vector = config.vector_size is not None
    action = {"action": experiment_action()} if vector else {}
    plain = LatentActionModel(config, 0.5, spec, group, **action)  # type: ignore[arg-type]
    other = copy.deepcopy(plain)
    checkpoint_activations(other)
    assert any(isinstance(part, CheckpointedSequential) for part in other.modules())
    assert list(other.state_dict()) == list(plain.state_dict())
    frames = torch.randint(0, 256, (2, 3, *shape), dtype=torch.uint8)
    g = group.encode(torch.tensor([1, 2, 3]))

    def loss(model: LatentActionModel) -> torch.Tensor:
        objective = LatentActionObjective(model, LossWeights(), "relative")
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return objective(frames[0], frames[1], g, g, g)[0]

    assert_same(gradients(plain, loss(plain)), gradients(other, loss(other)))
    # Two layers in a row have nothing between them to be computed again.
    share = 0.5 if isinstance(config, ResidualConfig) else 1.0
    assert saved_bytes(lambda: loss(other)) < share * saved_bytes(lambda: loss(plain))
    plain.eval()
    other.eval()
    images = plain.normalise(frames[0])
    assert torch.equal(
        plain.transform(images, torch.arange(3)), other.transform(images, torch.arange(3))
    )


def experiment_action() -> object:
    from pipeline.models.settings import RepresentationActionConfig

    return RepresentationActionConfig("representation")


@pytest.mark.parametrize("name", WORLDS)
def test_world_models_have_the_same_gradients_and_count_their_statistics_once(name: str) -> None:
    plain = world_model(*WORLDS[name])
    other = copy.deepcopy(plain)
    checkpoint_activations(other)
    assert any(isinstance(part, CheckpointedSequential) for part in other.modules())
    for num in (2, 3):
        losses = [
            model.encode(model.embed(seen(model, num))).square().sum() for model in (plain, other)
        ]
        assert_same(gradients(plain, losses[0]), gradients(other, losses[1]))
    assert_same(list(plain.buffers()), list(other.buffers()))
    norm = next(part for part in other.modules() if isinstance(part, GlobalBatchNorm))
    assert norm.num_batches_tracked == 2
    assert not torch.equal(norm.running_mean, torch.zeros_like(norm.running_mean))


def norms_on_ranks(rank: int, num_ranks: int) -> list[list[torch.Tensor]]:
    """Gradients and statistics of this rank's rows, without and with checkpoints."""
    torch.manual_seed(0)
    plain = nn.ModuleDict(
        {
            "layers": nn.Sequential(
                nn.Conv2d(1, 4, 3), GlobalBatchNorm(4), nn.Conv2d(4, 2, 3), nn.ReLU()
            )
        }
    )
    other = copy.deepcopy(plain)
    checkpoint_activations(other)
    assert isinstance(other["layers"], CheckpointedSequential)
    rows = torch.randn(num_ranks, 3, 1, 8, 8)[rank]
    return [
        [*gradients(model, model["layers"](rows).square().sum()), *model.buffers()]
        for model in (plain, other)
    ]


def test_statistics_of_the_global_batch_are_exchanged_again(tmp_path: Path) -> None:
    for plain, other in run_on_ranks("test_checkpointing", "norms_on_ranks", tmp_path):
        assert_same(plain, other)


def test_a_compiler_counts_statistics_once_too() -> None:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 4, 3), GlobalBatchNorm(4), nn.Conv2d(4, 2, 3))
    plain, other = nn.Sequential(*layers), CheckpointedSequential(*copy.deepcopy(layers))
    torch.compiler.reset()
    compiled = torch.compile(other, backend="aot_eager")
    frames = torch.randn(3, 1, 8, 8)
    found = gradients(plain, plain(frames).square().sum())
    for one, same in zip(found, gradients(other, compiled(frames).square().sum()), strict=True):
        torch.testing.assert_close(same, one)
    assert_same(list(plain.buffers()), list(other.buffers()))


def test_what_is_kept_is_small() -> None:
    """Cuts come after a halving and before a doubling; a part has a convolution or two."""
    conv, down, up, act = (
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 4, 2),
        nn.ConvTranspose2d(4, 4, 4, 2),
        nn.ReLU(),
    )
    for layers, parts in (
        ([conv, down, conv, act, down, conv], [(0, 2), (2, 5), (5, 6)]),
        ([conv, up, conv, up, act, conv, conv], [(0, 1), (1, 3), (3, 6), (6, 7)]),
        ([down, act, down, act], [(0, 2), (2, 4)]),
        ([act, up, act, up], [(0, 3), (3, 4)]),
        ([act], [(0, 1)]),
        ([], []),
    ):
        assert list(segments(layers)) == parts
