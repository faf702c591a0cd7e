"""Grey pictures of a mesh on black: as `render`, but nothing is computed that they do not show."""

import numpy as np

from data_prep.rendering.meshes import Mesh
from data_prep.rendering.rasteriser import find_samples, views_at_once


def render_grey(
    mesh: Mesh,
    rotations: np.ndarray,
    size: int,
    is_closed: bool = False,
    supersampling: int = 2,
) -> np.ndarray:
    """Pictures (N, 1, size, size) uint8 under rotation matrices (N, 3, 3), faces in the grey of
    their mean colour.

    Surfaces that are closed (see `meshes.is_closed`) are drawn faster if they are known to be.
    """
    fine = size * supersampling
    grey = mesh.colours.mean(1) * np.float32(255 / supersampling**2)
    pictures = np.empty((len(rotations), 1, size, size), np.uint8)
    step = views_at_once(mesh, fine)
    for first in range(0, len(rotations), step):
        turns = rotations[first : first + step].astype(np.float32)
        seen = find_samples(mesh, turns, fine, is_smooth=True, is_one_sided=is_closed)
        layer = np.zeros(len(turns) * fine * fine, np.float32)
        layer[seen.place] = np.take(grey, seen.face) * seen.brightness
        samples = layer.reshape(len(turns), size, supersampling, size, supersampling)
        total = np.zeros((len(turns), size, size), np.float32)
        for row in range(supersampling):
            for column in range(supersampling):
                total += samples[:, :, row, :, column]
        pictures[first : first + step, 0] = np.rint(total)
    return pictures
