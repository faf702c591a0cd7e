"""How well a sequence's M predicts its own further pictures, and those of another sequence.

From the first two pictures of an episode follow H_1 and M; D(H_1 M^k) is compared with the picture
k steps on. Where episodes in a row have the same actions, the M of the next one is tried too: if M
is how the group element acts, and not what this picture shows, it does as well (the equivariance
error of Miyato, Koyama, Fukumizu, Section 5).
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from orbit.core.pictures import save_figure
from orbit.core.printing import say
from orbit.core.store.reader import Records
from pipeline.data.packing import slices
from pipeline.measuring import Findings, Row, Subject, device_of, picture_grid
from pipeline.methods.meta_sequential.task import MetaSequentialModel, moved, squared_errors
from pipeline.methods.world_model.measures.encoding import Episodes, read_episodes

DEFAULT_EPISODES = 10_000
NUM_DRAWN = 3


class Sequences(NamedTuple):
    """Of E episodes: H_1 (E, a, m) and M (E, m, m), on the model's device."""

    latents: torch.Tensor
    matrices: torch.Tensor


def next_of_run(actions: np.ndarray) -> np.ndarray:
    """For each episode the next one of its run of episodes with the same actions, (E,) int64.

    The last one of a run has its first; -1 for an episode alone. `actions` (E, ...).
    """
    rows = actions.reshape(len(actions), -1)
    first = np.flatnonzero(np.append(True, (rows[1:] != rows[:-1]).any(1))[: len(rows)])
    following = np.arange(1, len(rows) + 1)
    for start, end in zip(first, np.append(first[1:], len(rows)), strict=True):
        following[end - 1] = start if end - start > 1 else -1
    return following


def following_of(episodes: Episodes) -> np.ndarray:
    """`next_of_run` of episodes by their actions."""
    numbers = np.arange(episodes.num_episodes)
    return next_of_run(episodes.column("action", numbers, 0, episodes.length))


def pictures_of(
    model: MetaSequentialModel, episodes: Episodes, numbers: np.ndarray, num_frames: int
) -> torch.Tensor:
    """The first pictures (N, num_frames + 1, C, H, W) of episodes, on [0, 1]."""
    frames = episodes.frames(numbers, 0, range(num_frames))
    return model.pictures(torch.from_numpy(frames).to(device_of(model)))


def sequences_of(model: MetaSequentialModel, episodes: Episodes, batch: int) -> Sequences:
    """Latents and transitions of all episodes, `batch` at a time."""
    found: list[Sequences] = []
    for numbers in episodes.blocks(batch):
        pictures = pictures_of(model, episodes, numbers, 1)
        latents = model.encode(pictures).float()
        found.append(Sequences(latents[:, 1], model.transition(pictures, latents)))
    return Sequences(*(torch.cat(parts) for parts in zip(*found, strict=True)))


@torch.no_grad()
def measure(subject: Subject) -> Findings:
    """`error/...` after each number of steps; see the module."""
    model, episodes = _model(subject), _episodes(subject)
    batch = max(1, subject.batch // (episodes.length + 1))
    found = sequences_of(model, episodes, batch)
    numbers, following = np.arange(episodes.num_episodes), following_of(episodes)
    empty = torch.zeros(len(numbers), episodes.length).double()
    errors = {name: empty.clone() for name in ("own", "neighbour", "black", "copy")}
    for part in slices(len(numbers), batch):
        every = pictures_of(model, episodes, numbers[part], episodes.length + 1)
        wanted, last = every[:, 2:], every[:, 1:2].expand_as(every[:, 2:])
        latents = found.latents[part]
        guesses = {"black": torch.zeros_like(wanted), "copy": last}
        for name, of in (("own", numbers), ("neighbour", following)):
            further = moved(latents, found.matrices[of[part]], episodes.length)
            guesses[name] = model.decode(further)
        for name, guess in guesses.items():
            errors[name][part] = squared_errors(guess, wanted).double().cpu()
    errors["neighbour"] = errors["neighbour"][following >= 0]
    if not len(errors["neighbour"]):
        del errors["neighbour"]
        reason = f"no two episodes in a row of split {subject.split} have the same actions"
        say(f"not measured: error/neighbour: {reason}", error=True)
    means = {name: values.mean(0).tolist() for name, values in errors.items()}
    metrics = {f"error/{name}": values[0] for name, values in means.items()}
    for name, values in means.items():
        metrics |= {f"error/{name}/{k}": x for k, x in enumerate(values[1:], start=2)}
    return Findings(metrics, {"error_by_step": means})


@torch.no_grad()
def draw(subject: Subject) -> None:
    """pictures/predictions.png: some episodes, predicted with their own M and the next one's."""
    model, episodes = _model(subject), _episodes(subject)
    following, num = following_of(episodes), min(episodes.num_episodes, NUM_DRAWN)
    rows: list[Row] = []
    for episode in range(0, num * (episodes.num_episodes // num), episodes.num_episodes // num):
        every = pictures_of(model, episodes, np.array([episode]), episodes.length + 1)
        latent = model.encode(every[:, 1:2]).float()[:, 0]
        captions = [f"x{t}" for t in range(every.shape[1])] if not rows else []
        rows.append((f"episode {episode}", every[0].cpu().numpy(), captions))
        for label, of in (("own M", episode), ("M of the next", following[episode])):
            if of >= 0:
                given = pictures_of(model, episodes, np.array([of]), 1)
                matrix = model.transition(given, model.encode(given).float())
                further = moved(latent, matrix, episodes.length)
                shown = torch.cat([every[:, :2], model.decode(further).float()], 1)
                rows.append((label, shown[0].cpu().numpy(), []))
    title = f"Predictions from x0 and x1, {subject.split}, step {subject.run.step}"
    (subject.run_dir / "pictures").mkdir(exist_ok=True)
    save_figure(picture_grid(rows, title), subject.run_dir / "pictures/predictions.png")


@torch.no_grad()
def preview_rows(model: nn.Module, records: Records) -> dict[str, np.ndarray]:
    """The pictures of records and the predicted third one, (N, C, H, W) each on [0, 1]."""
    assert isinstance(model, MetaSequentialModel)
    frames = np.stack([records.source, records.target], 1)
    pictures = model.pictures(torch.from_numpy(frames).to(device_of(model)))
    latents = model.encode(pictures[:, :2])
    predicted = model.decode(moved(latents[:, 1], model.transition(pictures[:, :2], latents), 1))
    shown = {f"x{t}": pictures[:, t] for t in range(3)} | {"predicted": predicted[:, 0]}
    return {name: each.float().cpu().numpy() for name, each in shown.items()}


def _model(subject: Subject) -> MetaSequentialModel:
    assert isinstance(subject.run.model, MetaSequentialModel)
    return subject.run.model


def _episodes(subject: Subject) -> Episodes:
    most = subject.max_records or DEFAULT_EPISODES
    return read_episodes(subject.manifest, subject.reader, subject.split, subject.run.group, most)
