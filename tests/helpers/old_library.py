"""e2cnn, last released in 2023, beside numpy and torch of today."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch


class Changed:
    """A module in which some names mean something else."""

    def __init__(self, module: ModuleType, **changes: Any) -> None:
        self._module, self._changes = module, changes

    def __getattr__(self, name: str) -> Any:
        return self._changes.get(name, getattr(self._module, name))


def revive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace what e2cnn uses and is gone: `tostring`, `copy=False`, masks of bytes.

    Its results stay the same: hashes are keys of dictionaries only, beside equality.
    """
    from e2cnn.kernels import irreps_basis, utils
    from e2cnn.nn.modules.r2_conv import basisexpansion_singleblock as expansion

    for value in vars(irreps_basis).values():
        if isinstance(value, type) and "__hash__" in vars(value):
            monkeypatch.setattr(value, "__hash__", lambda self: hash(type(self).__name__))
    asarray = Changed(np, array=lambda values, copy: np.asarray(values))
    monkeypatch.setattr(utils, "np", asarray)
    monkeypatch.setattr(expansion, "np", Changed(np, uint8=np.bool_))
    monkeypatch.setattr(expansion, "torch", Changed(torch, uint8=torch.bool))
