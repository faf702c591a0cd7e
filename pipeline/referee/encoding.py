"""A method's latent on the model's device, a batch at a time; values in and out are on the CPU."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from orbit.core.groups import Group
from pipeline.data.packing import slices
from pipeline.methods.interface import Latents
from pipeline.referee.views import Views

Parts = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Coder:
    """The functions of `Latents` for any number of rows."""

    latents: Latents
    group: Group
    device: torch.device
    batch: int

    @torch.no_grad()
    def encode(self, frames: np.ndarray) -> dict[str, torch.Tensor]:
        """Parts (N, ...) of frames (N, C, ...) as stored."""
        found = [
            {
                name: part.float().cpu()
                for name, part in self.latents.encode(
                    torch.from_numpy(frames[rows]).to(self.device)
                ).items()
            }
            for rows in slices(len(frames), self.batch)
        ]
        return {name: torch.cat([parts[name] for parts in found]) for name in found[0]}

    @torch.no_grad()
    def act(self, values: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """Values (N, ...) of the acted part, moved by elements, one each."""
        assert self.latents.act is not None
        return torch.cat(
            [
                self.latents.act(values[rows].to(self.device), g[rows].to(self.device))
                .float()
                .cpu()
                for rows in slices(len(values), self.batch)
            ]
        )

    def act_by_each(self, values: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """Each of the values (N, ...) moved by each of K elements, (N, K, ...)."""
        num = len(g)
        moved = self.act(
            values.repeat_interleave(num, 0), g.repeat(len(values), *(1,) * (g.ndim - 1))
        )
        return moved.view(len(values), num, *moved.shape[1:])

    @torch.no_grad()
    def decode(self, parts: Parts) -> torch.Tensor:
        """Images (N, C, ...) on [0, 1]."""
        assert self.latents.decode is not None
        (some, *_) = parts.values()
        return torch.cat(
            [
                self.latents.decode({n: part[rows].to(self.device) for n, part in parts.items()})
                .float()
                .cpu()
                for rows in slices(len(some), self.batch)
            ]
        )


class Seen(NamedTuple):
    """Views (O, K) of O objects: elements and poses (O, K, ...), frames (O, K, C, ...) as stored,
    and parts of their latents (O, K, ...); `source` are the parts of the objects' own frames,
    (O, ...)."""

    elements: torch.Tensor
    poses: torch.Tensor
    frames: np.ndarray
    parts: dict[str, torch.Tensor]
    source: dict[str, torch.Tensor]
    source_frames: np.ndarray


def see(coder: Coder, views: Views, objects: np.ndarray, chosen: np.ndarray) -> Seen:
    """Encode the views `chosen` (O, K) of objects (O,), and their sources."""
    frames, source = views.frames(objects, chosen), views.sources(objects)
    parts = coder.encode(frames.reshape(-1, *frames.shape[2:]))
    chosen_views = torch.from_numpy(chosen)
    rows = torch.arange(len(objects))[:, None]
    return Seen(
        views.elements(objects)[rows, chosen_views],
        views.poses(objects)[rows, chosen_views],
        frames,
        {name: part.view(*chosen.shape, *part.shape[1:]) for name, part in parts.items()},
        coder.encode(source),
        source,
    )


def whole(parts: Parts, num_axes: int = 1) -> torch.Tensor:
    """All parts side by side, (..., D), behind the first `num_axes` axes."""
    return torch.cat([part.flatten(num_axes) for part in parts.values()], num_axes)


def live(values: torch.Tensor) -> torch.Tensor:
    """Columns of (..., D) that are not 0 everywhere: masked channels are no features."""
    return values[..., (values.flatten(0, -2) != 0).any(0)]


def size_of(parts: Parts) -> int:
    """Numbers of a latent."""
    return sum(math.prod(part.shape[1:]) for part in parts.values())
