"""Protects verification and description: a fault is one line with file, dataset and row.

Each fault is planted in a copy of a dataset that verifies; some with a manifest whose
checksums were made to fit, so that only the content can give them away.
"""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.preparing import prepare
from helpers.programs import REPOSITORY, call, run
from helpers.spoiling import edit, refit_manifest
from PIL import Image

from orbit.core.store.manifest import read_manifest
from orbit.core.store.shard import map_shard

pytestmark = pytest.mark.usefixtures("starts_are_warm")
OWN_PYTHON = sys.executable  # before any test: the warm one has chosen its encoding already

SHARD = "train/shard_00001.h5"


@pytest.fixture
def copy_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        return Path(shutil.copytree(request.getfixturevalue(name), tmp_path / "copy"))

    return make


def flip_byte(path: Path, dataset: str, row: int) -> None:
    """Invert one byte in the middle of a row, where it lies in the file."""
    with h5py.File(path, "r") as file:
        item = file[dataset]
        width = item.nbytes // len(item)
        place = item.id.get_offset() + row * width + width // 2
    content = bytearray(path.read_bytes())
    content[place] ^= 0x01
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["digits_dir", "volume_dir", "episode_dir"])
def test_sound_dataset_prints_a_line_a_split(name: str, request: pytest.FixtureRequest) -> None:
    outcome = call("data_prep/verify.py", str(request.getfixturevalue(name)))
    assert (outcome.code, outcome.err) == (0, "")
    assert [line.split()[:2] for line in outcome.out.splitlines()] == [
        ["train", "ok:"],
        ["val", "ok:"],
        ["test", "ok:"],
    ]


@pytest.mark.parametrize("dataset", ["digits_dir", "volume_dir"])
@pytest.mark.parametrize("frame", [0, 7, -1])
def test_a_flipped_byte_of_a_frame_names_a_record_of_it(dataset, frame: int, copy_of) -> None:
    root = copy_of(dataset)
    arrays = map_shard(root / SHARD)
    frame %= len(arrays["frames"])
    users = (arrays["source"] == frame) | (arrays["target"] == frame)
    flip_byte(root / SHARD, "frames", frame)
    line = call("data_prep/verify.py", str(root)).error_line
    assert f"{SHARD}: dataset target, row " in line
    row = int(line.split("row ")[1].split()[0])
    assert users[row]


@pytest.mark.parametrize("name", ["source", "target", "action", "label"])
def test_a_flipped_byte_anywhere_names_the_file(name: str, copy_of) -> None:
    root = copy_of("digits_dir")
    flip_byte(root / SHARD, name, 5)
    assert SHARD in call("data_prep/verify.py", str(root)).error_line


def test_a_flipped_byte_of_the_header_names_the_file(copy_of) -> None:
    root = copy_of("volume_dir")
    content = bytearray((root / SHARD).read_bytes())
    content[100] ^= 0xFF
    (root / SHARD).write_bytes(content)
    assert SHARD in call("data_prep/verify.py", str(root)).error_line


def test_missing_and_truncated_shards_are_named(copy_of) -> None:
    root = copy_of("volume_dir")
    size = (root / SHARD).stat().st_size
    os.truncate(root / SHARD, size - 8)
    line = call("data_prep/verify.py", str(root)).error_line
    assert f"{SHARD} has {size - 8} bytes, but the manifest says {size}" in line
    refit_manifest(root)
    line = call("data_prep/verify.py", str(root)).error_line
    assert f"{SHARD} is not a readable shard" in line
    (root / SHARD).unlink()
    assert f"{SHARD} is missing" in call("data_prep/verify.py", str(root)).error_line


@pytest.mark.parametrize("fits", [True, False], ids=["manifest fits", "manifest as it was"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_found(value: float, fits: bool, copy_of) -> None:
    root = copy_of("volume_dir")

    def spoil(file: h5py.File) -> None:
        file["frames"][4, 0, 3, 2, 1] = value

    edit(root / SHARD, spoil)
    if fits:
        refit_manifest(root)
    line = call("data_prep/verify.py", str(root)).error_line
    assert f"{SHARD}: dataset frames, row 4 is not finite" in line


CONTENT_FAULTS = {
    "wrong target": (
        "digits_dir",
        lambda file: file["target"].__setitem__(6, file["target"][7]),
        "dataset target, row 6 is not the action applied to its source",
    ),
    "wrong action": (
        "digits_dir",
        lambda file: file["action"].__setitem__(9, file["action"][10]),
        "dataset target, row 9 is not the action applied to its source",
    ),
    "row beyond the frames": (
        "digits_dir",
        lambda file: file["source"].__setitem__(3, len(file["frames"])),
        "dataset source, row 3 points outside the frames",
    ),
    "action out of range": (
        "volume_dir",
        lambda file: file["action"].__setitem__(2, 4.0),
        "dataset action, row 2 is outside the range",
    ),
    "action not finite": (
        "episode_dir",
        lambda file: file["action"].__setitem__((11, 1), np.nan),
        "dataset action, row 11 is not finite",
    ),
    "state not finite": (
        "episode_dir",
        lambda file: file["columns/state"].__setitem__((12, 0), -np.inf),
        "dataset columns/state, row 12 is not finite",
    ),
    "column missing": (
        "episode_dir",
        lambda file: file.__delitem__("columns/twin"),
        "dataset columns/twin is missing",
    ),
}


@pytest.mark.parametrize("fault", CONTENT_FAULTS)
def test_wrong_content_is_found_though_the_manifest_fits(fault: str, copy_of) -> None:
    dataset, change, words = CONTENT_FAULTS[fault]
    root = copy_of(dataset)
    edit(root / SHARD, change)
    refit_manifest(root)
    assert f"{SHARD}: {words}" in call("data_prep/verify.py", str(root)).error_line


def test_the_process_ends_with_one_line(copy_of) -> None:
    root = copy_of("volume_dir")
    flip_byte(root / SHARD, "frames", 0)
    line = run("data_prep/verify.py", str(root)).error_line
    assert line.startswith(f"verify.py: {root / SHARD}: dataset target, row ")


def test_what_is_no_dataset_is_one_line(tmp_path: Path) -> None:
    for program in ("data_prep/verify.py", "data_prep/show.py"):
        assert "no such directory" in call(program, f"{tmp_path}/nowhere").error_line
        assert "manifest.json is missing" in call(program, str(tmp_path)).error_line
        assert "give one directory" in call(program).error_line
        assert "give one directory" in call(program, str(tmp_path), "more").error_line
    (tmp_path / "manifest.json").write_text("{")
    assert "cannot be read" in call("data_prep/verify.py", str(tmp_path)).error_line
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe")
    assert "cannot be read" in call("data_prep/verify.py", str(tmp_path)).error_line


def picture_size(path: Path) -> tuple[int, int]:
    import matplotlib.image

    image = matplotlib.image.imread(path)
    assert image.std() > 0.05  # not blank
    return image.shape[:2]


@pytest.mark.parametrize("name", ["digits_dir", "volume_dir", "episode_dir"])
def test_show_describes_and_draws(name: str, copy_of) -> None:
    root = copy_of(name)
    outcome = call("data_prep/show.py", str(root))
    assert outcome.code == 0, outcome.err
    manifest = read_manifest(root)
    for text in (manifest.name, manifest.fingerprint, manifest.label_meaning, *manifest.splits):
        assert text in outcome.out
    for component in manifest.action:
        assert component.name in outcome.out
        assert component.unit in outcome.out
    for column in manifest.columns:
        assert column in outcome.out
    assert min(picture_size(root / "contact_sheet.png")) > 200
    # The picture in its folder does not make the dataset unsound.
    assert call("data_prep/verify.py", str(root)).code == 0


def test_show_as_json_into_another_file(volume_dir: Path, tmp_path: Path) -> None:
    before = sorted(volume_dir.rglob("*"))
    sheet = tmp_path / "a b=c,.png"
    outcome = call("data_prep/show.py", str(volume_dir), f"out={sheet}", "split=val", "json=true")
    assert json.loads(outcome.out) == json.loads((volume_dir / "manifest.json").read_text())
    assert picture_size(sheet)
    assert sorted(volume_dir.rglob("*")) == before
    assert "train, val, test" in call("data_prep/show.py", str(volume_dir), "split=x").error_line
    assert "allowed: true, false" in call("data_prep/show.py", "d", "json=yes").error_line
    line = call("data_prep/show.py", str(volume_dir), f"out={tmp_path}/sheet.gif").error_line
    assert "names the contact sheet, a png file" in line
    line = call("data_prep/show.py", str(volume_dir), f"out={tmp_path}/no/sheet.png").error_line
    assert "no/" in line


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_show_describes_what_cannot_be_written_to_and_names_the_key(
    volume_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Of a dataset that only others may write to, and not a temporary file's name."""

    def refuse(_: object, file: Path, **__: object) -> None:
        raise OSError(code, os.strerror(code), str(file))

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", refuse)
    outcome = call("data_prep/show.py", str(volume_dir))
    assert (outcome.code, "train" in outcome.out) == (0, True)
    assert outcome.err == f"no pictures: {volume_dir} cannot be written; set out=sheet.png\n"
    line = call("data_prep/show.py", str(volume_dir), f"out={tmp_path}/a.png").error_line
    assert line == f"show.py: {tmp_path}/a.png: {os.strerror(code)}"


def test_show_tells_its_story_to_an_ascii_terminal(tmp_path: Path) -> None:
    for name, value in (("ch\u00e2t", 60), ("\u72ac", 200)):
        for number in range(8):
            path = tmp_path / "pictures" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), value + number).save(path)
    words = ["dataset=image_folder", f"source.root={tmp_path}/pictures"]
    root = prepare(tmp_path / "data", *words).root
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [OWN_PYTHON, str(REPOSITORY / "data_prep/show.py"), str(root)],
        env=environment,
        capture_output=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"0 ch\\xe2t, 1 \\u72ac" in done.stdout
