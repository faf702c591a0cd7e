"""All pictures of world models that a dataset and a model allow."""

from pathlib import Path

import numpy as np
import torch

from pipeline.analysis.worlds.acting import acted
from pipeline.analysis.worlds.encoding import encode_frames, roll_out
from pipeline.analysis.worlds.episodes import Episodes
from pipeline.analysis.worlds.turning import AXES, Drawing, traverse
from pipeline.evaluation.pictures.prediction import unit_range
from pipeline.evaluation.pictures.worlds.irreps import principal_copies, write_irreps
from pipeline.evaluation.pictures.worlds.latent_fields import field_copies, latent_field
from pipeline.evaluation.pictures.worlds.latent_grid import write_latent_grid
from pipeline.evaluation.pictures.worlds.orbits import write_decoded_orbits
from pipeline.evaluation.pictures.worlds.rollouts import write_rollouts
from pipeline.evaluation.pictures.worlds.showing import Show, true_frames, visible
from pipeline.evaluation.pictures.worlds.traversal import Traversal, write_traversal
from pipeline.world_models.world_model import WorldModel

NUM_EPISODES = 3
SHOWN_STEPS = (0, 1, 2, 3, 5, 7, 10)
NUM_GRID_STATES = 3000
NUM_FIELD_EPISODES = 300
MAX_ELEMENTS = 8


def draw_rollouts(
    path: Path, model: WorldModel, episodes: Episodes, show: Show, device: torch.device, title: str
) -> None:
    """rollouts.png: a few episodes."""
    numbers = _spread(show.num_episodes)
    times = [step for step in SHOWN_STEPS if step <= episodes.length]
    _, latents = encode_frames(model, episodes.frames(numbers, 0, [0]), len(numbers), device)
    actions = episodes.actions(numbers, 0, times[-1])
    predicted = roll_out(model, latents[:, 0], actions, times)
    truth = true_frames(episodes, numbers, 0, times)
    write_rollouts(path, times, truth, show.latents(predicted), show.how, title)


def draw_orbits(
    path: Path, model: WorldModel, episodes: Episodes, show: Show, device: torch.device, title: str
) -> bool:
    """decoded_orbit.png: rho(g) z of a few states under the elements of their twins.

    Returns whether there are twins and an action on latents, without which nothing is drawn.
    """
    numbers, twins = _spread(show.num_episodes), range(min(episodes.num_twins, MAX_ELEMENTS))
    _, latents = encode_frames(model, episodes.frames(numbers, 0, [0]), len(numbers), device)
    elements = [episodes.elements(numbers, twin) for twin in twins]
    moved = [acted(model.act_on_latent, latents[:, 0], g) for g in elements]
    found = [each for each in moved if each is not None]
    if len(twins) < 2 or not found:
        return False
    truth = [true_frames(episodes, numbers, twin, [0])[:, 0] for twin in twins]
    names = [
        [model.group.names(g[row : row + 1])[0] for g in elements] for row in range(len(numbers))
    ]
    decoded = show.latents(torch.stack(found, 1))
    write_decoded_orbits(path, names, np.stack(truth, 1), decoded, show.how, title)
    return True


def draw_latent_grid(
    path: Path,
    model: WorldModel,
    episodes: Episodes,
    batch: int,
    device: torch.device,
    title: str,
) -> bool:
    """latent_grid.png, for objects on cells; returns whether this is such a world."""
    if model.num_objects == 1:
        return False
    num = min(episodes.num_episodes, -(-NUM_GRID_STATES // episodes.length))
    numbers, times = np.arange(num), range(episodes.length)
    latents = []
    for chosen in np.array_split(numbers, -(-num * episodes.length // batch)):
        if len(chosen):
            frames = episodes.frames(chosen, 0, times)
            latents.append(encode_frames(model, frames, batch, device)[1].flatten(0, 1).cpu())
    states = episodes.column("state", numbers, 0, episodes.length)
    # Row and column come first among what a state knows of an object; what else it knows is last.
    of_objects = states[..., : states.shape[-1] // model.num_objects * model.num_objects]
    cells = of_objects.reshape(num * episodes.length, model.num_objects, -1)[..., :2].astype(int)
    write_latent_grid(path, torch.cat(latents).numpy(), cells, title)
    return True


def draw_irreps(
    path: Path,
    model: WorldModel,
    episodes: Episodes,
    batch: int,
    device: torch.device,
    title: str,
) -> bool:
    """irreps.png, for latents that are fields over the elements of d4; returns whether they are."""
    numbers = np.arange(min(episodes.num_episodes, NUM_FIELD_EPISODES))
    times = range(episodes.length + 1)
    latents = []
    for first in range(0, len(numbers), max(1, batch // len(times))):
        chosen = numbers[first : first + max(1, batch // len(times))]
        frames = episodes.frames(chosen, 0, times)
        latents.append(encode_frames(model, frames, batch, device)[1].cpu())
    states = torch.cat(latents)
    field = latent_field(states.flatten(0, 1), model.group)
    copies = None if field is None else field_copies(model, states.shape[2:], field, device)
    if field is None or copies is None:
        return False
    values = states[:, :, field].double().numpy()
    every = values.reshape(-1, values.shape[-1])
    write_irreps(path, principal_copies(copies, every), every, values[0], f"Field {field}, {title}")
    return True


def draw_traversals(
    path: Path,
    model: WorldModel,
    episodes: Episodes,
    world: Drawing,
    batch: int,
    device: torch.device,
    title: str,
) -> bool:
    """traversal.png, for latents that are rotations; returns whether they are."""
    rows = []
    for name in AXES:
        turns = traverse(model, episodes, world, name, 1, batch, device)
        if turns.encoded.shape[2:] != (3, 3):
            return False
        frames = visible(unit_range(turns.frames[0], episodes.reader.frames))
        encoded, predicted = (x[0].cpu().numpy() for x in (turns.encoded, turns.predicted))
        hits = np.concatenate([[True], turns.hits[0].cpu().numpy()])
        rows.append(Traversal(name, frames, encoded, predicted, hits))
    write_traversal(path, rows, title)
    return True


def _spread(num_episodes: int) -> np.ndarray:
    """A few of the first episodes, far apart."""
    num = min(NUM_EPISODES, num_episodes)
    return np.arange(num) * (num_episodes // num)
