"""A mesh as text, so that a manifest can hold it: datasets are drawn again without its file."""

import base64
import zlib

import numpy as np

from data_prep.rendering.meshes import Mesh, make_mesh

MAX_FACES = 50_000
"""A tenth of that already makes a manifest of 100 kB."""


def pack_mesh(vertices: np.ndarray, faces: np.ndarray) -> str:
    """Vertices (V, 3) and triangles (F, 3) as NUM_VERTICES:NUM_FACES:DATA.

    DATA are the vertices that triangles have, in float32, then the triangles in int32,
    compressed, in base64. Raises ValueError for more than `MAX_FACES` triangles.
    """
    if len(faces) > MAX_FACES:
        raise ValueError(f"the mesh has {len(faces):,} triangles; up to {MAX_FACES:,} are allowed")
    used, corners = np.unique(faces, return_inverse=True)
    data = vertices[used].astype("<f4").tobytes() + corners.astype("<i4").tobytes()
    text = base64.b64encode(zlib.compress(data, 9)).decode("ascii")
    return f"{len(used)}:{len(faces)}:{text}"


def unpack_mesh(text: str) -> Mesh:
    """The mesh of a packed text; ValueError if it is none."""
    try:
        num_vertices, num_faces, data = text.split(":")
        size = 12 * (int(num_vertices) + int(num_faces))
        values = zlib.decompressobj().decompress(base64.b64decode(data, validate=True), size)
        vertices = np.frombuffer(values, "<f4", 3 * int(num_vertices)).reshape(-1, 3)
        faces = np.frombuffer(values, "<i4", offset=vertices.nbytes).reshape(-1, 3)
        if len(faces) != int(num_faces) or not 0 <= faces.min() <= faces.max() < len(vertices):
            raise ValueError
    except (ValueError, zlib.error):
        raise ValueError("settings.mesh of the manifest is no packed mesh") from None
    return make_mesh(vertices, faces)
