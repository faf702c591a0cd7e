"""Files are whole or absent, whatever fails on the way; errors name the file that was meant."""

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit.core.config.program import describe_error
from orbit.core.files import atomic
from orbit.core.files.atomic import (
    create_exclusively,
    read_json_object,
    replacing,
    replacing_folder,
    sync_directory,
    without_non_finite,
    write_bytes,
    write_json,
    write_text,
)


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "日" * 85, "x"])
def test_the_longest_names_can_be_written(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "new")
    write_bytes(tmp_path / name, b"newer")
    assert create_exclusively(tmp_path / name, "") is False
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: b"newer"}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_what_fails_leaves_the_old_file_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file"
    write_text(path, "old")

    def fail(*words: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", *words[:1])

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left") as error:
        write_text(path, "new")
    assert error.value.filename == str(path)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("file", "old")]


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "x"])
def test_a_folder_is_replaced_as_a_whole(tmp_path: Path, name: str) -> None:
    for number in range(2):
        with replacing_folder(tmp_path / name) as draft:
            (draft / "below").mkdir()
            (draft / "below" / str(number)).write_text("")
        assert [path.name for path in tmp_path.iterdir()] == [name]
        assert [path.name for path in (tmp_path / name / "below").iterdir()] == [str(number)]


@pytest.mark.parametrize("where", ["inside", "fsync", "first rename", "second rename"])
def test_what_fails_leaves_the_old_folder(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that is moved aside already: between the two renames nobody may end without one."""
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    rename, num_left = os.rename, {"first rename": 0, "second rename": 1}.get(where, 9)

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def rename_or_fail(*words: Path) -> None:
        nonlocal num_left
        num_left -= 1
        (fail if num_left == -1 else rename)(*words)

    monkeypatch.setattr(os, "rename", rename_or_fail)

    def replace() -> None:
        with replacing_folder(path) as draft:
            (draft / "new").touch()
            if where == "fsync":
                monkeypatch.setattr(os, "fsync", fail)
            if where == "inside":
                fail()

    with pytest.raises(OSError, match="Input/output"):
        replace()
    assert [each.relative_to(tmp_path).as_posix() for each in sorted(tmp_path.rglob("*"))] == [
        "folder",
        "folder/old",
    ]


def test_an_error_without_a_name_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space") as error, replacing_folder(tmp_path / "folder"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.filename == str(tmp_path / "folder")


def test_a_copy_without_room_names_its_target() -> None:
    copy = OSError(errno.ENOSPC, "No space left on device", "source", None, "target")
    assert describe_error(copy) == "target: No space left on device"
    lost = OSError(errno.EIO, "Input/output error", "source", None, "target")
    assert describe_error(lost) == "source: Input/output error"


def test_a_link_to_a_folder_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "kept").touch()
    (tmp_path / "link").symlink_to(tmp_path / "far")
    with replacing_folder(tmp_path / "link") as draft:
        (draft / "new").touch()
    assert not (tmp_path / "link").is_symlink()
    assert [path.name for path in (tmp_path / "link").iterdir()] == ["new"]
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["kept"]


def test_a_draft_that_cannot_be_removed_does_not_hide_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "unlink", fail)

    def write() -> None:
        with replacing(tmp_path / "file") as draft:
            draft.touch()
            raise ValueError("the cause")

    with pytest.raises(ValueError, match="the cause"):
        write()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        write_json(tmp_path / "none" / "file.json", {})
    assert error.value.filename == str(tmp_path / "none" / "file.json")


@pytest.mark.parametrize(("code", "is_let_pass"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_directories_are_synced_where_that_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, is_let_pass: bool
) -> None:
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    if is_let_pass:
        sync_directory(tmp_path)
        return
    with pytest.raises(OSError, match=os.strerror(code)):
        sync_directory(tmp_path)


def test_a_file_is_made_once(tmp_path: Path) -> None:
    assert create_exclusively(tmp_path / "file", "first") is True
    assert create_exclusively(tmp_path / "file", "second") is False
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "first")]


def test_json_that_is_not_there_is_none_and_json_out_of_reach_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    assert read_json_object(path) is None
    assert read_json_object(path / "below") is None
    for text in ("", "{", "[1]", "\xff"):
        path.write_text(text, encoding="latin-1")
        assert read_json_object(path) is None
    assert read_json_object(path / "below") is None
    write_json(path, {"a": 1})
    assert read_json_object(path) == {"a": 1}

    def away(*_: object, **__: object) -> bytes:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(Path, "read_bytes", away)
    with pytest.raises(OSError, match="Stale"):
        read_json_object(path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(VALUES)
def test_what_is_shown_as_json_is_json(value: object) -> None:
    shown = without_non_finite(value)
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown


def test_a_draft_that_the_winner_swept_away_has_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also before its contents were flushed."""
    sync = atomic.sync_file

    def sweep_then_sync(path: Path) -> None:
        path.unlink()
        sync(path)

    monkeypatch.setattr(atomic, "sync_file", sweep_then_sync)
    assert not atomic.create_exclusively(tmp_path / "claim", "mine")
    assert not list(tmp_path.iterdir())
