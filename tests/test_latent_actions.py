"""Protects how groups act on latents: a homomorphism where one is promised, never on z_i.

Whatever the action, the identity leaves latents as they are, blocks of channels are
variant together, and what cannot work is refused before training begins.
"""

import numpy as np
import pytest
import torch

from orbit.core.groups import make_group
from orbit.core.groups.irreps import antisymmetric_exponential
from orbit.core.store.manifest import FrameSpec
from pipeline.models.actions import LearnedAction, RepresentationAction, make_action
from pipeline.models.latent_action import LatentActionModel
from pipeline.models.settings import (
    AutoencoderConfig,
    LatentActionSettings,
    LearnedActionConfig,
    RepresentationActionConfig,
    SpatialActionConfig,
)

SPATIAL = SpatialActionConfig()
REPRESENTATION = RepresentationActionConfig("representation")
LEARNED = LearnedActionConfig("learned", block_size=4, hidden=16)

CASES = [
    ("c4", (1, 16, 16), None, SPATIAL),
    ("d4", (1, 16, 16), None, SPATIAL),
    ("so2", (1, 28, 28), None, SPATIAL),
    ("octahedral", (1, 8, 8, 8), None, SPATIAL),
    ("c4+wrap:16:4", (1, 16, 16), None, SPATIAL),
    ("c4", (1, 16, 16), 32, REPRESENTATION),
    ("d4", (1, 16, 16), 24, REPRESENTATION),
    ("so2", (1, 16, 16), 32, REPRESENTATION),
    ("octahedral", (1, 8, 8, 8), 40, REPRESENTATION),
    ("so3", (1, 8, 8, 8), 40, REPRESENTATION),
    ("so3", (3, 16, 16), 32, LEARNED),
    ("c4", (1, 16, 16), 24, LEARNED),
    ("so2+shift:16:2", (1, 16, 16), 16, LEARNED),
]


def make_model(
    group: str, shape: tuple[int, ...], vector_size: int | None, action: LatentActionSettings
) -> LatentActionModel:
    torch.manual_seed(0)
    frames = FrameSpec(shape, "uint8", (0.0, 255.0), (-1.0, 1.0))
    depth = 1 if group == "so2" and action is SPATIAL else 2
    config = AutoencoderConfig(width=16, depth=depth, vector_size=vector_size)
    return LatentActionModel(config, 0.5, frames, make_group(group), action)


def drawn(group: str, num: int, seed: int = 0) -> torch.Tensor:
    return make_group(group).sample(np.random.default_rng(seed), num)


@pytest.mark.parametrize(("group", "shape", "vector_size", "action"), CASES)
def test_the_invariant_part_is_left_alone(
    group: str, shape: tuple[int, ...], vector_size: int | None, action: LatentActionSettings
) -> None:
    model = make_model(group, shape, vector_size, action)
    parts = model.encode(torch.rand(6, *shape) * 2 - 1)
    moved = model.act(parts.variant, drawn(group, 6))
    assert moved.shape == parts.variant.shape
    is_variant = model.mask.is_variant()
    assert 0 < is_variant.sum() < len(is_variant)
    assert not moved[:, ~is_variant].any()
    assert not torch.allclose(moved, parts.variant)


@pytest.mark.parametrize(("group", "shape", "vector_size", "action"), CASES)
def test_the_identity_does_nothing(
    group: str, shape: tuple[int, ...], vector_size: int | None, action: LatentActionSettings
) -> None:
    model = make_model(group, shape, vector_size, action)
    latent = torch.randn(3, *model.latent_shape)
    torch.testing.assert_close(
        model.act(latent, make_group(group).identity(3)), latent, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("group", ["c4", "d4", "so2", "octahedral", "so3"])
def test_representations_compose_and_keep_lengths(group: str) -> None:
    acting = make_group(group)
    action = RepresentationAction(acting, 50, 3 if acting.num_elements is None else None)
    latent = torch.randn(40, 50, 2, 2)
    g, h = drawn(group, 40, 1), drawn(group, 40, 2)
    in_turn, at_once = action(action(latent, h), g), action(latent, acting.compose(g, h))
    torch.testing.assert_close(in_turn, at_once, atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(at_once.norm(dim=1), latent.norm(dim=1))
    assert sum(action.block_sizes) == 50
    assert torch.equal(at_once[:, 50 - action.num_over :], latent[:, 50 - action.num_over :])


def test_every_nontrivial_irrep_acts_in_every_copy() -> None:
    action = RepresentationAction(make_group("c4"), 12, None)
    assert action.block_sizes == (1, 1, 1, 1, 2, 2, 2, 2)
    moved = action(torch.ones(1, 12, 1, 1), torch.tensor([1]))[0, :, 0, 0]
    assert moved[:4].tolist() == [-1.0] * 4
    assert torch.equal(moved[4:].view(4, 2), moved[4:6].expand(4, 2))


def test_learned_matrices_are_orthogonal_and_have_gradients() -> None:
    action = LearnedAction(make_group("so3"), 24, block_size=6, hidden=16)
    matrices = action.matrices(drawn("so3", 10))
    assert matrices.shape == (10, 4, 6, 6)
    torch.testing.assert_close(
        matrices @ matrices.mT, torch.eye(6).expand(10, 4, 6, 6), atol=1e-5, rtol=0
    )
    action(torch.randn(10, 24, 1, 1), drawn("so3", 10)).square()[:, 3].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in action.network.parameters())


def test_channels_of_a_block_are_variant_together() -> None:
    model = make_model("so3", (3, 16, 16), 32, LEARNED)
    assert len(model.mask.logits) == 8
    assert (model.mask.is_variant().view(8, 4) == model.mask.is_variant().view(8, 4)[:, :1]).all()
    model.mask().sum().backward()
    soft = model.mask.logits.detach().sigmoid()
    torch.testing.assert_close(model.mask.logits.grad, 4 * soft * (1 - soft))


@pytest.mark.parametrize(
    ("group", "shape", "config", "action", "message"),
    [
        ("so2", (1, 16, 16), AutoencoderConfig(depth=1), SPATIAL, "14"),
        ("so3", (1, 16, 16, 16), AutoencoderConfig(depth=1), SPATIAL, "14"),
        ("so3", (3, 32, 32), AutoencoderConfig(depth=1), SPATIAL, "action on latent channels"),
        ("c4+wrap:16:1", (1, 16, 16), AutoencoderConfig(), SPATIAL, "STEP|step"),
        ("c4", (1, 16, 16), AutoencoderConfig(vector_size=8), SPATIAL, "one cell"),
        ("c4", (1, 16, 16), AutoencoderConfig(vector_size=2), REPRESENTATION, "need 3 latent"),
        ("c4", (1, 16, 16), AutoencoderConfig(vector_size=10), LEARNED, "does not divide 10"),
        (
            "c4+wrap:16:4",
            (1, 16, 16),
            AutoencoderConfig(vector_size=16),
            REPRESENTATION,
            "spatial|learned",
        ),
        ("c4", (1, 16, 16), AutoencoderConfig(), REPRESENTATION, "set task.model.vector_size"),
        ("c4", (1, 16, 16), AutoencoderConfig(), LEARNED, "moves no latent cell"),
        (
            "c4",
            (1, 16, 16),
            AutoencoderConfig(vector_size=8),
            RepresentationActionConfig("representation", 3),
            "max_frequency=3 has no effect",
        ),
    ],
)
def test_actions_that_cannot_work_are_refused(
    group: str,
    shape: tuple[int, ...],
    config: AutoencoderConfig,
    action: LatentActionSettings,
    message: str,
) -> None:
    frames = FrameSpec(shape, "uint8", (0.0, 255.0), (-1.0, 1.0))
    with pytest.raises(ValueError, match=message) as caught:
        LatentActionModel(config, 0.5, frames, make_group(group), action)
    assert "\n" not in str(caught.value)


def test_actions_are_made_for_the_latent() -> None:
    action = make_action(SPATIAL, make_group("c4"), (1, 8, 8), (5, 2, 2))
    latent = torch.randn(4, 5, 2, 2)
    turned = torch.stack([latent[k].rot90(k, (-2, -1)) for k in range(4)])
    assert torch.equal(action(latent, torch.arange(4)), turned)


def test_actions_are_scaled_before_they_reach_the_network() -> None:
    """Elements whose numbers are large move no more latent than those whose are small."""
    near, far = (make_group(f"so2+shift:16:{shift}") for shift in (0.5, 8))
    moves = []
    for group in (near, far):
        torch.manual_seed(0)
        action = LearnedAction(group, 12, block_size=4, hidden=16)
        g = group.sample(np.random.default_rng(0), 200)
        moves.append((action.matrices(g) - torch.eye(4)).norm(dim=(-2, -1)).mean().item())
    assert moves[1] == pytest.approx(moves[0], rel=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_exponential_is_the_library_s(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(50, 6, 6, dtype=torch.float64)
    skew = (x - x.mT).to(dtype) * torch.linspace(0, 3, 50, dtype=dtype)[:, None, None]
    tolerance = 1e-9 if dtype == torch.float64 else 2e-4
    found = antisymmetric_exponential(skew)
    torch.testing.assert_close(found, torch.matrix_exp(skew), atol=tolerance, rtol=0)


@pytest.mark.parametrize("decay", [0.9, 0.9999])
@pytest.mark.parametrize(("group", "shape", "vector_size", "action"), CASES)
def test_the_average_of_constant_weights_is_the_model(
    group: str,
    shape: tuple[int, ...],
    vector_size: int | None,
    action: LatentActionSettings,
    decay: float,
) -> None:
    """Averaging must leave a model's tables alone: they are no running statistics."""
    from pipeline.training.optimisation import make_average

    model = make_model(group, shape, vector_size, action)
    average = make_average(model, decay)
    for _ in range(30):
        average.update_parameters(model)
    for name, buffer in model.named_buffers():
        assert torch.equal(dict(average.module.named_buffers())[name], buffer), name
    images, g = torch.rand(3, *shape) * 2 - 1, drawn(group, 3)
    torch.testing.assert_close(average.module.transform(images, g), model.transform(images, g))
