"""Deformed views and the contrast between them: shapes, identities, closed forms, ranks."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.ranks import run_on_ranks

from orbit.core.groups import make_group
from orbit.core.store.manifest import FrameSpec
from pipeline.data.packing import Batch
from pipeline.methods.latent_action.objective import (
    NUM_DRAWS,
    LatentActionObjective,
    ViewsContrast,
    affine_maps,
    change_thickness,
    deform,
    info_nce,
)
from pipeline.methods.latent_action.settings import LossWeights, ViewsContrastConfig
from pipeline.models.latent_action import LatentActionModel
from pipeline.models.settings import ContextConfig

pytestmark = pytest.mark.usefixtures("starts_are_warm")

CONFIG = ViewsContrastConfig("views", hidden=16, size=8)
FRAMES = FrameSpec((1, 16, 16), "uint8", (0.0, 255.0), (-1.0, 1.0))
NUM_RECORDS = 8


def make_model() -> LatentActionModel:
    torch.manual_seed(0)
    network = ContextConfig("context", width=8, context_channels=8)
    return LatentActionModel(network, 0.5, FRAMES, make_group("c4"), projector_sizes=(16, 8))


def make_batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    source = torch.randint(0, 256, (NUM_RECORDS, 1, 16, 16), generator=generator).to(torch.uint8)
    g = torch.arange(NUM_RECORDS) % 4
    group = make_group("c4")
    return Batch(source, group.act_on_image(source, g), group.encode(g), g, torch.ones(NUM_RECORDS))


@pytest.mark.parametrize("is_autocast", [False, True])
def test_middle_draws_are_the_identity(is_autocast: bool) -> None:
    images = torch.rand(3, 2, 12, 12) * 2 - 1
    middle = torch.full((3, NUM_DRAWS), 0.5)
    with torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
        views = deform(images, middle, CONFIG)
    torch.testing.assert_close(views, images, rtol=0, atol=1e-5)


def test_maps_stay_within_the_configured_bounds() -> None:
    """The determinant of a map is that of its two stretches, its shift at most the largest."""
    maps = affine_maps(torch.rand(500, NUM_DRAWS), CONFIG)
    determinants = torch.linalg.det(maps[:, :, :2])
    assert (determinants <= (1 + CONFIG.stretch) ** 2 + 1e-5).all()
    assert (determinants >= (1 + CONFIG.stretch) ** -2 - 1e-5).all()
    assert maps[:, :, 2].abs().max() <= CONFIG.shift
    assert maps[:, :, 2].abs().max() > 0.9 * CONFIG.shift


def test_a_pure_turn_is_a_rotation() -> None:
    draws = torch.full((1, NUM_DRAWS), 0.5)
    draws[0, 0] = 1.0
    (found,) = affine_maps(draws, CONFIG)
    cos, sin = math.cos(CONFIG.rotation), math.sin(CONFIG.rotation)
    torch.testing.assert_close(found, torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]]))


def test_thickness_changes_by_a_pixel() -> None:
    images = torch.full((3, 1, 9, 9), -1.0)
    images[:, :, 3:6, 3:6] = 1.0
    changed = change_thickness(images, torch.tensor([0.1, 0.5, 0.9]))
    assert (changed > 0).flatten(1).sum(1).tolist() == [1, 9, 25]


def test_info_nce_is_computed_in_full_under_autocast() -> None:
    rows = torch.nn.functional.normalize(torch.randn(8, 16), dim=1)
    whole = info_nce(rows, rows.roll(1, 0), 0.2)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(info_nce(rows, rows.roll(1, 0), 0.2), whole, rtol=0, atol=0)


def test_info_nce_of_like_and_of_unlike_rows() -> None:
    """Rows that are all alike know nothing: log N. Orthogonal ones: log(1 + (N-1) e^(-1/t))."""
    alike = torch.ones(4, 4) / 2
    assert info_nce(alike, alike, 0.5).item() == pytest.approx(math.log(4))
    unlike = torch.eye(4)
    expected = math.log(1 + 3 * math.exp(-1 / 0.5))
    assert info_nce(unlike, unlike, 0.5).item() == pytest.approx(expected, rel=1e-5)


def test_views_are_functions_of_seed_and_step() -> None:
    model, batch = make_model(), make_batch()
    contrast = ViewsContrast(model, CONFIG, seed=5)
    images = model.normalise(batch.target)
    variant = model.encode(images).variant
    first = contrast(variant, images)
    contrast.step = 1
    assert contrast(variant, images) != first
    contrast.step = 0
    assert contrast(variant, images) == first
    assert ViewsContrast(model, CONFIG, seed=6)(variant, images) != first


def work(rank: int, size: int) -> dict[str, Any]:
    """Loss terms and gradients of a rank's share of the batch."""
    model = make_model()
    objective = LatentActionObjective(
        model, LossWeights(), contrast=ViewsContrast(model, CONFIG, seed=5)
    )
    loss, terms = objective(*make_batch().parts(size)[rank])
    loss.backward()
    return {
        "terms": terms,
        "gradients": [parameter.grad.clone() for parameter in model.parameters()],
    }


def test_two_ranks_have_the_loss_and_the_gradients_of_one(tmp_path: Path) -> None:
    alone, ranks = work(0, 1), run_on_ranks("test_contrast", "work", tmp_path)
    terms = torch.stack([rank["terms"] for rank in ranks]).mean(0)
    # The last but one, the variation of outputs, is a measure and no loss: it is not additive.
    is_additive = torch.arange(len(terms)) != len(terms) - 2
    torch.testing.assert_close(terms[is_additive], alone["terms"][is_additive])
    for place, wanted in enumerate(alone["gradients"]):
        mean = torch.stack([rank["gradients"][place] for rank in ranks]).mean(0)
        torch.testing.assert_close(mean, wanted, rtol=1e-4, atol=1e-6)
