"""Interfaces of sources: labelled images, and objects before backgrounds; opening one by name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from data_prep.drawing.planes import Sprites
from data_prep.settings import PrepareConfig, SourceConfig
from data_prep.settings.sources import (
    CutOutsSourceConfig,
    DicomSourceConfig,
    DigitsSourceConfig,
    GeneratedPlanesSourceConfig,
    ImageFolderSourceConfig,
    MedmnistSourceConfig,
    MeshesSourceConfig,
    MnistSourceConfig,
    NiftiSourceConfig,
    ObjectViewsSourceConfig,
    PhantomSourceConfig,
    RenderSourceConfig,
    VolumeFolderSourceConfig,
)
from orbit.core import plugins
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
    """The counts of a source; empty if it has none."""
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
OBJECT_SOURCES = (CutOutsSourceConfig, RenderSourceConfig, GeneratedPlanesSourceConfig)


def what_is_brought(config: SourceConfig) -> str:
    """The kind of images that a source provides, in words."""
    if isinstance(config, OBJECT_SOURCES):
        return OBJECTS
    return VIEWS if isinstance(config, ObjectViewsSourceConfig) else IMAGES


def open_source(config: PrepareConfig) -> ImageSource:
    """The source of whole images that a preparation names.

    For a plug-in (`orbit.sources`) this calls `make(config, seed, num_samples)`; the source is
    pickled to worker processes. Raises FileNotFoundError or ValueError if it cannot be read.
    """
    source = config.source
    match source:
        case DigitsSourceConfig():
            from data_prep.sources.mnist import DigitsSource

            return DigitsSource()
        case MnistSourceConfig():
            return _open_mnist(source)
        case PhantomSourceConfig():
            from data_prep.sources.phantom import PhantomSource

            return PhantomSource(source, config.seed, config.num_samples)
        case MeshesSourceConfig():
            from data_prep.sources.meshes import MeshesSource

            return MeshesSource(source, config.seed, config.num_samples)
        case NiftiSourceConfig():
            from data_prep.sources.nifti import NiftiSource

            return NiftiSource(source)
        case DicomSourceConfig():
            from data_prep.sources.dicom import DicomSource

            return DicomSource(source)
        case MedmnistSourceConfig():
            from data_prep.sources.adrenal import AdrenalSource

            return AdrenalSource(source)
        case ImageFolderSourceConfig():
            from data_prep.sources.image_folder import ImageFolderSource

            return ImageFolderSource(source)
        case VolumeFolderSourceConfig():
            from data_prep.sources.volume_folder import VolumeFolderSource

            return VolumeFolderSource(source)
    if not isinstance(source, SourceConfig):
        added: ImageSource = plugins.load("sources", source.name).make(
            source, config.seed, config.num_samples
        )
        return added
    raise ValueError(f"source={source.name} does not provide whole images")


def open_object_source(config: PrepareConfig, group: str) -> ObjectSource:
    """The source of objects before backgrounds that a preparation names."""
    source = config.source
    match source:
        case CutOutsSourceConfig():
            from data_prep.sources.cut_outs import CutOutsSource

            return CutOutsSource(source, config.seed, config.num_samples, group)
        case RenderSourceConfig():
            from data_prep.sources.rendered import RenderedSource

            return RenderedSource(source, config.seed, config.num_samples, group)
        case GeneratedPlanesSourceConfig():
            from data_prep.sources.cut_outs import GeneratedPlanesSource

            return GeneratedPlanesSource(source, config.seed, config.num_samples, group)
    raise ValueError(f"source={source.name} does not provide objects before backgrounds")


def open_view_source(config: PrepareConfig, group: str) -> ViewSource:
    """The source of views of objects in space that a preparation names."""
    source = config.source
    if isinstance(source, ObjectViewsSourceConfig):
        from data_prep.sources.objects import ObjectViewsSource

        return ObjectViewsSource(source, config.seed, config.num_samples, group)
    raise ValueError(f"source={source.name} does not provide views of objects in space")


def _open_mnist(source: MnistSourceConfig) -> ImageSource:
    from data_prep.sources.mnist import MnistSource, download_mnist

    if source.root is None:
        raise ValueError("give source.root=DIR, the folder that holds MNIST/raw")
    root = Path(source.root)
    if source.download:
        download_mnist(root)
    return MnistSource(root)
