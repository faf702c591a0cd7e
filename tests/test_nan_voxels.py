"""Protects what NaN stands for: refused with a count, or background where that is said."""

from pathlib import Path

import numpy as np
import pytest
from helpers.preparing import prepare
from helpers.volumes import anatomy, write_nifti

from data_prep.settings.sources import NiftiSourceConfig, VolumeFolderSourceConfig
from data_prep.sources.volumes import NiftiSource, VolumeFolderSource
from orbit.core.reading.volumes import normalise_percentiles
from orbit.core.store.manifest import FrameSpec, read_manifest
from pipeline.application.reading import Preparation, read_frame

SHAPE = (16, 16, 16)
HEAD = anatomy(SHAPE, (2, 2, 2))
IS_OUTSIDE = HEAD == 0
WITH_NAN = np.where(IS_OUTSIDE, np.nan, HEAD).astype(np.float32)
SPEC = FrameSpec((1, *SHAPE), "uint8", (0.0, 255.0), (-1.0, 1.0))


def frames_of(source) -> np.ndarray:
    return source.read("all", np.arange(source.num_images["all"]))[0]


def test_nan_outside_a_head_is_as_zero(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", HEAD)
    write_nifti(tmp_path / "b.nii", WITH_NAN)
    config = NiftiSourceConfig("nifti", str(tmp_path), 16, nan="background")
    frames = frames_of(NiftiSource(config))
    np.testing.assert_array_equal(frames[0], frames[1])
    with pytest.raises(ValueError, match=r"b\.nii has voxels that are NaN: 1,\d+ of 4,096; .*nan"):
        frames_of(NiftiSource(NiftiSourceConfig("nifti", str(tmp_path), 16)))


def test_nan_of_a_folder_of_volumes_does_not_count_among_the_percentiles(tmp_path: Path) -> None:
    """Values below zero stay dark grey; only NaN is black for being none."""
    volume = np.where(IS_OUTSIDE, np.nan, HEAD - 300).astype(np.float32)
    np.save(tmp_path / "a.npy", volume)
    config = VolumeFolderSourceConfig(
        "volumes", str(tmp_path), percentiles=(0, 100), nan="background"
    )
    frame = frames_of(VolumeFolderSource(config))[0, 0]
    inside = volume[~IS_OUTSIDE]
    expected = np.rint((inside - inside.min()) / (inside.max() - inside.min()) * 255)
    assert np.abs(frame[~IS_OUTSIDE] - expected).max() <= 1
    assert not frame[IS_OUTSIDE].any()


def test_nan_of_a_mask_is_outside(tmp_path: Path) -> None:
    mask = np.where(IS_OUTSIDE, np.nan, 255).astype(np.float32)
    np.save(tmp_path / "a.npy", mask)
    for nan in ("background", "refuse"):
        config = VolumeFolderSourceConfig("volumes", str(tmp_path), binary=True, nan=nan)
        if nan == "background":
            np.testing.assert_array_equal(
                frames_of(VolumeFolderSource(config))[0, 0] > 0, ~IS_OUTSIDE
            )
        else:
            with pytest.raises(ValueError, match=r"a\.npy has voxels that are NaN"):
                frames_of(VolumeFolderSource(config))


@pytest.mark.parametrize("nan", ["refuse", "background"])
def test_infinite_values_are_refused_with_their_number(nan) -> None:
    volume = WITH_NAN.copy()
    volume[8, 8, 7:9] = np.inf, -np.inf
    with pytest.raises(ValueError, match=r"infinite or beyond 32 bits: 2 of 4,096"):
        normalise_percentiles(volume, (0, 100), nan=nan)


def test_nothing_but_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="holds nothing but 0 and NaN"):
        normalise_percentiles(np.array([np.nan, 0.0]), (0, 100), 0, "background")
    with pytest.raises(ValueError, match="holds nothing but NaN"):
        normalise_percentiles(np.array([np.nan]), (0, 100), None, "background")


def test_a_file_for_a_trained_model_is_treated_as_the_dataset_was(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", WITH_NAN)

    def preparation(nan) -> Preparation:
        return Preparation(SPEC, "none", False, (0, 100), False, nan, None, None)

    frame = read_frame(tmp_path / "a.npy", preparation("background")).values[0]
    assert not frame[IS_OUTSIDE].any()
    assert frame.max() == 255
    with pytest.raises(ValueError, match=r"a\.npy has voxels that are NaN"):
        read_frame(tmp_path / "a.npy", preparation("refuse"))


def test_the_manifest_says_so_only_where_it_is_said(tmp_path: Path) -> None:
    """Datasets made before the key was there stay the same."""
    for number in range(6):
        np.save(tmp_path / f"{number}.npy", HEAD + number * (HEAD > 0))
    words = ["dataset=volume_folder", f"source.root={tmp_path}"]
    out = tmp_path.parent / f"{tmp_path.name}_made"
    prepare(out / "plain", *words)
    prepare(out / "nan", *words, "source.nan=background")
    assert "nan" not in read_manifest(out / "plain").origin.flat()
    assert read_manifest(out / "nan").origin.flat()["nan"] == "background"
