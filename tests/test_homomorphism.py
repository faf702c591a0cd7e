"""The homomorphism autoencoder: matrices learned from action vectors, its losses, runs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.programs import call
from helpers.ranks import run_on_ranks

from orbit.core.groups import make_group
from orbit.core.store.manifest import FrameSpec
from orbit.testing import check_evaluation, check_resume
from pipeline.methods.homomorphism.settings import HomomorphismConfig
from pipeline.methods.homomorphism.task import HomomorphismModel, HomomorphismObjective, step_losses
from pipeline.models.settings import AutoencoderConfig

TINY = (
    *("task=homomorphism", "task.num_blocks=3", "task.hidden=8", "task.model.width=4"),
    *("task.model.vector_size=10", "epochs=1", "global_batch=32", "log_every=2", "precision=fp32"),
)


def make_model(group: str = "so2", vector_size: int = 10) -> HomomorphismModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = AutoencoderConfig(width=4, vector_size=vector_size)
        config = HomomorphismConfig("homomorphism", num_blocks=3, hidden=8, model=network)
        frames = FrameSpec((1, 16, 16), "uint8", (0.0, 255.0), (-1.0, 1.0))
        return HomomorphismModel(config, frames, make_group(group))


def test_blocks_are_moved_apart_and_the_rest_stays() -> None:
    model = make_model()
    g = torch.linspace(-3, 3, 5)
    z = torch.randn(5, 10, 1, 1, generator=torch.Generator().manual_seed(0))
    moved, matrices = model.act(z, g).flatten(1), model.action.matrices(g)
    assert torch.equal(moved[:, 6:], z.flatten(1)[:, 6:])
    for block in range(3):
        own = slice(2 * block, 2 * block + 2)
        wanted = (matrices[:, block] @ z.flatten(1)[:, own, None])[..., 0]
        torch.testing.assert_close(moved[:, own], wanted)
    assert (torch.linalg.det(matrices) > 0).all(), "an exponential is invertible"
    assert model.mask.is_variant().tolist() == [True] * 6 + [False] * 4


def test_every_block_is_a_network_of_its_own() -> None:
    """The batched layers compute what one linear layer and norm after another would."""
    action = make_model("so3").action
    g = make_group("so3").sample(np.random.default_rng(0), 4)
    found = action.matrices(g)
    for block in range(3):
        x = make_group("so3").encode(g)
        for layer, norm in (
            (action.hidden[0], action.hidden[1]),
            (action.hidden[3], action.hidden[4]),
        ):
            x = torch.nn.functional.linear(x, layer.weight[block], layer.bias[block])
            x = (
                torch.nn.functional.layer_norm(x, x.shape[-1:]) * norm.weight[block]
                + norm.bias[block]
            )
            x = x.relu()
        last = torch.nn.functional.linear(x, action.last.weight[block], action.last.bias[block])
        torch.testing.assert_close(found[:, block], torch.matrix_exp(last.view(-1, 2, 2)))


def test_the_loss_is_the_sum_of_its_parts_over_steps() -> None:
    """Cross-entropy of every image, the first included, and latents of the later ones."""
    model = make_model()
    rng = torch.Generator().manual_seed(0)
    images = [torch.rand(4, 1, 16, 16, generator=rng) * 2 - 1 for _ in range(3)]
    g = [torch.rand(4, generator=rng) for _ in range(2)]
    total, image, latent = step_losses(model, images, g, 400.0)
    codes = [model.encoder(x) for x in images]
    latents = [codes[0], model.act(codes[0], g[0])]
    latents.append(model.act(latents[1], g[1]))
    entropy = sum(
        torch.nn.functional.binary_cross_entropy_with_logits(
            model.decoder(z), (x + 1) / 2, reduction="none"
        ).sum((1, 2, 3))
        for x, z in zip(images, latents, strict=True)
    )
    torch.testing.assert_close(image, entropy / 3)
    apart = sum(
        (a - b).square().flatten(1).mean(1) for a, b in zip(codes[1:], latents[1:], strict=True)
    )
    torch.testing.assert_close(latent, apart / 2)
    torch.testing.assert_close(total, image + 400 * latent)


def loss_on_rank(rank: int, num_ranks: int) -> list[torch.Tensor]:
    """Terms of the loss of this rank's rows of a batch of 8."""
    model, rng = make_model(), torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (8, 1, 16, 16), generator=rng, dtype=torch.uint8)
    action = model.group.encode(torch.rand(8, generator=rng))
    own = slice(8 * rank // num_ranks, 8 * (rank + 1) // num_ranks)
    config = HomomorphismConfig(
        "homomorphism", num_blocks=3, model=AutoencoderConfig(vector_size=10)
    )
    nothing = torch.zeros(0)
    objective = HomomorphismObjective(model, config)
    return [objective(frames[own], frames[own], action[own], nothing, nothing)[1]]


def test_second_actions_are_those_of_the_global_batch(tmp_path: Path) -> None:
    (terms,) = loss_on_rank(0, 1)
    found = run_on_ranks("test_homomorphism", "loss_on_rank", tmp_path)
    torch.testing.assert_close(torch.stack([each[0] for each in found]).mean(0), terms)


def test_runs_keep_the_laws(digits_dir: Path, tmp_path: Path) -> None:
    check_resume([*TINY, f"data={digits_dir}"], tmp_path)
    check_evaluation(tmp_path / "whole")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("task.model.vector_size=4",), "must be at least num_blocks x block_size = 6"),
        (("task.model.vector_size=null",), "must be at least num_blocks x block_size = 6"),
        (("task.num_steps=3",), "task.num_steps=3 is not allowed; allowed: 1, 2"),
    ],
)
def test_what_is_refused(
    words: tuple[str, ...], complaint: str, digits_dir: Path, tmp_path: Path
) -> None:
    given = [*TINY, f"data={digits_dir}", f"run_dir={tmp_path / 'run'}", *words]
    assert complaint in call("pipeline/train.py", *given).error_line
