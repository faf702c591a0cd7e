"""One way to list files: none is missed by its spelling, none passed over in silence."""

import errno
import os
from pathlib import Path

import pytest

from orbit.core.files.listing import find_files, list_folder


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(root: Path, *suffixes: str) -> list[str]:
    found = find_files(root, suffixes or (".png", ".nii.gz"), "source.root")
    return [path.relative_to(root).as_posix() for path in found.files]


def test_endings_are_compared_without_case_at_any_depth(tmp_path: Path) -> None:
    make(tmp_path, "b.PNG", "a/c.png", "a/d/e.NII.GZ", "z.Nii.gz")
    assert names(tmp_path) == ["a/c.png", "a/d/e.NII.GZ", "b.PNG", "z.Nii.gz"]


def test_linked_folders_are_entered_and_circles_cut(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", "a.png", "in/b.png")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "in" / "up").symlink_to(tmp_path / "elsewhere")
    assert names(root) == ["link/a.png", "link/in/b.png"]
    assert "1 links to a folder above" in find_files(root, (".png",), "k").remark()


def test_what_is_passed_over_is_counted_by_kind(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "README", "x.txt", "y.TXT", "Thumbs.db", ".hidden.png")
    make(tmp_path, "__MACOSX/a.png", ".cache/b.png")
    found = find_files(tmp_path, (".png", ".db"), "source.root")
    assert [path.name for path in found.files] == ["a.png"]
    remark = found.remark()
    assert remark.startswith(f"ignored 7 entries below {tmp_path}: 2 .txt")
    for part in ("1 Thumbs.db", "1 hidden files", "1 hidden folders", "1 folders __MACOSX"):
        assert part in remark
    make(tmp_path / "clean", "a.png")
    assert find_files(tmp_path / "clean", (".png",), "k").remark() == ""


def test_a_name_that_is_not_utf8_is_refused_by_name(tmp_path: Path) -> None:
    try:
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    with pytest.raises(ValueError, match=r"caf\\xe9\.png.*not UTF-8"):
        names(tmp_path)


def test_a_pipe_with_the_name_of_a_picture_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png is not a regular file"):
        names(tmp_path)


def test_a_dangling_link_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=r"a\.png is a link to a file that is not there"):
        names(tmp_path)


def test_a_folder_that_cannot_be_listed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "in/a.png")
    real = os.scandir

    def scandir(path: Path):  # type: ignore[no-untyped-def]
        if Path(path).name == "in":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match="in"):
        names(tmp_path)


def test_a_missing_folder_is_named_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"source\.root=.*no such directory"):
        names(tmp_path / "none")


def test_a_folder_is_listed_by_pattern(tmp_path: Path) -> None:
    make(tmp_path, "b1.h5", "a[1].h5", ".b2.h5", "B3.h5", "c/b4.h5")
    listed = [path.name for path in list_folder(tmp_path, "[.b]*.h5")]
    assert listed == [".b2.h5", "b1.h5"]
    assert list_folder(tmp_path) == sorted(tmp_path.iterdir())
    assert list_folder(tmp_path / "nothing") == list_folder(tmp_path / "b1.h5") == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "b1.h5")

    def fail(folder: Path) -> list[str]:
        raise OSError(number, os.strerror(number), str(folder))

    monkeypatch.setattr(os, "listdir", fail)
    with pytest.raises(OSError, match=os.strerror(number)):
        list_folder(tmp_path, "*.h5")
