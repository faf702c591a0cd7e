"""AdrenalMNIST3D: shapes of adrenal glands in MedMNIST's npz file, with its official split."""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from data_prep.settings.sources import MedmnistSourceConfig
from orbit.core.files.atomic import sha256_of_file
from orbit.core.plugins import Kind
from orbit.core.reading.files import import_extra
from orbit.core.reading.numpy_files import load_npz
from orbit.core.reading.volumes import as_binary

FILE_NAMES = {28: "adrenalmnist3d.npz", 64: "adrenalmnist3d_64.npz"}
MD5 = {28: "bbd3c5a5576322bc4cdfea780653b1ce", 64: "17721accfe9fb005146a47d33bc54b2f"}
PARTS = ("train", "val", "test")


class AdrenalSource:
    """1,584 binary volumes (1, S, S, S) of S = 28 or 64 voxels a side: 0 outside, 255 inside.

    Parts `train`, `val` and `test` are the official ones, which have no patient in common.

    Raises FileNotFoundError if the file is missing, ValueError naming it if its MD5 is not
    the published one, or if it does not hold binary volumes of this side with their labels.
    """

    is_binary = True
    label_meaning = "adrenal gland: 0 normal, 1 hyperplasia"

    def __init__(self, config: MedmnistSourceConfig) -> None:
        if config.root is None:
            raise ValueError(f"give source.root=PATH, {FILE_NAMES[config.side]} or its folder")
        self._path, self._side = Path(config.root), config.side
        if self._path.suffix != ".npz":
            self._path /= FILE_NAMES[config.side]
        if config.download:
            _download(self._path, config.side)
        if not self._path.is_file():
            raise FileNotFoundError(
                f"source.root={config.root}: there is no {self._path.name};"
                " source.download=true fetches it"
            )
        if config.check_md5:
            _check_md5(self._path, MD5[config.side])
        self.image_shape = (1, config.side, config.side, config.side)
        self.num_images = {part: len(_load(self._path, part, config.side)[1]) for part in PARTS}

    def subjects(self, part: str) -> np.ndarray | None:
        return None

    def read(self, part: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        volumes, labels = _load(self._path, part, self._side)
        return (volumes[indices] > 0)[:, None] * np.uint8(255), labels[indices]

    def checksums(self) -> dict[str, str]:
        return {self._path.name: _sha256(self._path)}


def _download(path: Path, side: int) -> None:
    medmnist = import_extra("medmnist", "medmnist", "medmnist")
    if path.name != FILE_NAMES[side]:
        raise ValueError(f"source.root={path}: source.download=true fetches {FILE_NAMES[side]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        medmnist.AdrenalMNIST3D(split="train", root=str(path.parent), size=side, download=True)
    except (RuntimeError, OSError) as error:
        cause = " ".join(str(error).split())
        raise ValueError(f"{path} could not be downloaded: {cause}") from None


def _check_md5(path: Path, expected: str) -> None:
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != expected:
        raise ValueError(
            f"{path} has MD5 {found} where {expected} is published;"
            " source.check_md5=false accepts another file"
        )


@lru_cache(maxsize=3)
def _load(path: Path, part: str, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Volumes (n, S, S, S), nonzero inside, and labels (n,) int64 of a part."""
    images_name, labels_name = f"{part}_images", f"{part}_labels"
    arrays = load_npz(path, (images_name, labels_name))
    for name in (images_name, labels_name):
        if name not in arrays:
            raise ValueError(f"{path} is not MedMNIST's npz: it holds no {name}")
    images, labels = arrays[images_name], arrays[labels_name]
    if images.shape[1:] != (side, side, side) or not len(images):
        raise ValueError(
            f"{path} holds {images_name} of shape {images.shape}, not (n, {side}, {side}, {side})"
        )
    if labels.size != len(images) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{path} holds {labels_name} of shape {labels.shape} and type {labels.dtype}"
            f" for {len(images)} volumes"
        )
    if images.dtype != np.uint8:
        raise ValueError(f"{path} holds {images_name} of type {images.dtype}, not uint8")
    try:
        as_binary(images)
    except ValueError as error:
        raise ValueError(f"{path}: {images_name} {error}") from None
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"{path} holds {labels_name} other than 0 and 1")
    return images, labels.reshape(-1).astype(np.int64)


@lru_cache(maxsize=2)
def _sha256(path: Path) -> str:
    return sha256_of_file(path)


SOURCE = Kind("medmnist", MedmnistSourceConfig, lambda config, *_: AdrenalSource(config))
