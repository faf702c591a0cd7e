"""Protects the networks: sizes, symmetry of the lattice, outputs of images and of shapes."""

import math

import pytest
import torch
from torch import nn

from orbit.core.groups import make_group
from orbit.core.store.manifest import FrameSpec
from pipeline.methods.latent_action.settings import LatentActionConfig
from pipeline.methods.latent_action.task import output_kind
from pipeline.models.latent_action import LatentActionModel, as_images, reconstruction_losses
from pipeline.models.networks import make_network, with_depth
from pipeline.models.settings import AutoencoderConfig, ContextConfig, NetworkConfig, ResidualConfig

CONV = AutoencoderConfig(width=8)
CONTEXT = ContextConfig("context", width=8, context_channels=16)
RESIDUAL = ResidualConfig("residual", width=8, depth=3, latent_channels=12)


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (CONV, (1, 28, 28)),
        (CONV, (1, 12, 12, 12)),
        (AutoencoderConfig(width=4, depth=3, vector_size=10), (3, 16, 16)),
        (AutoencoderConfig(width=4, depth=2, vector_size=10), (1, 8, 8, 8)),
        (CONTEXT, (3, 32, 32)),
        (CONTEXT, (1, 16, 16, 16)),
        (RESIDUAL, (3, 32, 32)),
        (RESIDUAL, (1, 16, 16, 16)),
        (ResidualConfig("residual", width=8, depth=2, vector_size=6), (1, 16, 16)),
        (ResidualConfig("residual", width=8, depth=5, num_blocks=2, max_width=32), (3, 128, 128)),
        (ResidualConfig("residual", width=8, depth=4, max_width=16), (1, 64, 64, 64)),
    ],
)
def test_latents_have_the_stated_shape_and_frames_come_back(
    config: NetworkConfig, shape: tuple[int, ...]
) -> None:
    frames = torch.randn(2, *shape)
    with torch.no_grad():
        network = make_network(config, shape)
        latent = network.encoder(frames)
        assert latent.shape == (2, *network.latent_shape)
        assert network.decoder(latent).shape == frames.shape


def test_sides_that_halvings_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match=r"depth=3 needs sides divisible by 8, not 28.*: 24"):
        make_network(RESIDUAL, (1, 28, 28))


def symmetrise(module: torch.nn.Module) -> None:
    """Average every kernel over the quarter turns of its last two axes."""
    for parameter in module.parameters():
        if parameter.ndim >= 4:
            turned = [parameter.data.rot90(k, (-2, -1)) for k in range(4)]
            parameter.data = torch.stack(turned).mean(0)


@pytest.mark.parametrize("config", [CONV, CONTEXT, RESIDUAL])
@pytest.mark.parametrize("shape", [(1, 24, 24), (1, 16, 16, 16)])
def test_halvings_lie_symmetrically_on_the_lattice(
    config: NetworkConfig, shape: tuple[int, ...]
) -> None:
    """With symmetric kernels encoder and decoder commute with quarter turns to rounding."""
    torch.manual_seed(0)
    group = make_group("c4")
    network = make_network(config, shape)
    encoder, decoder = network.encoder.double(), network.decoder.double()
    for parameter in (*encoder.parameters(), *decoder.parameters()):
        if parameter.ndim >= 4:
            torch.nn.init.normal_(parameter, std=0.1)  # The last layer of a block begins at 0.
    symmetrise(encoder)
    symmetrise(decoder)
    images, g = torch.randn(4, *shape, dtype=torch.float64), torch.arange(4)
    with torch.no_grad():
        turned = group.act_on_latent(encoder(images), g)
        torch.testing.assert_close(encoder(group.act_on_image(images, g)), turned)
        decoded = group.act_on_image(decoder(encoder(images)), g)
        torch.testing.assert_close(decoder(turned), decoded)


def test_logits_are_shapes_and_their_loss_is_cross_entropy() -> None:
    raw, target = torch.randn(3, 1, 4, 4, 4), (torch.rand(3, 1, 4, 4, 4) > 0.5).float() * 2 - 1
    images = as_images(raw, "logits")
    torch.testing.assert_close((images + 1) / 2, raw.sigmoid())
    wanted = -torch.where(target > 0, raw.sigmoid().log(), (-raw).sigmoid().log())
    torch.testing.assert_close(reconstruction_losses(raw, images, target, "logits"), wanted)
    tanh = as_images(raw, "tanh")
    torch.testing.assert_close(
        reconstruction_losses(raw, tanh, target, "tanh"), (raw.tanh() - target) ** 2
    )


def test_the_dataset_chooses_the_output() -> None:
    grey = FrameSpec((1, 8, 8), "uint8", (0.0, 255.0), (-1.0, 1.0))
    shape = FrameSpec((1, 8, 8), "uint8", (0.0, 255.0), (-1.0, 1.0), "binary")
    auto = LatentActionConfig("latent_action")
    assert (output_kind(auto, grey), output_kind(auto, shape)) == ("tanh", "logits")
    assert output_kind(LatentActionConfig("latent_action", output="tanh"), shape) == "tanh"
    with pytest.raises(ValueError, match=r"task.output=logits needs .* allowed: auto, tanh"):
        output_kind(LatentActionConfig("latent_action", output="logits"), grey)


def test_vector_latents_reach_the_whole_image() -> None:
    frames = FrameSpec((1, 16, 16), "uint8", (0.0, 255.0), (-1.0, 1.0))
    config = AutoencoderConfig(width=4, vector_size=16)
    from pipeline.models.settings import LearnedActionConfig

    model = LatentActionModel(
        config, 0.5, frames, make_group("c4"), LearnedActionConfig("learned", block_size=4)
    )
    image = torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        changed = (
            model.transform(image + torch.eye(16) * 0.5, torch.tensor([1]))
            - model.transform(image, torch.tensor([1]))
        ).abs()
    assert (changed > 0).double().mean() > 0.9
    assert math.prod(model.latent_shape) == 16


def test_residual_blocks_begin_as_the_identity() -> None:
    """Whatever goes in, a fresh block adds the same constant to it."""
    from pipeline.models.networks import ResidualBlock

    x = torch.randn(2, 8, 5, 5)
    block = ResidualBlock(8, 2)
    with torch.no_grad():
        moved = block(x) - x
    bias = block.layers[-1].bias.detach().view(1, -1, 1, 1)
    torch.testing.assert_close(moved, bias.expand_as(x))


def test_evaluation_weighs_its_losses_as_training_does() -> None:
    """Selection is by a total with the task's own weights, and of shapes by cross-entropy."""
    from pipeline.data.packing import Batch
    from pipeline.methods.latent_action.evaluation import LatentActionEvaluation
    from pipeline.methods.latent_action.objective import LatentActionObjective
    from pipeline.methods.latent_action.settings import LossWeights
    from pipeline.models.latent_action import LatentActionModel

    weights = LossWeights(recon=2.0, invariance=0.25, consistency=7.0)
    for kind, values in (("tanh", "continuous"), ("logits", "binary")):
        torch.manual_seed(0)
        frames = FrameSpec((1, 8, 8, 8), "uint8", (0.0, 255.0), (-1.0, 1.0), values)
        model = LatentActionModel(CONV, 0.5, frames, make_group("c4"), output=kind)
        source = (torch.rand(6, 1, 8, 8, 8) > 0.5).to(torch.uint8) * 255
        g = torch.tensor([0, 1, 2, 3, 1, 2])
        target = model.group.act_on_image(source, g)
        batch = Batch(source, target, model.group.encode(g), g, torch.ones(6))
        total, terms = LatentActionObjective(model, weights)(*batch)
        evaluation = LatentActionEvaluation(model, weights)
        evaluation.update(batch)
        metrics = evaluation.metrics(evaluation.sums())
        assert metrics["loss/total"] == pytest.approx(total.item(), rel=1e-5)
        names = ("loss/recon", "loss/invariance", "loss/consistency")
        assert [metrics[name] for name in names] == pytest.approx(terms[1:4].tolist(), rel=1e-5)


def test_dice_counts_what_two_shapes_share() -> None:
    """Of two boxes of 4 x 4 x 4 that overlap in half: 2 * 32 / (64 + 64); padding is left out."""
    from pipeline.data.packing import Batch
    from pipeline.methods.latent_action.evaluation import LatentActionEvaluation
    from pipeline.methods.latent_action.settings import LossWeights
    from pipeline.models.latent_action import LatentActionModel

    frames = FrameSpec((1, 8, 8, 8), "uint8", (0.0, 255.0), (-1.0, 1.0), "binary")
    model = LatentActionModel(CONV, 0.5, frames, make_group("c4"), output="logits")
    box, other = torch.zeros(2, 1, 8, 8, 8), torch.zeros(2, 1, 8, 8, 8)
    box[0, :, :4, :4, :4] = 1
    other[:, :, 2:6, :4, :4] = 1
    model.decode_raw = lambda parts: box * 20 - 10
    target = (other * 255).to(torch.uint8)
    valid = torch.tensor([1.0, 0.0])
    evaluation = LatentActionEvaluation(model, LossWeights())
    evaluation.update(Batch(target, target, torch.zeros(2, 1), torch.zeros(2), valid))
    assert evaluation.metrics(evaluation.sums())["dice"] == pytest.approx(0.5)


def test_context_channels_see_beyond_the_cells_of_the_others() -> None:
    """A pixel outside a cell's own 10 x 10 reaches its context channels and not the paper's."""
    torch.manual_seed(0)
    encoder = make_network(CONTEXT, (1, 32, 32)).encoder
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.3)
    image = torch.zeros(1, 1, 32, 32, requires_grad=True)
    cell = encoder(image)[0, :, 4, 4]  # of pixels 13 to 22, one way and the other
    for channels, is_seen in ((cell[:16], False), (cell[16:], True)):
        (gradient,) = torch.autograd.grad(channels.sum(), image, retain_graph=True)
        assert bool((gradient[0, 0, 12, 13:23] != 0).any()) is is_seen


@pytest.mark.parametrize(
    ("group", "shape", "depth"),
    [
        ("c4", (3, 256, 256), 4),
        ("c4", (3, 128, 128), 3),
        ("octahedral", (1, 104, 104, 104), 3),
        ("octahedral", (1, 64, 64, 64), 2),
        ("so2", (1, 56, 56), 2),
        ("so2", (1, 48, 48), 1),
        ("c4", (1, 48, 48), 2),
        ("c4", (1, 200, 200), 3),
        ("c4", (1, 50, 50), 1),
        ("c4", (1, 16, 16), 1),
    ],
)
def test_depth_follows_the_frame(group: str, shape: tuple[int, ...], depth: int) -> None:
    """12 cells a side are left, 14 where cells are interpolated; halvings divide the frame."""
    frames = FrameSpec(shape, "uint8", (0.0, 255.0), (-1.0, 1.0))
    config = ResidualConfig("residual", width=8, max_width=8, depth="auto", latent_channels=8)
    model = LatentActionModel(config, 0.5, frames, make_group(group))
    assert model.network.depth == depth
    assert model.latent_shape == (8, *(side // 2**depth for side in shape[1:]))


def test_depth_of_a_vector_is_the_frames_own() -> None:
    config = ResidualConfig("residual", depth="auto", vector_size=8)
    assert with_depth(config, (1, 96, 96)).depth == 3
    assert with_depth(config, (1, 97, 96)).depth == 1
    assert with_depth(CONV, (1, 96, 96)) == CONV
