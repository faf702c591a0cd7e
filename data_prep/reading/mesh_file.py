"""One OBJ file as a closed surface."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.reading.extras import import_extra


class Surface(NamedTuple):
    """Corners (v, 3) float64 and triangles (f, 3) int64 oriented outwards."""

    vertices: np.ndarray
    faces: np.ndarray


def read_closed_mesh(path: Path) -> Surface:
    """The triangles of an OBJ file, its bodies together, corners at one place made one.

    Raises ValueError naming the file if it cannot be read or does not enclose a volume.
    """
    trimesh = import_extra("trimesh", "meshes", "meshes")
    try:
        mesh = trimesh.load(path, file_type="obj", force="mesh", process=False, skip_materials=True)
        mesh.merge_vertices(merge_tex=True, merge_norm=True)
    except Exception as error:  # whatever its parser stumbles over is the file's fault
        cause = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is not a readable OBJ mesh: {cause}") from None
    vertices = np.asarray(mesh.vertices, np.float64)
    faces = np.asarray(mesh.faces, np.int64)
    if not len(faces):
        raise ValueError(f"{path} is not a readable OBJ mesh: it has no faces")
    if not np.isfinite(vertices).all():
        raise ValueError(f"{path} holds coordinates that are not finite")
    if not mesh.is_watertight:
        raise ValueError(f"{path} is not closed: some edges do not join two faces")
    if not mesh.is_winding_consistent:
        raise ValueError(f"{path} is not closed consistently: its faces are not oriented alike")
    used, faces = np.unique(faces, return_inverse=True)
    return Surface(vertices[used], faces.reshape(-1, 3))
