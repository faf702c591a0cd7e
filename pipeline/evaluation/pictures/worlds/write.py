"""All pictures of world models that a dataset and a model allow."""

from pathlib import Path

import numpy as np
import torch

from pipeline.analysis.worlds.encoding import encode_latents, roll_out
from pipeline.analysis.worlds.episodes import Episodes, trajectory_frames
from pipeline.analysis.worlds.turning import AXES, Drawing, traverse
from pipeline.data.places import slices
from pipeline.evaluation.pictures.prediction import unit_range
from pipeline.evaluation.pictures.worlds.irreps import (
    FibreStates,
    principal_copies,
    write_irreps,
)
from pipeline.evaluation.pictures.worlds.latent_fields import fibre_copies, fibre_places
from pipeline.evaluation.pictures.worlds.latent_grid import write_latent_grid
from pipeline.evaluation.pictures.worlds.orbits import decoded_orbits, write_decoded_orbits
from pipeline.evaluation.pictures.worlds.rollouts import write_rollouts
from pipeline.evaluation.pictures.worlds.showing import Show, true_frames, visible
from pipeline.evaluation.pictures.worlds.state_angles import StateAngles
from pipeline.evaluation.pictures.worlds.traversal import Traversal, write_traversal
from pipeline.world_models.world_model import WorldModel

NUM_EPISODES = 3
SHOWN_STEPS = (0, 1, 2, 3, 5, 7, 10)
NUM_GRID_STATES = 3000
NUM_FIELD_STATES = 3300


def draw_rollouts(
    path: Path, model: WorldModel, episodes: Episodes, show: Show, device: torch.device, title: str
) -> None:
    """rollouts.png: a few episodes."""
    numbers = _spread(show.num_episodes)
    times = [step for step in SHOWN_STEPS if step <= episodes.length]
    latents = encode_latents(model, [episodes.frames(numbers, 0, [0])[:, 0]], 1, device)
    actions = episodes.actions(numbers, 0, times[-1])
    predicted = roll_out(model, latents, actions, times)
    truth = true_frames(episodes, numbers, 0, times)
    write_rollouts(path, times, truth, show.latents(predicted), show.how, title)


def draw_orbits(
    path: Path, model: WorldModel, episodes: Episodes, show: Show, device: torch.device, title: str
) -> bool:
    """decoded_orbit.png: rho(g) z of a few states under the elements of their twins.

    Returns whether there are twins and an action on latents, without which nothing is drawn.
    """
    numbers = _spread(show.num_episodes)
    orbits = decoded_orbits(model, episodes, numbers, show, device)
    if orbits is not None:
        write_decoded_orbits(path, orbits, f"{show.how}\nrho(g) z", title)
    return orbits is not None


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
    frames = (
        episodes.frames(np.array([number]), 0, times[part])[0]
        for number in numbers
        for part in slices(len(times), batch)
    )
    latents = encode_latents(model, frames, batch, device).cpu()
    states = episodes.column("state", numbers, 0, episodes.length)
    # Row and column come first among what a state knows of an object; what else it knows is last.
    of_objects = states[..., : states.shape[-1] // model.num_objects * model.num_objects]
    cells = of_objects.reshape(num * episodes.length, model.num_objects, -1)[..., :2].astype(int)
    write_latent_grid(path, latents.numpy(), cells, title)
    return True


def draw_irreps(
    path: Path,
    model: WorldModel,
    episodes: Episodes,
    angles: StateAngles | None,
    batch: int,
    device: torch.device,
    title: str,
) -> bool:
    """irreps.png, for latents that are regular fibres of d4 or c4; returns whether they are."""
    num = max(1, NUM_FIELD_STATES // episodes.num_twins // (episodes.length + 1))
    numbers = np.arange(min(episodes.num_episodes, num))
    # Twin by twin, of each episode by episode.
    latents = torch.cat(
        [
            _trajectory_latents(model, episodes, numbers, twin, batch, device)
            for twin in range(episodes.num_twins)
        ]
    )
    every, first = latents.flatten(0, 1), latents[0]
    degrees = None
    if angles is not None:
        states = [_trajectory_states(episodes, numbers, t) for t in range(episodes.num_twins)]
        degrees = angles.of(np.concatenate(states))
    fibres = []
    for number, place in enumerate(fibre_places(every, model.group, model.num_objects)):
        copies = fibre_copies(model, latents.shape[2:], place, device)
        if copies is None:
            return False
        values, some = (x[(slice(None), *place)].double().numpy() for x in (every, first))
        own = None if degrees is None else degrees[:, number]
        fibres.append(
            FibreStates(
                f"object {number}" if model.num_objects > 1 else "",
                principal_copies(copies, values),
                values,
                some,
                own,
                None if own is None else own[: len(some)],
            )
        )
    if fibres:
        write_irreps(path, fibres, "" if angles is None else angles.what, title)
    return bool(fibres)


def _trajectory_latents(
    model: WorldModel,
    episodes: Episodes,
    numbers: np.ndarray,
    twin: int,
    batch: int,
    device: torch.device,
) -> torch.Tensor:
    """Latents (N, T + 1, ...) of whole trajectories, on the host."""
    frames = trajectory_frames(episodes, numbers, twin, batch)
    latents = encode_latents(model, frames, batch, device).cpu()
    return latents.view(len(numbers), episodes.length + 1, *latents.shape[1:])


def _trajectory_states(episodes: Episodes, numbers: np.ndarray, twin: int) -> np.ndarray:
    """States of whole trajectories one after another, (N (T + 1), S)."""
    before = episodes.column("state", numbers, twin, episodes.length)
    after = episodes.column("next_state", numbers, twin, episodes.length)
    states = np.concatenate([before, after[:, -1:]], 1)
    return states.reshape(-1, states.shape[-1])


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
