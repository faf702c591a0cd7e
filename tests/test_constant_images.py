"""Protects the line on images with the same value everywhere, which a wrong size or unit makes."""

from pathlib import Path

import numpy as np
import pytest
from helpers.preparing import prepare
from helpers.volumes import anatomy, write_nifti
from PIL import Image


def lines_of(capsys) -> list[str]:
    err = capsys.readouterr().err
    return [line for line in err.splitlines() if "the same value everywhere" in line]


def test_constant_pictures_are_named_in_one_line(tmp_path: Path, capsys) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for number in range(9):
        pixels = rng.integers(0, 255, (8, 8), dtype=np.uint8)
        if number % 2 == 0:
            pixels[:] = 30 * number
        Image.fromarray(pixels).save(tmp_path / f"in/{number}.png")
    prepare(tmp_path / "out", "dataset=image_folder", f"source.root={tmp_path}/in",
            "dataset.shard_mib=0.0005")  # fmt: skip
    (line,) = lines_of(capsys)
    assert line.startswith("images with the same value everywhere (5): ")
    assert line.endswith(" and 2 more")
    assert line.count(".png") == 3
    assert not any(f"{odd}.png" in line for odd in (1, 3, 5, 7))


@pytest.mark.parametrize("dataset", ["brain_mri", "brain_mri_so3"])
def test_a_volume_of_which_one_voxel_is_cut_out_is_named(
    dataset: str, tmp_path: Path, capsys
) -> None:
    """Also under a group that blanks the corners."""
    for number in range(3):
        write_nifti(tmp_path / f"in/{number}.nii", anatomy((20, 20, 20), (2, 2, 2)), (2, 2, 2))
    write_nifti(tmp_path / "in/flat.nii", anatomy((21, 21, 21), (2, 2, 2)), (9e4, 9e4, 9e4))
    words = [f"dataset={dataset}", "source=nifti", f"source.root={tmp_path}/in", "source.side=12"]
    prepare(tmp_path / "out", *words, "source.extent_mm=36")
    (line,) = lines_of(capsys)
    assert line == "images with the same value everywhere (1): flat.nii"
    (tmp_path / "in/flat.nii").unlink()
    prepare(tmp_path / "other", *words, "source.extent_mm=36")
    assert lines_of(capsys) == []
