"""Protects the one reader of OBJ files: every way to write a mesh gives it, faults name their line.

All that reads meshes goes through it, so a file that one source takes no other refuses.
"""

from pathlib import Path

import numpy as np
import pytest

from data_prep.settings.sources import MeshSourceConfig, RenderSourceConfig
from data_prep.sources.rendered import RenderedSource
from data_prep.worlds.teapot import read_source
from orbit.core.reading.meshes import read_closed_mesh, read_obj

CORNERS = [(0, 0, 0), (3, 0, 0), (0, 2, 0), (0, 0, 1)]
FACES = [(1, 3, 2), (1, 2, 4), (2, 3, 4), (3, 1, 4)]
V = [f"v {x} {y} {z}" for x, y, z in CORNERS]
F = ["f " + " ".join(map(str, face)) for face in FACES]
PLAIN = "\n".join([*V, *F])


def interleaved() -> str:
    """Each face behind four corners of its own, counted back from there."""
    backwards = ["f " + " ".join(str(index - 5) for index in face) for face in FACES]
    return "\n".join(line for face in backwards for line in (*V, face))


WAYS: dict[str, bytes] = {
    "plain": PLAIN.encode(),
    "negative indices in blocks": interleaved().encode(),
    "continued": "\n".join(V + [line.replace(" ", " \\\n ") for line in F]).encode(),
    "continued, CRLF": "\r\n".join(V + [line.replace(" ", " \\\r\n") for line in F]).encode(),
    "continued, blanks behind": "\n".join(V + [line.replace(" ", " \\ \n") for line in F]).encode(),
    "backslash ends a comment": b"# C:\\meshes\\\n" + PLAIN.encode(),
    "byte-order mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    "UTF-16": PLAIN.encode("utf-16"),
    "carriage returns": "\r".join([*V, *F]).encode(),
    "faces first": "\n".join([*F, *V]).encode(),
    "texture and normals": (
        "vt 0 0\nvn 0 0 1\n" + "\n".join(V)
        + "\nf 1/1/1 3/1/1 2/1/1\nf 1//1 2//1 4//1\nf 2/1 3/1 4/1\nf 3 1/1 4//1\n"
    ).encode(),
    "colours and weights": "\n".join(
        [V[0] + " 1", *(line + " .5 .5 .5" for line in V[1:]), *F]
    ).encode(),
    "comments, groups and others": (
        "mtllib a.mtl\no one\ng a b\ns off\n" + PLAIN.replace("\n", " # here\n\n\tusemtl x\n")
        + "\nl 1 2\np 1\n"
    ).encode(),
    "names in Latin-1": b"o T\xeate\x85\n" + PLAIN.encode() + b"\n# \xa9 me\n",
}  # fmt: skip


def write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "solid.obj"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_write_a_mesh_gives_it(way: str, tmp_path: Path) -> None:
    vertices, faces = read_obj(write(tmp_path, WAYS[way]))
    corners = vertices[faces]
    np.testing.assert_array_equal(corners, np.array(CORNERS, float)[np.array(FACES) - 1])
    assert vertices.dtype == np.float64
    assert faces.dtype == np.int64


@pytest.mark.parametrize("way", ["negative indices in blocks", "continued", "byte-order mark"])
def test_all_sources_take_what_one_takes(way: str, tmp_path: Path) -> None:
    path = write(tmp_path, WAYS[way])
    surface = read_closed_mesh(path)
    assert len(surface.vertices) == 4
    np.testing.assert_array_equal(
        surface.vertices[surface.faces], np.array(CORNERS, float)[np.array(FACES) - 1]
    )
    packed = read_source(MeshSourceConfig("mesh", str(path)))
    assert packed is not None
    assert packed.text.split(":")[1] == "4"
    source = RenderedSource(RenderSourceConfig("render", str(path), 32), 0, 6, "octahedral")
    assert source.label_meaning == "0 solid"


def test_polygons_are_fans(tmp_path: Path) -> None:
    square = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf -4 -3 \\\n-2 -1\n"
    faces = read_obj(write(tmp_path, square.encode()))[1]
    assert faces.tolist() == [[0, 1, 2], [0, 2, 3]]


FAULTS = {
    "v 0 0 x": "line 1: 'x' is not a number",
    "v 0 0 1_0": "line 1: '1_0' is not a number",
    "v 0 0 \u0663": "line 1: '\u0663' is not a number",
    "v 0 0 0\nv 1 2": "line 2: a vertex has 2 coordinates",
    "v 0 0 nan": "line 1: 'nan' is not finite",
    "v 0 0 1e400": "line 1: '1e400' is not finite",
    "v 0 0 1e11": "line 1: '1e11' is beyond 1e+10",
    "v 0 0 0\nf 1 1": "line 2: a face has 2 corners",
    "v 0 0 0\nf 1 0 1": "line 2: there is no vertex 0",
    "v 0 0 0\nf 1 -2 1\nv 0 0 0": "line 2: there is no vertex -2",
    "v 0 0 0\nf a b c": "line 2: 'a' is not a corner of a face",
    "v 0 0 0\nf 1_0 1 1": "line 2: '1_0' is not a corner of a face",
    "v 0 0 0\n\nf 1 \\\n1 1.5": "line 3: '1.5' is not a corner of a face",
    "v 0 0 0\nv 1 0 0\nf 1 2 4\nv 0 1 0\n": "line 3: a face has vertex 4 of 3",
    "v 0 0 0\nf 1 1 99999999999999999999": "line 2: there is no vertex 99999999999999999999",
    "f 1 2 3": "line 1: a face has vertex 3 of 0",
    "v 0 0 0": "is not an OBJ file with faces",
    "": "is not an OBJ file with faces",
    "PNG\0": "is not an OBJ file: it is not text",
}


@pytest.mark.parametrize("text", FAULTS)
def test_faults_name_file_and_line(text: str, tmp_path: Path) -> None:
    path = write(tmp_path, text.encode("utf-8" if text.isascii() else "utf-16"))
    for read in (read_obj, read_closed_mesh):
        with pytest.raises(ValueError) as error:
            read(path)
        assert FAULTS[text] in str(error.value)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.obj is missing"):
        read_obj(tmp_path / "none.obj")
    (tmp_path / "folder.obj").mkdir()
    with pytest.raises(ValueError, match=r"folder\.obj cannot be read"):
        read_obj(tmp_path / "folder.obj")
