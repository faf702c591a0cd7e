"""Interfaces of sources: labelled images, and objects before backgrounds; opening one by name."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from data_prep.drawing.planes import Sprites
from data_prep.settings import PrepareConfig, SourceConfig
from data_prep.sources import (
    adrenal,
    cut_outs,
    drawn_shapes,
    image_folder,
    meshes,
    mnist,
    objects,
    phantom,
    rendered,
    volumes,
)
from orbit.core.plugins import Kind, by_name, kind_of
from orbit.core.store.manifest import ColumnSpec


class ImageSource(Protocol):
    """Labelled uint8 images or volumes in named parts, readable in any order.

    Parts are `train`, `val` and `test` if the source has its own split, `train` and `test` if
    validation images have to be taken from `train`, and `all` if it has no split. Picklable and
    cheap to copy.
    """

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) or (C, D, H, W)"""

    @property
    def is_binary(self) -> bool:
        """Whether images hold a shape: 0 outside, 255 inside."""

    @property
    def num_images(self) -> Mapping[str, int]:
        """Images in each part, by part name."""

    @property
    def label_meaning(self) -> str:
        """What a label is, in words."""

    def subjects(self, part: str) -> np.ndarray | None:
        """The subject of each image of a part, (n,) int64: no subject is in two splits.

        None if every image is its own subject.
        """

    def read(self, part: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (n, C, ...) uint8 and labels (n,) int64 at these positions of a part.

        Raises ValueError naming the file that cannot be read.
        """

    def checksums(self) -> dict[str, str]:
        """sha256 of every file read, by name without its directory."""


@runtime_checkable
class NamedImages(Protocol):
    """Further method of sources that read a user's files."""

    def names(self, part: str) -> Sequence[str]:
        """The name of each image of a part in messages, such as its path below the root."""


@runtime_checkable
class CountedFiles(Protocol):
    """Further method of sources that leave out or count some of the user's files."""

    def counts(self) -> dict[str, int]:
        """The counts, by their names in the manifest."""


def counts_of(source: object) -> dict[str, int]:
    """The numbers of files that a source reports, by name; empty if it does not count files."""
    return source.counts() if isinstance(source, CountedFiles) else {}


class ObjectSource(Protocol):
    """Objects on which a group acts, each with its background.

    Parts, labels, subjects and checksums as in `ImageSource`.
    """

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(3, H, W)"""

    @property
    def num_images(self) -> Mapping[str, int]:
        """Compositions in each part, by part name."""

    @property
    def label_meaning(self) -> str:
        """What a label is, in words."""

    def subjects(self, part: str) -> np.ndarray | None:
        """See `ImageSource`."""

    def check_group(self, group: str) -> None:
        """Raise ValueError naming the allowed groups if objects cannot be moved by this one."""

    def labels(self, part: str, indices: np.ndarray) -> np.ndarray:
        """(n,) int64"""

    def backgrounds(self, part: str, indices: np.ndarray) -> np.ndarray:
        """(n, 3, H, W) uint8"""

    def objects(self, part: str, indices: np.ndarray, g: torch.Tensor) -> Sprites:
        """The objects at these positions, each moved by its own group element."""

    def checksums(self) -> dict[str, str]:
        """sha256 of every file read, by name without its directory."""


class ViewSource(Protocol):
    """Pictures of objects in space that a group turns, while all other factors stay.

    Parts, labels, subjects, groups and checksums as in `ObjectSource`.
    """

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(3, H, W)"""

    @property
    def num_images(self) -> Mapping[str, int]:
        """Views in each part, by part name."""

    @property
    def label_meaning(self) -> str:
        """What a label is, in words."""

    @property
    def factors(self) -> Mapping[str, ColumnSpec]:
        """The other factors that are drawn for a view, by the names of their columns."""

    def subjects(self, part: str) -> np.ndarray | None:
        """See `ImageSource`."""

    def check_group(self, group: str) -> None:
        """See `ObjectSource`."""

    def labels(self, part: str, indices: np.ndarray) -> np.ndarray:
        """(n,) int64"""

    def read_factors(self, part: str, indices: np.ndarray) -> dict[str, np.ndarray]:
        """The factors of these views, (n, ...) each."""

    def pictures(self, part: str, indices: np.ndarray, g: torch.Tensor) -> np.ndarray:
        """These views (n, 3, H, W) uint8, the object of each turned by its own element."""

    def checksums(self) -> dict[str, str]:
        """sha256 of every file read, by name without its directory."""


IMAGES, OBJECTS, VIEWS = "whole images", "objects before backgrounds", "views of objects in space"
SOURCES: Mapping[str, Mapping[str, Kind]] = {
    IMAGES: by_name(
        *(mnist.DIGITS, mnist.MNIST, phantom.SOURCE, meshes.SOURCE, volumes.NIFTI, volumes.DICOM),
        *(adrenal.SOURCE, image_folder.SOURCE, volumes.VOLUMES),
        *(drawn_shapes.ARROWS, drawn_shapes.SQUARES),
    ),
    OBJECTS: by_name(cut_outs.CUT_OUTS, cut_outs.GENERATED, rendered.SOURCE),
    VIEWS: by_name(objects.SOURCE),
}
"""By what they bring. `make` takes config, seed and num_samples; of the last two the group, too."""


def what_is_brought(config: SourceConfig) -> str:
    """The kind of images that a source provides, in words."""
    return next((kind for kind, own in SOURCES.items() if config.name in own), IMAGES)


def open_source(config: PrepareConfig) -> ImageSource:
    """The source of whole images that a preparation names.

    A package's (`orbit.sources`) is pickled to worker processes, as Orbit's are. Raises
    FileNotFoundError or ValueError if it cannot be read.
    """
    source: ImageSource = _kind(config, IMAGES).make(config.source, config.seed, config.num_samples)
    return source


def open_object_source(config: PrepareConfig, group: str) -> ObjectSource:
    """The source of objects before backgrounds that a preparation names."""
    kind = _kind(config, OBJECTS)
    source: ObjectSource = kind.make(config.source, config.seed, config.num_samples, group)
    return source


def open_view_source(config: PrepareConfig, group: str) -> ViewSource:
    """The source of views of objects in space that a preparation names."""
    kind = _kind(config, VIEWS)
    source: ViewSource = kind.make(config.source, config.seed, config.num_samples, group)
    return source


def _kind(config: PrepareConfig, wanted: str) -> Kind:
    kind: Kind | None = kind_of("sources", SOURCES[wanted], config.source)
    if kind is None:
        raise ValueError(f"source={config.source.name} does not provide {wanted}")
    return kind
