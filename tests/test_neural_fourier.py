"""The neural Fourier transform: a latent that representations move, its losses, runs."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from orbit.core.groups import make_group
from orbit.core.store.manifest import FrameSpec
from orbit.testing import (
    check_action,
    check_evaluation,
    check_network,
    check_resume,
)
from pipeline.methods.neural_fourier.settings import NeuralFourierConfig, StridedConfig
from pipeline.methods.neural_fourier.task import (
    KnownAction,
    NeuralFourierModel,
    pair_losses,
    representations,
    weights_of,
)
from pipeline.models.settings import AutoencoderConfig, ResidualConfig

FREQUENCIES = {"so2": (0, 1, 3, 8), "so3": (0, 1, 2), "c4": (0, 1, 2, 3, 4), "d4": None}


def spec(*shape: int) -> FrameSpec:
    return FrameSpec(shape, "uint8", (0.0, 255.0), (-1.0, 1.0))


def make_model(group: str, frames: FrameSpec, **words: Any) -> NeuralFourierModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = NeuralFourierConfig("neural_fourier", **words)
        return NeuralFourierModel(config, frames, make_group(group))


# The action


@pytest.mark.parametrize("name", sorted(FREQUENCIES))
@given(seed=st.integers(0, 2**32))
@settings(max_examples=10)
def test_the_action_is_an_orthogonal_representation(name: str, seed: int) -> None:
    """g (h z) = (g h) z, and lengths and what stays are kept."""
    group, rng = make_group(name), np.random.default_rng(seed)
    action = KnownAction(representations(group, FREQUENCIES[name]), 3)
    g, h = (group.sample(rng, 5) for _ in range(2))
    z = torch.from_numpy(rng.standard_normal((5, sum(action.block_sizes), 1, 1))).float()
    torch.testing.assert_close(
        action(action(z, h), g), action(z, group.compose(g, h)), rtol=1e-4, atol=1e-4
    )
    moved = action(z, g)
    torch.testing.assert_close(moved.norm(dim=1), z.norm(dim=1), rtol=1e-4, atol=1e-4)
    assert torch.equal(moved[:, sum(action.sizes) :], z[:, sum(action.sizes) :])
    check_action(action, group, z.shape[1:])


def test_what_no_element_moves_is_the_part_that_stays() -> None:
    """Of quarter turns these are frequencies 0 and 4."""
    for name, num_moved, num_still in (("so2", 6, 1), ("so3", 8, 1), ("c4", 6, 3), ("d4", 5, 1)):
        action = KnownAction(representations(make_group(name), FREQUENCIES[name]), 2)
        assert (sum(action.sizes), action.num_still) == (2 * num_moved, 2 * num_still), name
        model = make_model(name, spec(1, 16, 16), frequencies=FREQUENCIES[name], num_copies=2)
        assert int(model.mask.is_variant().sum()) == 2 * num_moved


def test_quarter_turns_are_angles() -> None:
    turns = torch.arange(4)
    for frequency in (1, 2, 3, 5, 6, 7):
        (c4,), (so2,) = (
            representations(make_group(name), (frequency,)).moved for name in ("c4", "so2")
        )
        wanted = so2.matrix(turns.double() * (math.pi / 2)).float()
        torch.testing.assert_close(c4.matrix(turns), wanted)


@pytest.mark.parametrize(
    ("group", "words", "refusal"),
    [
        ("so2", {"frequencies": None}, "so2 has infinitely many"),
        ("d4", {}, "d4 have no frequencies; allowed: null"),
        ("so2", {"frequencies": (0,)}, "no element of so2 moves"),
        ("c4", {"frequencies": (0, 4)}, "no element of c4 moves"),
        ("so2", {"frequencies": (1, 1)}, "must not name one twice"),
        ("so2", {"frequencies": ()}, "must not be empty"),
        ("so2", {"leak": 0.1, "model": StridedConfig("strided")}, "leak=0.1 has no effect"),
        ("so2", {"model": AutoencoderConfig(vector_size=8)}, "allowed: null"),
        ("so2", {"model": AutoencoderConfig(depth=5)}, "depth=5 needs sides divisible by 32"),
    ],
)
def test_what_is_refused(group: str, words: dict[str, Any], refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        make_model(group, spec(1, 16, 16), **words)


# Networks


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 16, 16), {"model": AutoencoderConfig(width=4)}),
        ((2, 16, 16), {"model": ResidualConfig("residual", width=8, latent_channels=4)}),
        ((3, 17, 30), {"model": StridedConfig("strided", (4, 8), 8)}),
        ((1, 8, 8, 9), {"model": StridedConfig("strided", (4, 8), 8)}),
    ],
)
def test_every_network_gives_the_latent_and_the_frame(
    shape: tuple[int, ...], words: dict[str, Any]
) -> None:
    model = make_model("c4", spec(*shape), frequencies=(0, 1), num_copies=2, **words)
    assert model.latent_shape == (6, *(1,) * (len(shape) - 1))
    check_network(model.encoder, model.decoder, model.latent_shape, shape)


def test_sizes_are_those_of_the_papers() -> None:
    jin = make_model(
        "so2", spec(1, 28, 28), frequencies=(0, 1), num_copies=8, model=StridedConfig("strided")
    )
    assert jin.latent_shape[0] == 24
    assert sum(p.numel() for p in jin.parameters()) == 329_433
    fourier = make_model("so2", spec(1, 28, 28))
    assert fourier.latent_shape[0] == 544
    assert sum(p.numel() for p in fourier.parameters()) == 3_488_609


# Losses


class RingEncoder(nn.Module):
    """Four pixels to their Fourier coefficients, with which they turn; values before a Tanh."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ring = x.flatten(1)[:, [1, 0, 2, 3]]  # counter-clockwise from the upper right one
        return (ring.atanh() @ BASIS.T)[:, :, None, None]


class RingDecoder(nn.Module):
    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return (z.flatten(1) @ BASIS)[:, [1, 0, 2, 3]].view(-1, 1, 2, 2)


QUARTER = torch.arange(4, dtype=torch.float64) * (math.pi / 2)
BASIS = torch.stack(
    [
        (2 * QUARTER).cos() / 2,  # the sign
        *(QUARTER.cos() / math.sqrt(2), QUARTER.sin() / math.sqrt(2)),
        torch.full((4,), 0.5, dtype=torch.float64),
    ]
)


def test_an_exactly_equivariant_latent_has_no_loss() -> None:
    group = make_group("c4")
    model = make_model("c4", spec(1, 2, 2), frequencies=None, num_copies=1, model=NO_CELLS)
    assert [irrep.name for irrep in model.action.moved] == ["sign", "rotation"]
    model.encoder, model.decoder = RingEncoder(), RingDecoder()
    images = torch.from_numpy(np.random.default_rng(0).random((8, 1, 2, 2)) - 0.5)
    g = torch.arange(8) % 4
    wanted = group.act_on_image(images, g)
    assert pair_losses(model, images, wanted, g, ALL).max() < 1e-12
    other = group.compose(g, g * 0 + 1)
    total, forward, backward = pair_losses(model, images, wanted, other, PLAIN)
    assert min(forward.mean(), backward.mean()) > 1e-3
    torch.testing.assert_close(total, forward + backward)


NO_CELLS = StridedConfig("strided", (1,), 1)
PLAIN = {"loss/forward": 1.0, "loss/backward": 1.0}
ALL = {**PLAIN, "loss/cycle": 0.1, "loss/align": 0.5}


def filled(shape: torch.Size, number: int) -> torch.Tensor:
    """A wave instead of drawn numbers, so that the weights are the same everywhere."""
    wave = (0.7 * torch.arange(shape.numel(), dtype=torch.float64) + number).sin()
    return wave.view(shape) / math.sqrt(max(1, shape[1:].numel()))


LOSSES_OF_THE_RELEASE = (0.43543251419265416, 1.3138479643546965)
GRADIENTS_OF_THE_RELEASE = (
    *(1.631254799353115e-05, 4.234679372515466e-06),  # the convolutions of the encoder
    *(6.253072689239202e-04, 4.356797552894973e-05),
    *(0.035486405704039804, 0.0009846142969618015),  # the linear layers
    *(0.030483666140507282, 0.010196871752718072),
    *(0.008822214209392302, 0.008692690728363586),  # the layer norm
    *(0.6879243839758166, 0.2217421176449628),  # the convolutions of the decoder
    *(0.36698670338313766, 0.028778129475663567),
)
ENCODER_ALIGNED = (
    *(0.010053020300078703, 0.0029431899060368234, 0.449733795993434, 0.030799837516978564),
    *(15.953800485417982, 0.5132571418079722),
)
"""What differs in the release with its loss of aligned latents."""


@pytest.mark.parametrize("align", [0.0, 1.0])
def test_loss_and_gradients_are_those_of_the_released_code(align: float) -> None:
    """Its numbers on these weights and pairs; its views have poses of their own, and g leads from
    one to the other."""
    words = {"frequencies": (0, 1, 2, 3), "num_copies": 4, "leak": 0.01, "align": align}
    weights = weights_of(NeuralFourierConfig("neural_fourier", **words))
    model = make_model("so2", spec(1, 28, 28), **words).double()
    parameters = list(model.parameters())
    with torch.no_grad():
        for number, values in enumerate(parameters):
            values.copy_(filled(values.shape, number))
        parameters[8].mul_(0.5).add_(1)  # the scale of the layer norm
    wave = torch.arange(2 * 3 * 784, dtype=torch.float64)
    images, wanted = (0.3 * wave).sin().view(2, 3, 1, 28, 28)
    poses = torch.tensor([[0.4, 1.1, 2.5], [1.0, -2.0, 0.3]], dtype=torch.float64)
    loss = pair_losses(model, images, wanted, poses[1] - poses[0], weights)[0].mean()
    loss.backward()
    assert loss.item() == pytest.approx(LOSSES_OF_THE_RELEASE[align > 0], rel=1e-10)
    gradients = list(GRADIENTS_OF_THE_RELEASE)
    if align:
        gradients[: len(ENCODER_ALIGNED)] = ENCODER_ALIGNED
    found = [values.grad.norm().item() for values in parameters]
    assert found == pytest.approx(gradients, rel=1e-8)


def test_losses_of_a_pair_do_not_depend_on_the_others() -> None:
    """So that ranks may share a batch: the mean over it is that of their means."""
    for network in (StridedConfig("strided", (4, 8), 8), AutoencoderConfig(width=4)):
        words = {"frequencies": (0, 1), "num_copies": 2, "model": network}
        model = make_model("so2", spec(1, 16, 16), **words)
        rng, parts = np.random.default_rng(0), (slice(2), slice(2, 6))
        pairs = torch.from_numpy(rng.uniform(-1, 1, (2, 6, 1, 16, 16))).float()
        g = model.group.sample(rng, 6)
        together = pair_losses(model, *pairs, g, ALL)
        apart = [pair_losses(model, *pairs[:, part], g[part], ALL) for part in parts]
        torch.testing.assert_close(together, torch.cat(apart, 1))


# Runs

SHORT = ("experiment=neural_fourier/images", "epochs=1", "global_batch=32", "log_every=1")
SMALL = ("task.num_copies=2", "task.model.width=4")


def test_runs_keep_the_laws(digits_dir: Path, tmp_path: Path) -> None:
    words = [f"data={digits_dir}", *SHORT, *SMALL]
    check_resume(words, tmp_path)
    check_evaluation(tmp_path / "whole", (16, 48))
