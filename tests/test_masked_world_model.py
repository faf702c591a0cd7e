"""Protects the learned mask over S's outputs: it decides what turns, and learns to.

A mask whose variant part leaked into the other, or that no gradient reached, would find nothing.
"""

import pytest
import torch
from helpers.world_models import kind_words, seen, world_model

from pipeline.methods.world_model.contrastive import ContrastiveObjective
from pipeline.methods.world_model.measures.measure import between_share
from pipeline.methods.world_model.settings import ContrastiveConfig, WorldModelConfig
from pipeline.world_models.grid.symmetric import MaskedObjectEncoder
from pipeline.world_models.settings import GridMaskConfig, GridModelConfig
from pipeline.world_models.world_model import WorldModel

SMALL = ("task.model.hidden=8", "task.model.channels=4")
NUM = 6


def masked_model(logits: float | None = None) -> WorldModel:
    model = world_model(*kind_words("shapes_2d/masked"), *SMALL)
    assert isinstance(model.encoder, MaskedObjectEncoder)
    if logits is not None:
        torch.nn.init.constant_(model.encoder.mask.logits, logits)
    return model.eval()


def moves(num: int) -> torch.Tensor:
    return torch.stack((torch.arange(num) % 5, torch.arange(num) % 4), 1).float()


@torch.no_grad()
def test_what_is_not_variant_stays_under_actions_and_elements() -> None:
    model = masked_model()
    assert model.parts is not None
    z = model.encode(model.embed(seen(model, NUM)))
    g = torch.arange(NUM) % 4
    before = model.parts.split(z)
    assert {name: part.shape[-1] for name, part in before.items()} == {"variant": 8, "invariant": 2}
    for after in (model.predict(z, moves(NUM)), model.act_on_latent(z, g)):
        assert torch.equal(model.parts.split(after)["invariant"], before["invariant"])
        assert not torch.equal(model.parts.split(after)["variant"], before["variant"])


@pytest.mark.parametrize(("logits", "silent"), [(-9.0, "variant"), (9.0, "invariant")])
@torch.no_grad()
def test_a_part_that_the_mask_gives_nothing_knows_nothing(logits: float, silent: str) -> None:
    model = masked_model(logits)
    assert model.parts is not None
    parts = model.parts.split(model.encode(model.embed(seen(model, NUM))))
    spread = {name: float(part.std(0).max()) for name, part in parts.items()}
    assert spread.pop(silent) < 1e-6
    assert min(spread.values()) > 1e-4


@torch.no_grad()
def test_only_variant_maps_turn() -> None:
    model = masked_model()
    assert model.parts is not None
    y = model.embed(seen(model, 1))
    turned = model.act_on_embedding(y, torch.tensor([1]))
    is_variant = model.parts.mask.is_variant().view(5, 2)
    assert 0 < is_variant.sum() < 10
    assert torch.equal(turned[0][~is_variant], y[0][~is_variant])
    assert torch.equal(turned[0][is_variant], y[0][is_variant].rot90(1, (-2, -1)))


def test_the_weight_of_variant_outputs_pushes_their_logits_down() -> None:
    model = masked_model()
    assert isinstance(model.encoder, MaskedObjectEncoder)
    frames = (255 * seen(model, NUM)).round().to(torch.uint8)
    found = []
    for weight in (0.0, 10.0):
        objective = ContrastiveObjective(model, ContrastiveConfig(variant_weight=weight))
        nothing = torch.zeros(NUM)
        total, _ = objective(frames, frames.roll(1, 0), moves(NUM), nothing, nothing)
        model.zero_grad()
        total.backward()
        gradient = model.encoder.mask.logits.grad
        assert gradient is not None
        found.append((total.item(), gradient))
    share = model.encoder.mask.is_variant().double().mean().item()
    assert found[1][0] - found[0][0] == pytest.approx(10 * share, rel=1e-4)
    assert found[0][1].abs().max() > 0, "the other losses reach the mask, too"
    assert ((found[1][1] - found[0][1]) > 0).all()


def test_settings_without_effect_are_refused() -> None:
    mask = GridMaskConfig()
    with pytest.raises(ValueError, match="mask needs kind=ours"):
        GridModelConfig("grid", "none", "cells", 4, 8, mask=mask)
    with pytest.raises(ValueError, match=r"tau=1\.0 must lie between"):
        GridMaskConfig(tau=1.0)
    plain = GridModelConfig("grid", "ours", "cells", 4, 8)
    with pytest.raises(ValueError, match=r"variant_weight has no effect without model\.mask"):
        WorldModelConfig("world_model", plain, ContrastiveConfig(variant_weight=0.1))


def test_shares_between_kinds_are_those_of_the_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    kinds = torch.arange(4000) % 4
    noise = torch.randn(4000, 3, generator=generator)
    assert between_share(noise, kinds) < 0.01
    assert between_share(kinds[:, None].float().expand(-1, 3), kinds) == pytest.approx(1.0)
    mixed = noise + (kinds[:, None] % 2) * 2.0  # variance 1 within, 1 between
    assert between_share(mixed, kinds) == pytest.approx(0.5, abs=0.02)
    assert between_share(torch.ones(8, 2), torch.arange(8)) == 0
