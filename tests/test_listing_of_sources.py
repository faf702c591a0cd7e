"""Protects one way of finding a user's files, for every source and for `pipeline/apply.py`.

Endings in any case, files in linked folders and behind links count; hidden files, what
operating systems leave behind and other kinds of files are passed over, and told.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from helpers.volumes import anatomy, write_nifti
from PIL import Image

from data_prep.settings.sources import (
    CutOutsSourceConfig,
    ImageFolderSourceConfig,
    MeshesSourceConfig,
    NiftiSourceConfig,
    VolumeFolderSourceConfig,
)
from data_prep.sources.cut_outs import CutOutsSource
from data_prep.sources.image_folder import ImageFolderSource
from data_prep.sources.meshes import MeshesSource
from data_prep.sources.volumes import NiftiSource, VolumeFolderSource
from pipeline.application.reading import find_inputs


def write_picture(path: Path) -> None:
    pixels = np.full((8, 8, 4), 90, np.uint8)
    pixels[2:6, 2:6, 3] = 255
    Image.fromarray(pixels).save(path, format="PNG")


def write_volume(path: Path) -> None:
    volume = anatomy((20, 20, 20), (2, 2, 2))
    write_nifti(path.parent / "v.nii.gz", volume, (2, 2, 2))
    (path.parent / "v.nii.gz").rename(path)


def write_array(path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, np.random.default_rng(0).random((8, 8, 8)))


def write_mesh(path: Path) -> None:
    trimesh.creation.box((1, 2, 3)).export(path, file_type="obj")


def images(root: Path) -> list[str]:
    return list(ImageFolderSource(ImageFolderSourceConfig("images", str(root))).checksums())


def cut_outs(root: Path) -> list[str]:
    pictures = root.parent / "planes"
    pictures.mkdir()
    (pictures / "objects").symlink_to(root)
    (pictures / "backgrounds").mkdir()
    write_picture(pictures / "backgrounds" / "sky.png")
    source = CutOutsSource(CutOutsSourceConfig("folders", str(pictures), 16), 0, 4, "c4")
    return [name.removeprefix("objects/") for name in source.checksums() if "sky" not in name]


def volumes(root: Path) -> list[str]:
    return list(VolumeFolderSource(VolumeFolderSourceConfig("volumes", str(root))).checksums())


def brains(root: Path) -> list[str]:
    return list(NiftiSource(NiftiSourceConfig("nifti", str(root), 16)).checksums())


def meshes(root: Path) -> list[str]:
    source = MeshesSource(MeshesSourceConfig("meshes", str(root)), 0, 4)
    found = {name: place for place in LINKED for name in [Path(place).name]}
    return [f"{found[Path(name).stem]}{Path(name).suffix}" for name in source.checksums()]


def applied(root: Path) -> list[str]:
    found = find_inputs(root, (".png", ".jpg"), "pictures")
    return [each.path.relative_to(root).as_posix() for each in found]


LINKED = ("a/one", "a/two", "linked/three")
CASES: dict[str, tuple[Callable[[Path], list[str]], Callable[[Path], None], str]] = {
    "images": (images, write_picture, ".PNG"),
    "folders": (cut_outs, write_picture, ".Png"),
    "volumes": (volumes, write_array, ".NPY"),
    "nifti": (brains, write_volume, ".NII.GZ"),
    "meshes": (meshes, write_mesh, ".OBJ"),
    "apply": (applied, write_picture, ".JPG"),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(root: Path, case: str) -> Callable[[Path], list[str]]:
    find, write, ending = CASES[case]
    elsewhere = root.parent / "elsewhere"
    elsewhere.mkdir()
    (root / "a").mkdir(parents=True)
    write(root / f"a/one{ending}")
    write(elsewhere / f"file{ending}")
    (root / f"a/two{ending.lower()}").symlink_to(elsewhere / f"file{ending}")
    (elsewhere / "folder").mkdir()
    write(elsewhere / f"folder/three{ending}")
    (root / "linked").symlink_to(elsewhere / "folder")
    return find


def test_every_source_finds_the_same_files(case: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    find, ending = make(root, case), CASES[case][2]
    wanted = [f"a/one{ending}", f"a/two{ending.lower()}", f"linked/three{ending}"]
    assert sorted(find(root)) == sorted(wanted)


def test_every_source_passes_over_the_same_and_says_so(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    find, ending = make(root, case), CASES[case][2]
    for name in (f"a/._one{ending}", "a/Thumbs.db", "README", f".trash/x{ending}"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("no such file")
    (root / "__MACOSX/a").mkdir(parents=True)
    (root / f"__MACOSX/a/one{ending}").write_text("no such file")
    (root / "a/again").symlink_to(root)
    assert len(find(root)) == 3
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("ignored 6 entries below ")
    for words in ("1 hidden files", "1 Thumbs.db", "1 folders __MACOSX", "1 files without an"):
        assert words in line


def test_a_folder_of_other_files_says_what_it_holds(case: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    find = make(root, case)
    for path in [path for path in root.rglob("*") if not path.is_dir()]:
        path.unlink()
    (root / "linked").unlink()
    (root / "a/one.heic").write_text("another kind")
    (root / "a/desktop.ini").write_text("another kind")
    with pytest.raises(ValueError, match=r"holds no file of \.") as error:
        find(root)
    assert "ignored 2 entries" in str(error.value)
    assert "1 .heic" in str(error.value)


def test_a_link_to_nothing_is_named(case: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    find, ending = make(root, case), CASES[case][2]
    (tmp_path / f"elsewhere/file{ending}").unlink()
    with pytest.raises(FileNotFoundError, match=rf"two{ending.lower()} is a link to a file that"):
        find(root)
