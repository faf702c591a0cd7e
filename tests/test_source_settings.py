"""Protects the numbers among the settings of sources: none that is not finite comes through."""

import math
from typing import Any

import pytest

from data_prep.settings.sources import (
    MeshesSourceConfig,
    NiftiSourceConfig,
    PhantomSourceConfig,
    VolumeFolderSourceConfig,
)

KEYS = [
    (NiftiSourceConfig, "nifti", "extent_mm"),
    (PhantomSourceConfig, "phantom", "noise"),
    (PhantomSourceConfig, "phantom", "bias"),
    (MeshesSourceConfig, "meshes", "deformation"),
]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("config", "name", "key"), KEYS)
def test_numbers_must_be_finite(config: Any, name: str, key: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{key}={value} must be finite$"):
        config(name, **{key: value})


@pytest.mark.parametrize("percentiles", [(math.nan, 99.0), (1.0, math.nan), (1.0, math.inf)])
@pytest.mark.parametrize("config", [NiftiSourceConfig, VolumeFolderSourceConfig])
def test_percentiles_must_be_finite(config: Any, percentiles: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"^percentiles=.* must ascend within 0 to 100$"):
        config("nifti", percentiles=percentiles)
