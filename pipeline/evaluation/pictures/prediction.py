"""Stored frames through a model, and frames as pictures want them."""

import numpy as np
import torch

from data_prep.store.manifest import FrameSpec
from data_prep.store.reader import SplitReader
from pipeline.analysis.records import device_of, spread_records
from pipeline.data.places import slices
from pipeline.models.latent_action import LatentActionModel
from pipeline.runs import Run

NUM_CANDIDATES = 512


@torch.no_grad()
def predict(run: Run, source: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Model outputs in [0, 1] for stored frames (N, C, ...) and action vectors (N, A)."""
    model = run.model
    assert isinstance(model, LatentActionModel)
    device, outputs = device_of(model), []
    for part in slices(len(source), run.places()):
        images = model.normalise(torch.from_numpy(source[part]).to(device))
        g = run.group.decode(torch.from_numpy(action[part]).to(device))
        outputs.append(model.to_unit_range(model.transform(images, g)).clamp(0, 1).cpu().numpy())
    return np.concatenate(outputs)


def element_names(run: Run, action: np.ndarray) -> list[str]:
    """A short name of the element of each action vector (N, A)."""
    return run.group.names(run.group.decode(torch.from_numpy(action)))


def unit_range(frames: np.ndarray, spec: FrameSpec) -> np.ndarray:
    """Stored frames on [0, 1], float32."""
    low, high = spec.stored_range
    return np.asarray((frames.astype(np.float32) - low) / (high - low))


def middle_slice(frame: np.ndarray) -> np.ndarray:
    """A volume (C, D, H, W) in the middle of its first axis, (C, H, W); an image as it is."""
    return frame[:, frame.shape[1] // 2] if frame.ndim == 4 else frame


def varied_records(run: Run, reader: SplitReader, num: int) -> np.ndarray:
    """Up to `num` records all over the split, the kinds of their elements in turn, (N,) int64."""
    candidates = spread_records(reader, NUM_CANDIDATES)
    action = torch.from_numpy(reader.read_column("action", candidates))
    bins = run.group.bin_index(run.group.decode(action)).numpy()
    present = np.unique(bins)
    num = min(num, len(candidates))
    chosen: list[int] = []
    for column in range(num):
        wanted = bins == present[column % len(present)]
        wanted[chosen] = False
        places = np.flatnonzero(wanted) if wanted.any() else np.arange(len(candidates))
        goal = (column + 0.5) * len(candidates) / num
        chosen.append(int(places[np.argmin(np.abs(places - goal))]))
    return candidates[chosen]
