"""One OBJ file as a closed surface."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.reading.extras import import_extra
from data_prep.reading.obj_file import NotFiniteError, read_obj


class OpenMeshError(ValueError):
    """A mesh that could be read, but does not enclose a volume."""


class Surface(NamedTuple):
    """Corners (v, 3) float64 and triangles (f, 3) int64 oriented outwards."""

    vertices: np.ndarray
    faces: np.ndarray


def read_closed_mesh(path: Path) -> Surface:
    """The triangles of an OBJ file, its bodies together, corners at one place made one.

    Raises what `read_obj` raises, and OpenMeshError naming the file if it does not enclose a
    volume: if edges are open, faces oriented in different ways, or corners not finite.
    """
    trimesh = import_extra("trimesh", "meshes", "meshes")
    try:
        mesh = trimesh.Trimesh(*read_obj(path), process=False)
    except NotFiniteError as error:
        raise OpenMeshError(str(error)) from None
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    if not mesh.is_watertight:
        raise OpenMeshError(f"{path} is not closed: some edges do not join two faces")
    if not mesh.is_winding_consistent:
        raise OpenMeshError(f"{path} is not closed consistently: its faces are not oriented alike")
    used, faces = np.unique(mesh.faces, return_inverse=True)
    return Surface(
        np.asarray(mesh.vertices, np.float64)[used], faces.reshape(-1, 3).astype(np.int64)
    )
