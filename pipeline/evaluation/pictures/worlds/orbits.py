"""Decoded latents under all elements beside the truth: decoded_orbit.png (paper, decoders)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipeline.analysis.worlds.acting import acted
from pipeline.analysis.worlds.encoding import encode_latents
from pipeline.analysis.worlds.episodes import Episodes
from pipeline.analysis.worlds.face import WorldModel
from pipeline.evaluation.pictures.grid import Row, picture_grid
from pipeline.evaluation.pictures.worlds.showing import Show, true_frames
from pipeline.files.figures import save_figure

MAX_ELEMENTS = 8


@dataclass(frozen=True)
class DecodedOrbits:
    """First states s of N episodes under K elements of these `names`: the twins' frames `truth`,
    of g s, and `decoded`, of rho(g) z for the latent z of s, (N, K, C, H, W) each on [0, 1]."""

    names: list[list[str]]
    truth: np.ndarray
    decoded: np.ndarray


def decoded_orbits(
    model: WorldModel, episodes: Episodes, numbers: np.ndarray, show: Show, device: torch.device
) -> DecodedOrbits | None:
    """Under the elements of the twins, the identity first; None without twins, or without an
    action on latents."""
    twins = range(min(episodes.num_twins, MAX_ELEMENTS))
    latents = encode_latents(model, [episodes.frames(numbers, 0, [0])[:, 0]], 1, device)
    elements = [episodes.elements(numbers, twin) for twin in twins]
    moved = [acted(model.act_on_latent, latents, g) for g in elements]
    found = [each for each in moved if each is not None]
    if len(twins) < 2 or not found:
        return None
    truth = [true_frames(episodes, numbers, twin, [0])[:, 0] for twin in twins]
    names = [
        [model.group.names(g[row : row + 1])[0] for g in elements] for row in range(len(numbers))
    ]
    return DecodedOrbits(names, np.stack(truth, 1), show.latents(torch.stack(found, 1)))


def write_decoded_orbits(path: Path, orbits: DecodedOrbits, how: str, title: str) -> None:
    """Two rows a state, truth and what was decoded, as a PNG; `how` names the second."""
    rows: list[Row] = []
    for number, (true, shown) in enumerate(zip(orbits.truth, orbits.decoded, strict=True)):
        # Elements of a continuous group are drawn for each state.
        names = orbits.names[number]
        is_news = number == 0 or names != orbits.names[0]
        captions = [f"g: {name}" for name in names] if is_news else []
        rows += [("frame of g s", true, captions), (how, shown, [])]
    save_figure(picture_grid(rows, title), path)
