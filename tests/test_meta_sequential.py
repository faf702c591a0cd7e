"""Protects meta-sequential prediction: the M of a sequence, its losses, whose M predicts what.

M must be the least squares solution, with its gradient; losses those of the formulas and of the
authors' code; an M must be tried on the next sequence with the same velocities and on no other.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.preparing import all_records, prepare
from helpers.programs import call

from orbit.core.groups import make_group
from orbit.core.store.manifest import FrameSpec
from orbit.core.store.reader import PairStore
from orbit.testing import check_evaluation, check_resume
from pipeline.data.packing import Batch
from pipeline.measuring import Subject
from pipeline.methods.meta_sequential.measures import measure, next_of_run
from pipeline.methods.meta_sequential.method import METHOD
from pipeline.methods.meta_sequential.settings import MetaSequentialConfig
from pipeline.methods.meta_sequential.task import (
    MetaSequentialEvaluation,
    MetaSequentialModel,
    MetaSequentialObjective,
    MetaSequentialTask,
    losses_of,
    moved,
    prediction_losses,
    transition,
)
from pipeline.models.settings import AutoencoderConfig, ResidualConfig

FRAMES = FrameSpec((2, 8, 8), "uint8", (0.0, 255.0), (0.0, 1.0))
OBJECTIVES = ("prediction", "neural", "reconstruction", "autoencoder")


def make_model(frames: FrameSpec = FRAMES, **settings: object) -> MetaSequentialModel:
    network = AutoencoderConfig(width=4)
    settings = {"num_rows": 6, "num_columns": 3, "model": network, **settings}
    config = MetaSequentialConfig("meta_sequential", **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MetaSequentialModel(config, frames)


def some_batch(num: int = 5, frames: FrameSpec = FRAMES) -> Batch:
    rng = np.random.default_rng(0)
    source, target = (
        torch.from_numpy(rng.integers(0, 256, (num, *frames.shape), np.uint8)) for _ in range(2)
    )
    half = frames.shape[0] // 2
    target[:, :half] = source[:, half:]
    nothing = torch.zeros(num, dtype=torch.int64)
    return Batch(source, target, torch.zeros(num, 4), nothing, torch.ones(num))


def test_the_matrix_is_the_one_that_moves_latents_on() -> None:
    rng = torch.Generator().manual_seed(0)
    start = torch.randn(4, 7, 3, generator=rng, dtype=torch.float64)
    matrix = torch.randn(4, 3, 3, generator=rng, dtype=torch.float64)
    latents = torch.cat([start[:, None], moved(start, matrix, 3)], 1)
    assert latents.shape == (4, 4, 7, 3)
    torch.testing.assert_close(latents[:, 3], start @ matrix @ matrix @ matrix)
    for num in (2, 3, 4):
        torch.testing.assert_close(transition(latents[:, :num]), matrix)
    # Of latents that no matrix moves it is the nearest, over all steps together.
    noisy = latents + 0.3 * torch.randn(latents.shape, generator=rng, dtype=torch.float64)
    for sequence, found in zip(noisy, transition(noisy), strict=True):
        before, after = sequence[:-1].reshape(-1, 3), sequence[1:].reshape(-1, 3)
        torch.testing.assert_close(found, torch.linalg.lstsq(before, after).solution)
        drawn = torch.cat([before, 0.5 * torch.eye(3).double()])
        wanted = torch.linalg.lstsq(drawn, torch.cat([after, torch.zeros(3, 3).double()])).solution
        torch.testing.assert_close(transition(sequence[None], ridge=0.25)[0], wanted)


def test_gradients_go_through_the_solution() -> None:
    rng = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 3, 4, 2, generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(transition, (latents,))
    assert torch.autograd.gradcheck(lambda x: transition(x, 0.3), (latents,))
    flat = torch.ones(1, 2, 4, 2)
    assert not transition(flat).isfinite().all(), "of rank 1"
    assert transition(flat, 1e-3).isfinite().all()
    half = transition(latents.detach().to(torch.bfloat16))
    assert half.dtype == torch.float32


def as_pictures(batch: Batch) -> list[torch.Tensor]:
    """x0, x1 and x2, (N, C, H, W) each on [0, 1]."""
    half = batch.source.shape[1] // 2
    pictures = (batch.source[:, :half], batch.source[:, half:], batch.target[:, half:])
    return [each.float() / 255 for each in pictures]


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("channels", [2, 6])
def test_losses_are_those_of_the_formulas(objective: str, channels: int) -> None:
    frames = FrameSpec((channels, 8, 8), "uint8", (0.0, 255.0), (-1.0, 1.0))
    model, batch = make_model(frames, objective=objective), some_batch(frames=frames)
    x = as_pictures(batch)
    h = [model.encoder(each).view(-1, 6, 3) for each in x]

    def drawn(latent: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(model.decoder(latent.flatten(1)))

    def error(latent: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
        return (drawn(latent) - picture).square().sum((1, 2, 3))

    own = torch.linalg.lstsq(h[0], h[1]).solution
    if model.guess is not None:
        own = 0.01 * model.guess(torch.cat(x[:2], 1)).view(-1, 3, 3)
    predicted = error(h[1] @ own, x[2])
    if objective in ("prediction", "neural"):
        wanted = predicted
    elif objective == "autoencoder":
        wanted = sum(error(*pair) for pair in zip(h, x, strict=True)) / 3
    else:
        every = torch.linalg.lstsq(torch.cat(h[:2], 1), torch.cat(h[1:], 1)).solution
        wanted = (error(h[0] @ every, x[1]) + error(h[0] @ every @ every, x[2])) / 2
    pictures = model.pictures(torch.stack([batch.source, batch.target], 1))
    torch.testing.assert_close(losses_of(model, pictures), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(prediction_losses(model, pictures), predicted, rtol=1e-4, atol=1e-4)
    loss, terms = MetaSequentialObjective(model)(*batch)
    assert terms.tolist() == [loss.item()] == pytest.approx([wanted.mean().item()], rel=1e-4)
    assert loss.requires_grad
    assert not terms.requires_grad
    # Padding does not count, and actions are not read.
    evaluation = MetaSequentialEvaluation(model)
    evaluation.update(batch._replace(action=batch.action + torch.nan))
    evaluation.update(batch._replace(target=batch.target * 0, valid=torch.zeros(5)))
    found = evaluation.metrics(evaluation.sums())
    expected = {"loss/total": wanted.mean().item(), "loss/prediction": predicted.mean().item()}
    assert found == pytest.approx(expected, rel=1e-4)


RELEASED = {
    "neural": (
        8.5539709512673,
        0.0872164793600176,
        0.173024896213863,
        0.303009750688829,
        1.55006714452,
    ),
    "prediction": (15.0965312529, 2.77155318807, 7.221233996767, 6.926079423102, 7.261016853607),
    "reconstruction": (
        12.8925386662,
        3.12228289706,
        6.215064493286,
        4.865158099512,
        6.756322347468,
    ),
}
"""What the authors' code finds: the loss, and norms of the gradients of the first and last weights
of encoder and decoder, in float64."""


def wavy_model(objective: str) -> MetaSequentialModel:
    """Weights that are waves, in float64."""
    model = make_model(objective=objective).double()
    with torch.no_grad():
        for place, weights in enumerate(model.parameters()):
            numbers = torch.arange(weights.numel(), dtype=torch.float64)
            waves = (numbers * (0.7 + 0.1 * place) + place).sin() + (numbers**2 * 0.013).cos()
            weights.copy_(0.3 * waves.view_as(weights))
    return model


def wavy_pictures() -> torch.Tensor:
    """Three pictures of each of 5 sequences."""
    numbers = torch.arange(5 * 3 * 64, dtype=torch.float64)
    return (0.5 + 0.5 * (numbers * 0.37 + (numbers / 64).floor() ** 2).sin()).view(5, 3, 1, 8, 8)


def loss_and_gradients(model: MetaSequentialModel, loss: torch.Tensor) -> list[float]:
    loss.backward()
    ends = [part.weight for part in (model.encoder[0][0], model.encoder[2])]
    ends += [part.weight for part in (model.decoder[0], model.decoder[2][-1])]
    return [loss.item(), *(weights.grad.norm().item() for weights in ends)]


@pytest.mark.parametrize("objective", list(RELEASED))
def test_loss_and_gradients_are_those_of_the_released_code(objective: str) -> None:
    """On the same weights and pictures; see docs/peers.md."""
    model = wavy_model(objective)
    found = loss_and_gradients(model, losses_of(model, wavy_pictures()).mean())
    assert found == pytest.approx(RELEASED[objective], rel=1e-8)


def test_an_episode_has_the_next_of_its_run() -> None:
    actions = np.array([1, 1, 1, 2, 3, 3, 1])
    assert next_of_run(actions[:, None]).tolist() == [1, 2, 0, -1, 5, 4, -1]
    assert next_of_run(np.zeros((4, 2, 3))).tolist() == [1, 2, 3, 0]
    assert next_of_run(np.arange(3)).tolist() == [-1, -1, -1]
    assert next_of_run(np.zeros((1, 2))).tolist() == [-1]
    late = np.zeros((2, 5, 4))
    late[1, 4, 3] = 1
    assert next_of_run(late).tolist() == [-1, -1]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    words = ("num_episodes=24", "dataset.num_val_episodes=6", "dataset.num_test_episodes=7")
    return prepare(
        tmp_path_factory.mktemp("sequences") / "data",
        *("dataset=coloured_digits", "source=sklearn", *words, "dataset.world.num_sharing=3"),
        "dataset.test_episode_length=4",
    )


def subject_of(
    store: PairStore, split: str, batch: int, objective: str = "prediction", **words: object
) -> Subject:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = AutoencoderConfig(width=4)
        config = MetaSequentialConfig("meta_sequential", 8, 4, objective, model=network)
        model = MetaSequentialTask(config, store.manifest, torch.device("cpu")).model.eval()
    run = SimpleNamespace(model=model, group=make_group("so2"), step=0)
    return Subject(Path(), run, store.manifest, store.split(split), split, batch, **words)


@torch.no_grad()
@pytest.mark.parametrize("objective", ["prediction", "neural"])
def test_errors_are_those_of_a_plain_loop(objective: str, store: PairStore) -> None:
    """Seven test episodes of four steps: runs of three, three and one."""
    subject = subject_of(store, "test", 11, objective)
    found, model = measure(subject), subject.run.model
    records = all_records(store, "test")
    source, target = (x.reshape(7, 4, 6, 32, 32) for x in (records.source, records.target))
    errors: dict[str, list[list[float]]] = {n: [] for n in ("own", "neighbour", "black", "copy")}

    def latents_of(episode: int) -> tuple[torch.Tensor, torch.Tensor]:
        given = torch.from_numpy(source[episode, 0]).view(2, 3, 32, 32).float() / 255
        first, second = model.encoder(given).view(2, 8, 4)
        if objective == "neural":
            return second, 0.01 * model.guess(given.view(1, 6, 32, 32)).view(4, 4)
        return second, torch.linalg.lstsq(first, second).solution

    for episode, following in enumerate([1, 2, 0, 4, 5, 3, None]):
        latent, own = latents_of(episode)
        guesses = {"own": own}
        if following is not None:
            guesses["neighbour"] = latents_of(following)[1]
        wanted = torch.from_numpy(target[episode, :, 3:]).float() / 255
        last = torch.from_numpy(source[episode, 0, 3:]).float() / 255
        for name, matrix in guesses.items():
            drawn = [
                model.decoder((latent @ torch.linalg.matrix_power(matrix, k)).view(1, -1)).sigmoid()
                for k in range(1, 5)
            ]
            errors[name].append((torch.cat(drawn) - wanted).square().sum((1, 2, 3)).tolist())
        errors["black"].append(wanted.square().sum((1, 2, 3)).tolist())
        errors["copy"].append((last - wanted).square().sum((1, 2, 3)).tolist())
    for name, rows in errors.items():
        means = np.mean(rows, 0)
        assert found.curves["error_by_step"][name] == pytest.approx(means, rel=1e-3), name
        named = {f"error/{name}{k}": m for k, m in zip(("", "/2", "/3", "/4"), means, strict=True)}
        assert {k: found.metrics[k] for k in named} == pytest.approx(named, rel=1e-3)
    assert len(found.metrics) == 16


def test_without_shared_velocities_there_is_no_neighbour(
    store: PairStore, capsys: pytest.CaptureFixture[str]
) -> None:
    found = measure(subject_of(store, "val", 4))
    assert sorted(found.metrics) == ["error/black", "error/copy", "error/own"]
    said = capsys.readouterr().err
    assert "error/neighbour: no two episodes in a row of split val have the same actions" in said
    assert "error/neighbour" not in measure(subject_of(store, "test", 9, max_records=1)).metrics


def test_a_stop_leaves_no_trace_and_batches_do_not_count(store: PairStore, tmp_path: Path) -> None:
    words = [
        *("experiment=coloured_digits", f"data={store.root}", "epochs=2"),
        *("global_batch=6", "task.num_rows=8", "task.num_columns=4", "compile=false"),
        *("task.model.width=8", "task.model.latent_channels=8", "task.model.max_width=8"),
    ]
    check_resume(words, tmp_path)
    check_evaluation(tmp_path / "whole", (3, 64))
    assert list((tmp_path / "whole/pictures/training").glob("*.png")), "previews"
    done = call("pipeline/evaluate.py", f"run_dir={tmp_path / 'whole'}", "device=cpu")
    assert done.code == 0, done.err
    assert "error/neighbour" in done.out
    assert (tmp_path / "whole/pictures/predictions.png").is_file()
    described = call("pipeline/describe.py", str(tmp_path / "whole"))
    assert "a 4 x 4 matrix, found by least squares" in described.out


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"num_rows": 3, "num_columns": 4}, "num_rows=3 must be at least num_columns=4"),
        ({"model": ResidualConfig("residual", vector_size=9)}, "model.vector_size.*allowed: null"),
        ({"ridge": -1.0}, "ridge"),
        ({"ridge": 0.1, "objective": "neural"}, "ridge=0.1 has no effect with objective=neural"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        MetaSequentialConfig("meta_sequential", **settings)
    MetaSequentialConfig("meta_sequential", num_rows=3, num_columns=4, ridge=0.1)


def test_frames_must_stack_two_pictures(tmp_path: Path) -> None:
    config = MetaSequentialConfig("meta_sequential")
    episodes = ("num_episodes=2", "episode_length=2", "dataset.num_test_episodes=1")
    for words, holds in (
        (("dataset=rotated_digits", "num_samples=12"), r"orbits with frames of \(1, 16, 16\)"),
        (("dataset=shapes_2d", *episodes), r"episodes with frames of \(3, 50, 50\)"),
    ):
        store = prepare(tmp_path / words[0], *words)
        with pytest.raises(ValueError, match=rf"stack two pictures.*{holds}; dataset=coloured"):
            METHOD.make(config, store.manifest, torch.device("cpu"))
