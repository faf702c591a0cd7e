"""Which rollouts use only actions that training has seen, where it has not seen all."""

from collections.abc import Sequence

import numpy as np
import torch

from data_prep.store.manifest import Manifest
from data_prep.worlds.make import world_of


def seen_rollouts(
    manifest: Manifest, actions: np.ndarray, horizons: Sequence[int]
) -> dict[int, torch.Tensor] | None:
    """For each horizon whether the first so many actions of (N, H, A) are all known, (N,) bool.

    None for a dataset whose training knows all actions.
    """
    if manifest.generator.get("actions") is None:
        return None
    flat = actions.reshape(-1, actions.shape[-1])
    is_known = world_of(manifest).is_allowed(flat).reshape(actions.shape[:2])
    return {h: torch.from_numpy(is_known[:, :h].all(1)) for h in horizons}
