"""The model and losses are the paper's: sizes, mask, action on one part only, stop-gradients."""

import pytest
import torch
from torch.nn.functional import mse_loss

from orbit.core.groups import C4
from orbit.core.store.manifest import FrameSpec
from pipeline.arithmetic import prepare_compiler
from pipeline.methods.latent_action.objective import (
    TERM_NAMES,
    LatentActionObjective,
    latent_losses,
    run_pairs,
)
from pipeline.methods.latent_action.settings import LatentLosses, LossWeights
from pipeline.models.latent_action import AdaptiveMask, LatentActionModel, LatentParts
from pipeline.models.settings import AutoencoderConfig

MNIST = FrameSpec((1, 28, 28), "uint8", (0.0, 255.0), (-1.0, 1.0))
VOLUME = FrameSpec((1, 8, 8, 8), "float16", (0.0, 1.0), (-1.0, 1.0))


def make_model(frames: FrameSpec = MNIST, width: int = 32) -> LatentActionModel:
    torch.manual_seed(0)
    return LatentActionModel(AutoencoderConfig(width=width), 0.5, frames, C4())


def random_pairs(model: LatentActionModel, num: int = 8) -> tuple[torch.Tensor, ...]:
    source = torch.randint(0, 256, (num, *model.frames.shape), dtype=torch.uint8)
    g = torch.randint(0, 4, (num,))
    return source, model.group.act_on_image(source, g), model.group.encode(g)


def test_mnist_model_has_the_paper_s_size() -> None:
    model = make_model()
    assert model.latent_shape == (64, 7, 7)
    assert sum(parameter.numel() for parameter in model.parameters()) == 66_753


def test_volumes_use_the_same_plan() -> None:
    model = make_model(VOLUME, width=4)
    images = torch.rand(2, 1, 8, 8, 8) * 2 - 1
    assert model.latent_shape == (8, 2, 2, 2)
    assert model.encode(images).variant.shape == (2, 8, 2, 2, 2)
    assert model.transform(images, torch.tensor([1, 3])).shape == images.shape


def test_stored_range_is_mapped_to_loaded_range() -> None:
    model = make_model()
    ends = model.normalise(torch.tensor([0, 255], dtype=torch.uint8))
    assert ends.tolist() == [-1.0, 1.0]
    assert torch.equal(model.to_unit_range(ends), torch.tensor([0.0, 1.0]))


def test_mask_is_binary_forward_and_sigmoid_backward() -> None:
    mask = AdaptiveMask([1] * 64, tau=0.5)
    values = mask()
    assert set(values.tolist()) == {0.0, 1.0}
    assert torch.equal(values.bool(), mask.logits > 0)
    values.sum().backward()
    soft = mask.logits.detach().sigmoid()
    torch.testing.assert_close(mask.logits.grad, soft * (1 - soft))


def test_threshold_moves_the_border() -> None:
    low, high = AdaptiveMask([1] * 64, 0.3), AdaptiveMask([1] * 64, 0.7)
    assert low().min() == 1
    assert high().max() == 0


def test_parts_have_disjoint_support_and_sum_to_the_latent() -> None:
    model = make_model()
    images = torch.rand(3, 1, 28, 28) * 2 - 1
    parts = model.encode(images)
    assert not (parts.variant.abs() * parts.invariant.abs()).any()
    torch.testing.assert_close(parts.variant + parts.invariant, model.encoder(images))


def test_the_group_acts_on_the_variant_part_alone() -> None:
    model = make_model()
    images, g = torch.rand(4, 1, 28, 28) * 2 - 1, torch.arange(4)
    parts = model.encode(images)
    expected = torch.stack(
        [
            model.decode(LatentParts(v[None].rot90(int(k), (-2, -1)), i[None]))[0]
            for v, i, k in zip(parts.variant, parts.invariant, g, strict=True)
        ]
    )
    torch.testing.assert_close(model.transform(images, g), expected)


def test_losses_follow_the_formulas() -> None:
    model = make_model()
    source, target, action = random_pairs(model)
    weights = LossWeights(recon=2.0, invariance=0.5, consistency=3.0)
    label, valid = torch.zeros(8, dtype=torch.int64), torch.ones(8)
    objective = LatentActionObjective(model, weights)
    total, terms = objective(source, target, action, label, valid)
    x, gx = source / 127.5 - 1, target / 127.5 - 1
    zx, zg = model.encoder(x), model.encoder(gx)
    mask = (model.mask.logits > 0).float().view(1, -1, 1, 1)
    turned = torch.stack(
        [z.rot90(int(k), (-2, -1)) for z, k in zip(mask * zx, action[:, 0], strict=True)]
    )
    recon = mse_loss(model.decoder(turned + (1 - mask) * zx).tanh(), gx)
    invariance = mse_loss((1 - mask) * zx, (1 - mask) * zg)
    consistency = mse_loss(turned, mask * zg)
    expected = torch.stack([recon, invariance, consistency])
    torch.testing.assert_close(terms[1:4], expected.detach())
    torch.testing.assert_close(total, 2 * recon + 0.5 * invariance + 3 * consistency)
    assert len(terms) == len(TERM_NAMES)


def test_the_target_branch_gives_no_gradient() -> None:
    """With the gradient stopped, L_inv leaves the logits of variant channels untouched."""
    model = make_model()
    source, target, action = random_pairs(model)
    label, valid = torch.zeros(8, dtype=torch.int64), torch.ones(8)
    weights = LossWeights(recon=1e-30, invariance=1.0, consistency=0.0)
    total, _ = LatentActionObjective(model, weights)(source, target, action, label, valid)
    total.backward()
    gradient = model.mask.logits.grad
    assert gradient is not None
    variant = model.mask.is_variant()
    assert gradient[variant].abs().max() < 1e-12
    assert (gradient[~variant] != 0).all()


def test_the_target_branch_gives_a_gradient_where_it_is_asked_for() -> None:
    """Then the gradient is that of the plain difference, which shrinks latents that differ."""
    model = make_model()
    source, target, action = random_pairs(model)
    label, valid = torch.zeros(8, dtype=torch.int64), torch.ones(8)
    weights = LossWeights(recon=1e-30, invariance=0.0, consistency=1.0)
    gradients = []
    kinds: tuple[LatentLosses, ...] = ("stop_gradient", "full_gradient")
    for kind in kinds:
        model.zero_grad()
        objective = LatentActionObjective(model, weights, kind)
        objective(source, target, action, label, valid)[0].backward()
        gradients.append(model.encoder[0].weight.grad.clone())
    parts = [model.encode(model.normalise(images)).variant for images in (source, target)]
    model.zero_grad()
    mse_loss(model.act(parts[0], model.group.decode(action)), parts[1]).backward()
    torch.testing.assert_close(gradients[1], model.encoder[0].weight.grad)
    assert not torch.allclose(gradients[0], gradients[1])


@pytest.mark.parametrize("kind", ["stop_gradient", "relative"])
def test_both_directions_are_the_pairs_and_the_reversed_pairs(kind: LatentLosses) -> None:
    """Losses and gradients are those of one batch that holds (x, g, g x) and (g x, g^-1, x)."""
    model = make_model()
    source, target, action = random_pairs(model)
    back = model.group.encode(model.group.inverse(model.group.decode(action)))
    all_pairs = torch.cat([source, target]), torch.cat([target, source]), torch.cat([action, back])
    gradients, values = [], []
    for pairs, both in (((source, target, action), True), (all_pairs, False)):
        model.zero_grad()
        num_pairs = len(pairs[0])
        rest = torch.zeros(num_pairs, dtype=torch.int64), torch.ones(num_pairs)
        objective = LatentActionObjective(model, LossWeights(), kind, both_directions=both)
        total, terms = objective(*pairs, *rest)
        total.backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
        values.append(terms)
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


def test_relative_losses_do_not_reward_larger_or_more_uniform_latents() -> None:
    """They are the same for latents times a factor, and plus a constant for each channel."""
    model = make_model()
    pairs = run_pairs(model, *random_pairs(model))
    plain = latent_losses(pairs, "relative")
    offset = torch.randn(model.latent_shape[0], 1, 1)
    mask = model.mask.is_variant().view(-1, 1, 1)

    def change(x: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
        return 3.0 * (x + channels * offset)

    moved = pairs._replace(
        source_invariant=change(pairs.source_invariant, ~mask),
        moved_variant=change(pairs.moved_variant, mask),
        target_parts=LatentParts(
            change(pairs.target_parts.variant, mask), change(pairs.target_parts.invariant, ~mask)
        ),
    )
    for before, after in zip(plain, latent_losses(moved, "relative"), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-6)
    absolute = latent_losses(pairs, "full_gradient")
    images = (pairs.target_parts.variant + pairs.target_parts.invariant).flatten(2)
    sizes = images.var(2, correction=0).mean(1)
    torch.testing.assert_close(plain[1], absolute[1] / sizes, rtol=1e-5, atol=1e-7)


def test_compiled_objective_agrees_and_keeps_its_names() -> None:
    model = make_model(width=4)
    names = set(model.state_dict())
    source, target, action = random_pairs(model)
    batch = (source, target, action, torch.zeros(8, dtype=torch.int64), torch.ones(8))
    objective = LatentActionObjective(model, LossWeights())
    eager, _ = objective(*batch)
    prepare_compiler()
    objective.compile()
    compiled, _ = objective(*batch)
    torch.testing.assert_close(compiled, eager, rtol=1e-5, atol=1e-6)
    compiled.backward()
    assert model.mask.logits.grad is not None
    assert set(model.state_dict()) == names
