"""Views g x of the objects of a split, made by the group's action or as stored; their latents.

If targets are the group's action on their sources, a view is made as preparation makes targets, and
all objects have the same elements: those of a finite group, up to 64, or else 36, of SO(2) the
multiples of 10 degrees, of two angles the pairs of multiples of 60. Otherwise views are the stored
targets of an object's records, and each object has elements of its own.

A method's latent is computed on the model's device, a batch at a time; values in and out are on the
CPU.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch

from orbit.core.groups import Group, Torus, make_group
from orbit.core.groups.targets import make_targets
from orbit.core.store.manifest import Manifest
from orbit.core.store.origin import Orbits, Table
from orbit.core.store.reader import PairStore, SplitReader
from pipeline.data.packing import slices
from pipeline.measuring import SEED
from pipeline.methods.interface import Latents
from pipeline.probing.features import SplitImages, find_images

MAX_ALL = 64
"""A finite group with more elements is represented by `NUM_DRAWN` of them."""
NUM_DRAWN = 36
POSE = "target_pose"
"""The column with the poses of views whose objects start in poses of their own."""
VIEW_STREAM = 63


class Views(Protocol):
    """The views of the objects of a split; positions of objects and views count from 0."""

    @property
    def labels(self) -> np.ndarray:
        """The label of each object, (I,)."""

    @property
    def num_views(self) -> int:
        """Number of views of an object, without its source."""

    @property
    def has_common_elements(self) -> bool:
        """Whether view v of every object is under the same element."""

    def elements(self, objects: np.ndarray) -> torch.Tensor:
        """The elements (O, V, ...) of the views of objects (O,)."""

    def poses(self, objects: np.ndarray) -> torch.Tensor:
        """The poses (O, V, ...) of the views, as elements: those of the data if it has any, or else
        the elements themselves, for objects that all start in one pose."""

    def sources(self, objects: np.ndarray) -> np.ndarray:
        """The frames x of objects, (O, C, ...) as stored."""

    def frames(self, objects: np.ndarray, views: np.ndarray) -> np.ndarray:
        """The frames g x of views (O, K) of objects (O,), (O, K, C, ...) as stored."""


def common_elements(group: Group, num: int, max_all: int) -> torch.Tensor:
    """Elements of a group, (V, ...): all of a finite one with at most `max_all`, else `num`.

    Those of SO(2) are equally far from each other, those of two angles a grid of as many of both
    (36 are 6 x 6, 360 are cut to 18 x 18); of other groups the identity comes first, and the others
    are drawn by a fixed seed.
    """
    if group.num_elements is not None and group.num_elements <= max_all:
        return group.elements()
    if isinstance(group, Torus):
        return group.grid(math.isqrt(num))
    if group.name == "so2":
        return torch.arange(num) * (2 * math.pi / num)
    drawn = group.sample(np.random.default_rng([SEED, VIEW_STREAM]), num - 1)
    return torch.cat([group.identity(1), drawn])


class MadeViews:
    """See `Views`: the group acts on the upright frames of a split."""

    has_common_elements = True

    def __init__(
        self,
        reader: SplitReader,
        records: np.ndarray,
        labels: np.ndarray,
        group: Group,
        elements: torch.Tensor | None = None,
    ) -> None:
        """`records` (I,) have the upright frames as sources; `elements` (V, ...) replace the common
        ones."""
        self.labels = labels
        self._reader, self._records, self._group = reader, records, group
        self._elements = (
            common_elements(group, NUM_DRAWN, MAX_ALL) if elements is None else elements
        )
        self.num_views = len(self._elements)

    def under(self, elements: torch.Tensor) -> "MadeViews":
        """The views of the same objects under other elements (V, ...)."""
        return MadeViews(self._reader, self._records, self.labels, self._group, elements)

    def elements(self, objects: np.ndarray) -> torch.Tensor:
        return self._elements.expand(len(objects), *self._elements.shape)

    def poses(self, objects: np.ndarray) -> torch.Tensor:
        return self.elements(objects)

    def sources(self, objects: np.ndarray) -> np.ndarray:
        return self._reader.read_frames("source", self._records[objects])

    def frames(self, objects: np.ndarray, views: np.ndarray) -> np.ndarray:
        is_binary = self._reader.frames.values == "binary"
        source = torch.from_numpy(self.sources(objects)).repeat_interleave(views.shape[1], 0)
        action = self._group.encode(self._elements[torch.from_numpy(views.reshape(-1))])
        made = make_targets(self._group, source, action, is_binary)
        return made.view(*views.shape, *made.shape[1:]).numpy()


class StoredViews:
    """See `Views`: the targets of the records from an object's upright frame."""

    has_common_elements = False

    def __init__(
        self, reader: SplitReader, images: SplitImages, group: Group, pose: str | None = None
    ) -> None:
        """All objects have as many views as the one with the fewest.

        Poses are action vectors in the column `pose`, None for the elements.
        """
        self._reader, self._images, self._group, self._pose = reader, images, group, pose
        self.labels, self.num_views = images.labels, int(images.counts.min())

    def _records(self, objects: np.ndarray, views: np.ndarray) -> np.ndarray:
        return np.asarray(self._images.records[self._images.starts[objects, None] + views])

    def elements(self, objects: np.ndarray) -> torch.Tensor:
        return self._decoded("action", objects)

    def poses(self, objects: np.ndarray) -> torch.Tensor:
        return self._decoded(self._pose or "action", objects)

    def _decoded(self, column: str, objects: np.ndarray) -> torch.Tensor:
        """The elements (O, V, ...) with the action vectors of a column."""
        views = np.tile(np.arange(self.num_views), (len(objects), 1))
        vectors = self._reader.read_column(column, self._records(objects, views).reshape(-1))
        elements = self._group.decode(torch.from_numpy(vectors))
        return elements.view(*views.shape, *elements.shape[1:])

    def sources(self, objects: np.ndarray) -> np.ndarray:
        return self._reader.read_frames("source", self._images.upright()[objects])

    def frames(self, objects: np.ndarray, views: np.ndarray) -> np.ndarray:
        targets = self._reader.read_frames("target", self._records(objects, views).reshape(-1))
        return targets.reshape(*views.shape, *targets.shape[1:])


def check_has_views(manifest: Manifest, split: str) -> None:
    """Raise ValueError if a split has no views of objects.

    Such are episodes, actions that are no elements, and splits without targets whose group does not
    act on whole frames.
    """
    group = make_group(manifest.group)
    if not isinstance(manifest.origin, Orbits | Table):
        raise ValueError(f"{manifest.name} holds {manifest.origin.kind}, not views of objects")
    if manifest.action != group.action_components:
        raise ValueError(f"the actions of {manifest.name} are not elements of {group.name}")
    if manifest.holds_sources_only(split) and not manifest.target_is_action_on_source:
        raise ValueError(f"the {split} split of {manifest.name} holds one view of each object")


def make_views(store: PairStore, split: str) -> Views:
    """The views of a split; ValueError as for `check_has_views`."""
    manifest, reader = store.manifest, store.split(split)
    check_has_views(manifest, split)
    group = make_group(manifest.group)
    if manifest.holds_sources_only(split):
        records = np.arange(reader.num_records)
        return MadeViews(reader, records, reader.read_column("label", records), group)
    images = find_images(store, split)
    if manifest.target_is_action_on_source:
        return MadeViews(reader, images.upright(), images.labels, group)
    return StoredViews(reader, images, group, POSE if POSE in manifest.columns else None)


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
