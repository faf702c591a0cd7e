"""Pictures of a world model as files, and whole turns of an object.

Latents that are rotations are drawn as three axes: red, green and blue are the images of x, y and
z, seen like frames (x to the right, y up), lighter if they point away. The paper's figure shows
inputs and encoded frames; this one also shows rollouts from the first pose.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from orbit.core.pictures import as_picture, save_figure
from orbit.core.store.facts import Solid, StateAngles
from orbit.core.store.manifest import Manifest
from pipeline.data.packing import slices
from pipeline.measuring import label_row, new_figure, show
from pipeline.methods.latent_action.pictures.elements import unit_range
from pipeline.methods.world_model.measures.encoding import (
    Episodes,
    encode_latents,
    roll_out,
    trajectory_frames,
)
from pipeline.methods.world_model.measures.turning import AXES, traverse
from pipeline.methods.world_model.pictures.latents import (
    FibreStates,
    fibre_copies,
    fibre_places,
    principal_copies,
    write_irreps,
    write_latent_grid,
)
from pipeline.methods.world_model.pictures.rollouts import (
    Show,
    decoded_orbits,
    true_frames,
    visible,
    write_decoded_orbits,
    write_rollouts,
)
from pipeline.world_models.world_model import WorldModel


def state_angles(manifest: Manifest) -> StateAngles | None:
    """The angles of a dataset's states; None if its world declares none."""
    return manifest.facts.angles if "state" in manifest.columns else None


COLOURS = ("#d1372c", "#2f9e44", "#2f6fd0")
NUM_COLUMNS = 10


class Traversal(NamedTuple):
    """A turn about one axis: frames (K, C, H, W) on [0, 1], encoded latents and rollouts from
    the first, (K, 3, 3) each, and whether each of them is a hit, (K,) bool."""

    name: str
    frames: np.ndarray
    encoded: np.ndarray
    predicted: np.ndarray
    hits: np.ndarray


def write_traversal(path: Path, traversals: Sequence[Traversal], title: str) -> None:
    """Write three rows for each traversal, as a PNG; rollouts that miss have a grey background."""
    figure, axes = new_figure(
        3 * len(traversals), NUM_COLUMNS, (0.95 * NUM_COLUMNS + 1.1, 2.9 * len(traversals)), title
    )
    for number, each in enumerate(traversals):
        shown = np.linspace(0, len(each.frames) - 1, NUM_COLUMNS).round().astype(int)
        rows = axes[3 * number : 3 * number + 3]
        for column, step in enumerate(shown):
            show(rows[0, column], as_picture(each.frames[step]))
            rows[0, column].set_title(f"step {step}", fontsize=7, pad=2)
            draw_axes(rows[1, column], each.encoded[step])
            draw_axes(rows[2, column], each.predicted[step], is_faulty=not each.hits[step])
        for row, label in zip(rows, (each.name, "encoded", "rollout"), strict=True):
            label_row(row, label)
    save_figure(figure, path)


def draw_axes(axis: Any, matrix: np.ndarray, is_faulty: bool = False) -> None:
    """Draw the columns of a matrix (3, 3) as arrows, those that point to the viewer on top."""
    for index in np.argsort(matrix[2]):
        x, y, z = matrix[:, index]
        colour = np.array([int(COLOURS[index][k : k + 2], 16) / 255 for k in (1, 3, 5)])
        shade = 0.55 * np.clip(-z, 0, 1)
        axis.annotate(
            "",
            (x, y),
            (0, 0),
            arrowprops={
                "arrowstyle": "-|>",
                "color": colour + (1 - colour) * shade,
                "linewidth": 1.8,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
    axis.set_xlim(-1.15, 1.15)
    axis.set_ylim(-1.15, 1.15)
    axis.set_aspect("equal")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_facecolor("#e4e4e4" if is_faulty else "white")
    axis.spines[:].set_color("#bbbbbb")


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
    """decoded_orbit.png: rho(g) z of a few states under the elements of their rotated copies.

    Returns whether there are rotated copies and an action on latents; otherwise nothing is drawn.
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
    places: Sequence[tuple[int, int]] | None,
    batch: int,
    device: torch.device,
    title: str,
) -> bool:
    """latent_grid.png, for objects on cells; returns whether the world has them.

    `places` are, for each object, the positions of its row and column in a state.
    """
    if places is None or len(places) != model.num_objects:
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
    cells = states[..., np.array(places)].reshape(num * episodes.length, -1, 2).astype(int)
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
    num = max(1, NUM_FIELD_STATES // episodes.num_copies // (episodes.length + 1))
    numbers = np.arange(min(episodes.num_episodes, num))
    # Copy by copy, and in each episode by episode.
    latents = torch.cat(
        [
            _trajectory_latents(model, episodes, numbers, copy, batch, device)
            for copy in range(episodes.num_copies)
        ]
    )
    every, first = latents.flatten(0, 1), latents[0]
    degrees = None
    if angles is not None:
        states = [_trajectory_states(episodes, numbers, t) for t in range(episodes.num_copies)]
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
    copy: int,
    batch: int,
    device: torch.device,
) -> torch.Tensor:
    """Latents (N, T + 1, ...) of whole trajectories, on the host."""
    frames = trajectory_frames(episodes, numbers, copy, batch)
    latents = encode_latents(model, frames, batch, device).cpu()
    return latents.view(len(numbers), episodes.length + 1, *latents.shape[1:])


def _trajectory_states(episodes: Episodes, numbers: np.ndarray, copy: int) -> np.ndarray:
    """States of whole trajectories one after another, (N (T + 1), S)."""
    before = episodes.column("state", numbers, copy, episodes.length)
    after = episodes.column("next_state", numbers, copy, episodes.length)
    states = np.concatenate([before, after[:, -1:]], 1)
    return states.reshape(-1, states.shape[-1])


def draw_traversals(
    path: Path,
    model: WorldModel,
    episodes: Episodes,
    solid: Solid,
    batch: int,
    device: torch.device,
    title: str,
) -> bool:
    """traversal.png, for latents that are rotations; returns whether they are."""
    rows = []
    for name in AXES:
        turns = traverse(model, episodes, solid, name, 1, batch, device)
        if turns.encoded.shape[2:] != (3, 3):
            return False
        frames = visible(unit_range(turns.frames[0], episodes.reader.frames))
        encoded, predicted = (x[0].cpu().numpy() for x in (turns.encoded, turns.predicted))
        hits = np.concatenate([[True], turns.hits[0].cpu().numpy()])
        rows.append(Traversal(name, frames, encoded, predicted, hits))
    write_traversal(path, rows, title)
    return True


def _spread(num_episodes: int) -> np.ndarray:
    """A few of the first episodes, evenly spread."""
    num = min(NUM_EPISODES, num_episodes)
    return np.arange(num) * (num_episodes // num)
