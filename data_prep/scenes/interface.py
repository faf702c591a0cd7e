"""The interface of scenes: an image, and the same image after a group element has acted."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import torch

from orbit.core.store.manifest import ColumnSpec, FrameSpec


class Views(NamedTuple):
    """Frames of n images: `frames` (n, 1 + k, C, ...), first unmoved, then moved by k elements.

    `image_columns` hold one value an image (n, ...), `view_columns` one a frame (n, 1 + k, ...).
    `constant` names the images of the user's files that have the same value everywhere.
    `is_permuted` says that all frames of an image hold the same values at other positions.
    """

    frames: np.ndarray
    label: np.ndarray
    image_columns: dict[str, np.ndarray]
    view_columns: dict[str, np.ndarray]
    constant: tuple[str, ...] = ()
    is_permuted: bool = False


class Scene(Protocol):
    """Everything about a dataset's frames that does not depend on which pairs are stored.

    `view_columns` NAME becomes the columns source_NAME and target_NAME of a record.
    Parts, labels and subjects are the source's.
    """

    @property
    def frames(self) -> FrameSpec:
        """Shape and value coding of the frames."""

    @property
    def num_images(self) -> Mapping[str, int]:
        """Images in each part."""

    @property
    def label_meaning(self) -> str:
        """What a label is, in words."""

    @property
    def image_columns(self) -> Mapping[str, ColumnSpec]:
        """Columns with one value an image."""

    @property
    def view_columns(self) -> Mapping[str, ColumnSpec]:
        """Columns with one value a frame."""

    @property
    def target_is_action_on_source(self) -> bool:
        """Whether a moved frame is the group's image action on the first one."""

    def subjects(self, part: str) -> np.ndarray | None:
        """The subject of each image; see `data_prep.sources.interface`."""

    def views(self, part: str, indices: np.ndarray, g: torch.Tensor) -> Views:
        """The frames of these images under their own k elements each, `g` of shape (n, k, ...)."""

    def counts(self) -> dict[str, int]:
        """The source's counts of the user's files, if it has any."""

    def checksums(self) -> dict[str, str]:
        """sha256 of every file read."""
