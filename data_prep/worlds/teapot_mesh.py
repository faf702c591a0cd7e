"""The object that turns: from an OBJ file, or as a manifest holds it."""

from dataclasses import dataclass, field
from pathlib import Path

from data_prep.reading.obj_file import read_obj
from data_prep.rendering import make_mesh
from data_prep.rendering.packing import pack_mesh
from data_prep.settings.sources import MeshSourceConfig, NoSourceConfig, SourceConfig
from pipeline.files.atomic import sha256_of_file


@dataclass(frozen=True)
class PackedMesh:
    """A mesh as text (see `data_prep.rendering.packing`), and sha256 of its file by name."""

    text: str
    checksums: dict[str, str] = field(default_factory=dict)


def read_source(source: SourceConfig) -> PackedMesh | None:
    """The mesh of a source; None, for the generated pot, without one.

    Raises FileNotFoundError if there is no such file, ValueError naming it if it cannot be used.
    """
    if isinstance(source, NoSourceConfig):
        return None
    if not isinstance(source, MeshSourceConfig):
        raise ValueError(f"source={source.name} has no effect: teapot turns one mesh, source=mesh")
    if source.root is None:
        raise ValueError("give source.root=FILE.obj, the object to turn")
    path = Path(source.root)
    if not path.is_file():
        raise FileNotFoundError(f"source.root={path}: there is no such file")
    vertices, faces = read_obj(path)
    try:
        make_mesh(vertices, faces)
        text = pack_mesh(vertices, faces)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return PackedMesh(text, {path.name: sha256_of_file(path)})
