"""The homeomorphic VAE: a density on the rotations, a decoder that turns, noise by place."""

import math

import numpy as np
import pytest
import torch

from orbit.core.groups import make_group, quaternions
from orbit.core.store.manifest import FrameSpec
from pipeline.global_batch import normal_rows
from pipeline.methods.world_model.task import sample_losses
from pipeline.world_models.homeomorphic_vae import (
    LOG_VOLUME,
    MAX_STD,
    HarmonicDecoder,
    HomeomorphicVAE,
    bounded,
    divergence,
    exponential,
    log_density,
)
from pipeline.world_models.settings import HomeomorphicVAEConfig
from pipeline.world_models.teapot import act_by_multiplying, multiply

FRAMES = FrameSpec((1, 16, 16), "uint8", (0.0, 255.0), (0.0, 1.0))
TINY = HomeomorphicVAEConfig(
    "homeomorphic_vae", channels=(4, 8), decoder_channels=6, max_degree=2, num_copies=3
)


def uniform(num: int) -> torch.Tensor:
    q = quaternions.sample(np.random.default_rng(0), num).double()
    return q / q.norm(dim=1, keepdim=True)


def tiny() -> HomeomorphicVAE:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return HomeomorphicVAE(TINY, make_group("so3"), FRAMES)


def test_the_exponential_is_the_rotation_of_the_vector() -> None:
    q = uniform(50)
    matrices = exponential(quaternions.rotation_vector(q))
    torch.testing.assert_close(matrices, quaternions.to_matrix(q), rtol=0, atol=1e-9)


@pytest.mark.parametrize("spread", [(0.3, 0.4, 0.5), (1.0, 1.5, 0.7), (3.0, 3.0, 3.0)])
def test_the_density_integrates_to_one(spread: tuple[float, float, float]) -> None:
    """Over uniform rotations the mean of q, times the volume, is 1."""
    vectors = quaternions.rotation_vector(uniform(200_000))
    std = torch.tensor(spread, dtype=torch.float64).expand_as(vectors)
    density = (log_density(vectors, std) + LOG_VOLUME).exp()
    error = density.std() / math.sqrt(len(density))
    assert abs(density.mean() - 1) < max(4 * float(error), 1e-3)


def test_the_density_knows_all_ways_to_a_rotation() -> None:
    """v and v - 2 pi v / |v| are one rotation."""
    vectors = quaternions.rotation_vector(uniform(100))
    around = vectors - 2 * math.pi * vectors / vectors.norm(dim=1, keepdim=True)
    std = torch.full_like(vectors, 1.3)
    torch.testing.assert_close(
        log_density(vectors, std), log_density(around, std), rtol=0, atol=1e-4
    )


def test_divergence_falls_with_the_spread() -> None:
    noise = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = {}
    for spread in (0.1, 0.3, 1.0, 3.0):
        std = torch.full_like(noise, spread)
        found[spread] = float(divergence(std * noise, std).mean())
    # Narrow: minus the entropy of a Gaussian, but for the volume.
    entropy = 1.5 * math.log(2 * math.pi * math.e * 0.1**2)
    assert found[0.1] == pytest.approx(LOG_VOLUME - entropy, abs=0.05)
    assert found[0.1] > found[0.3] > found[1.0] > 0
    # Beyond, the sphere |v| = 2 pi lands on the identity, which is not uniform either.
    assert 0 < found[3.0] < 1


def test_no_spread_is_so_wide_that_its_divergence_is_negative() -> None:
    """Else the loss falls without end as the spread grows, until drawn rotations overflow."""
    noise = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wide = torch.full_like(noise, 1e6)
    assert float(divergence(wide * noise, wide).mean()) < -1
    assert float(divergence(bounded(wide) * noise, bounded(wide)).mean()) > 0
    narrow = torch.tensor([1e-3, 0.1], dtype=torch.float64)
    torch.testing.assert_close(bounded(narrow), narrow, rtol=1e-3, atol=0)
    model = tiny()
    with torch.no_grad():
        model.embedding.spread.bias.fill_(1e6)
        _, std = model.embedding.distribution(torch.rand(2, 1, 16, 16))
    assert float(std.max()) == pytest.approx(MAX_STD)


def test_the_decoder_turns_its_vectors_by_a_representation() -> None:
    decoder = HarmonicDecoder((1, 16, 16), 3, 2, 4)
    g, h = uniform(5).float(), uniform(10)[5:].float()
    first, second = quaternions.to_matrix(g), quaternions.to_matrix(h)
    once = decoder.turned(multiply(first, second))
    with torch.no_grad():
        decoder.vectors.copy_(torch.randn(decoder.vectors.shape))
    lengths = decoder.turned(first).square().sum(1)
    torch.testing.assert_close(lengths, decoder.vectors.square().sum(0).expand_as(lengths))
    assert once.shape == (5, 16, 2)
    identity = decoder.turned(torch.eye(3)[None])
    torch.testing.assert_close(identity[0], decoder.vectors, rtol=0, atol=1e-6)
    assert decoder(first).shape == (5, 1, 16, 16)


def test_it_has_the_face_of_a_world_model() -> None:
    model = tiny().eval()
    frames = torch.randint(0, 256, (4, 1, 16, 16), dtype=torch.uint8)
    z = model.latent(frames)
    torch.testing.assert_close(multiply(z, z.mT), torch.eye(3).expand(4, 3, 3), atol=1e-5, rtol=0)
    g = uniform(4).float()
    torch.testing.assert_close(model.predict(z, g), act_by_multiplying(z, g))
    assert model.decode(z).shape == (4, 1, 16, 16)


def test_losses_have_finite_gradients_everywhere() -> None:
    model = tiny()
    frames = torch.randint(0, 256, (8, 1, 16, 16), dtype=torch.uint8)
    losses = sample_losses(model, frames, normal_rows(0, 1, 8, 3, torch.device("cpu")))
    sum(loss.mean() for loss in losses).backward()  # type: ignore[union-attr]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0 or "convolutions" in name, name


def test_noise_is_a_function_of_seed_and_step() -> None:
    device = torch.device("cpu")
    drawn = [normal_rows(seed, step, 6, 3, device) for seed in (0, 1) for step in (0, 1)]
    assert torch.equal(drawn[0], normal_rows(0, 0, 6, 3, device))
    assert len({tuple(rows.flatten().tolist()) for rows in drawn}) == 4


def test_frames_it_cannot_draw_are_refused() -> None:
    with pytest.raises(ValueError, match="power of two"):
        HarmonicDecoder((1, 24, 24), 2, 2, 4)
