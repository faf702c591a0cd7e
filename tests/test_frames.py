"""Sets of frames: what is written is what is read, and half a set is none."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orbit.core.pictures import FRAMES_FILE, SEPARATOR, mosaic, read_frame_set, write_frames


def frames_of(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32)


def write(folder: Path, frames: np.ndarray) -> None:
    labels = [f"g{number}" for number in range(len(frames))]
    write_frames(folder, frames, labels, ["source", "output"], "Title", "What it is.", step=7)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_cells_stand_a_line_apart(channels: int) -> None:
    frames = frames_of(2, 3, channels, 4, 5)
    picture = mosaic(frames)
    assert picture.shape[:2] == (2 * 5 - 1, 3 * 6 - 1)
    assert picture.ndim == (3 if channels >= 3 else 2)
    cell = picture[5:9, 12:17]
    shown = frames[1, 2, 0] if channels < 3 else np.moveaxis(frames[1, 2, :3], 0, -1)
    np.testing.assert_array_equal(cell, np.rint(255 * shown).astype(np.uint8))
    assert (picture[4] == round(255 * SEPARATOR)).all()
    assert (picture[:, 5] == round(255 * SEPARATOR)).all()


def test_slices_lie_one_below_the_other() -> None:
    frames = frames_of(2, 3, 1, 6, 4, 5)
    picture = mosaic(frames)
    assert picture.shape == (6 * 9, 17)
    for level in range(6):
        np.testing.assert_array_equal(picture[9 * level :][:9], mosaic(frames[:, :, :, level]))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / "set", frames_of(3, 2, 4, 1, 5, 6))
    found = read_frame_set(tmp_path / "set")
    assert found is not None
    assert (found.labels, found.cell, found.num_columns) == (("g0", "g1", "g2"), (5, 6), 4)
    assert (found.num_slices, found.step, found.slider) == (1, 7, "group element")
    with Image.open(tmp_path / "set" / found.files[1]) as picture:
        assert picture.size == (4 * 7 - 1, 2 * 6 - 1)
    # A smaller set leaves nothing of the larger one.
    write(tmp_path / "set", frames_of(2, 2, 4, 1, 3, 5, 6))
    again = read_frame_set(tmp_path / "set")
    assert again is not None
    assert again.num_slices == 3
    names = {path.name for path in (tmp_path / "set").iterdir()}
    assert names == {*again.files, FRAMES_FILE}


def test_half_a_set_is_none(tmp_path: Path) -> None:
    assert read_frame_set(tmp_path) is None
    write(tmp_path, frames_of(2, 2, 1, 1, 3, 3))
    content = json.loads((tmp_path / FRAMES_FILE).read_text())
    for change in ({"files": ["../a", "b"]}, {"labels": ["g0"]}, {"rows": []}, {"other": 1}):
        (tmp_path / FRAMES_FILE).write_text(json.dumps({**content, **change}))
        assert read_frame_set(tmp_path) is None
    (tmp_path / FRAMES_FILE).write_text(json.dumps(content))
    assert read_frame_set(tmp_path) is not None
    (tmp_path / "001.png").unlink()
    assert read_frame_set(tmp_path) is None
