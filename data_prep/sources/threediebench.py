"""The folders of 3DIEBench (Garrido, Najman, LeCun): rendered views of objects in known poses.

    SYNSET/OBJECT/image_I.jpg     256 x 256 pixels, I = 0 to 49
    SYNSET/OBJECT/latent_I.npy    (7,): turns about x, y and z, hue of the floor, two angles of the
                                  light, hue of the light
    train_images.npy, val_images.npy    texts "/SYNSET/OBJECT/": no object is in both
    train_labels.npy, val_labels.npy    int64: the positions of synsets in their sorted order

A pose is R = Rz Ry Rx, the turn about x first, about axes that stay. Pictures keep the order of
channels in which they are stored. Nothing here is unpickled.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from data_prep.settings.sources import ThreeDIEBenchSourceConfig
from orbit.core.files.atomic import sha256_of_file
from orbit.core.files.listing import list_folder
from orbit.core.groups import quaternions
from orbit.core.reading.numpy_files import load_npy
from orbit.core.reading.pictures import read_picture

PARTS = ("train", "val")
NUM_LATENTS = 7
NUM_FACTORS = NUM_LATENTS - 3


class Index(NamedTuple):
    """Objects "SYNSET/OBJECT" (n) and their labels (n,) int64, in the order of the file."""

    objects: Sequence[str]
    labels: np.ndarray


class ThreeDIEBench:
    """The objects of both parts, `train` and `val`, and their first `num_views` views.

    Cheap to copy. Raises FileNotFoundError for a missing index, and ValueError in one line that
    names file and entry for an index of another type, an entry that is not /SYNSET/OBJECT/, an
    object that is named twice, and labels that are not those of sorted synsets.
    """

    def __init__(self, config: ThreeDIEBenchSourceConfig) -> None:
        if config.root is None:
            raise ValueError("give source.root=DIR, the folder of train_images.npy")
        self._root = Path(config.root)
        if not self._root.is_dir():
            raise FileNotFoundError(f"source.root={self._root}: there is no such directory")
        self.num_views, self.image_shape = config.num_views, (3, config.size, config.size)
        self._size = config.size
        self.index = {part: _read_index(self._root, part) for part in PARTS}
        _check_once(self._root, self.index)
        synsets = _check_labels(self._root, self.index)
        listed = ", ".join(f"{label} {synset}" for synset, label in synsets.items())
        self.label_meaning = f"synset: {listed}"

    def check_files(self, part: str, numbers: np.ndarray) -> None:
        """Raise FileNotFoundError naming the first view of these objects that is missing."""
        for number in numbers:
            folder = self._root / self.index[part].objects[number]
            if not folder.is_dir():
                raise FileNotFoundError(f"{folder} is missing, which {part}_images.npy names")
            there = {path.name for path in list_folder(folder)}
            for view in range(self.num_views):
                for name in _files(view):
                    if name not in there:
                        raise FileNotFoundError(f"{folder / name} is missing")

    def pictures(self, part: str, number: int) -> np.ndarray:
        """The views of an object, (V, 3, S, S) uint8."""
        folder = self._root / self.index[part].objects[number]
        views = range(self.num_views)
        return np.stack([read_picture(folder / _files(v)[0], False, self._size) for v in views])

    def latents(self, part: str, number: int) -> np.ndarray:
        """The latents of the views of an object, (V, 7) float64; ValueError naming a file of
        another shape or type, or with a value that is not finite."""
        folder = self._root / self.index[part].objects[number]
        found = []
        for view in range(self.num_views):
            path = folder / _files(view)[1]
            latent = load_npy(path)
            if latent.shape != (NUM_LATENTS,) or latent.dtype.kind != "f":
                raise ValueError(
                    f"{path} holds {latent.dtype} of shape {latent.shape}, not ({NUM_LATENTS},)"
                    " real numbers"
                )
            if not np.isfinite(latent).all():
                raise ValueError(f"{path} holds a value that is not finite")
            found.append(np.asarray(latent, np.float64))
        return np.stack(found)

    def checksums(self) -> dict[str, str]:
        """sha256 of the index files alone: hashing 17 GB of views would take as long as reading
        them."""
        names = [f"{part}_{what}.npy" for part in PARTS for what in ("images", "labels")]
        return {name: sha256_of_file(self._root / name) for name in names}


def poses_of(latents: np.ndarray) -> torch.Tensor:
    """Canonical unit quaternions (w, x, y, z) of R = Rz Ry Rx, (V, 4) float64, of (V, 7)."""
    half = torch.from_numpy(latents[:, :3]) / 2
    zero = torch.zeros(len(half), dtype=torch.float64)
    x, y, z = (
        torch.stack([turn.cos(), *(turn.sin() if axis == each else zero for each in range(3))], 1)
        for axis, turn in enumerate(half.unbind(1))
    )
    return quaternions.canonical(quaternions.multiply(z, quaternions.multiply(y, x)))


def elements_between(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """g = R2 R1^-1, which moves pose R1 to R2 in front of a camera that stays, (N, 4) float64."""
    return quaternions.canonical(quaternions.multiply(second, quaternions.conjugate(first)))


def _files(view: int) -> tuple[str, str]:
    return f"image_{view}.jpg", f"latent_{view}.npy"


def _read_index(root: Path, part: str) -> Index:
    path, beside = (root / f"{part}_{what}.npy" for what in ("images", "labels"))
    entries, labels = load_npy(path), load_npy(beside)
    if entries.ndim != 1 or entries.dtype.kind != "U" or not len(entries):
        raise ValueError(
            f"{path} holds {entries.dtype} of shape {entries.shape}, not a list of texts"
        )
    if labels.shape != entries.shape or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{beside} holds {labels.dtype} of shape {labels.shape}, not a whole number for each"
            f" of {len(entries)} objects"
        )
    objects = [_object(f"{path}, entry {n}", text) for n, text in enumerate(entries.tolist())]
    return Index(objects, np.asarray(labels, np.int64))


def _object(place: str, text: str) -> str:
    parts = text.strip("/").split("/")
    is_plain = all(part not in ("", ".", "..") and part.isprintable() for part in parts)
    if len(parts) != 2 or not is_plain:
        raise ValueError(f"{place}: {text!r} is not /SYNSET/OBJECT/ below source.root")
    return "/".join(parts)


def _check_once(root: Path, index: dict[str, Index]) -> None:
    """Raise ValueError for an object that is named twice, in one part or in both."""
    seen: dict[str, str] = {}
    for part in PARTS:
        for name in index[part].objects:
            if name in seen:
                where = "twice" if seen[name] == part else f"and {seen[name]}_images.npy, too"
                raise ValueError(f"{root / f'{part}_images.npy'} names /{name}/ {where}")
            seen[name] = part


def _check_labels(root: Path, index: dict[str, Index]) -> dict[str, int]:
    """The label of each synset; ValueError unless labels ascend with the sorted synsets, one each.

    Folders of some synsets alone may keep the labels that they have among all 55.
    """
    known: dict[str, tuple[int, str]] = {}
    for part in PARTS:
        for number, (name, label) in enumerate(
            zip(index[part].objects, index[part].labels.tolist(), strict=True)
        ):
            place = f"{root / f'{part}_labels.npy'}, entry {number}"
            synset = name.partition("/")[0]
            other, where = known.setdefault(synset, (label, place))
            if other != label:
                raise ValueError(f"{place}: synset {synset} has label {label}, but {other} {where}")
    synsets = sorted(known)
    for before, after in pairwise(synsets):
        if known[before][0] >= known[after][0]:
            label, place = known[after]
            raise ValueError(
                f"{place}: synset {after} has label {label}, and {before} before it"
                f" {known[before][0]}: labels are positions of sorted synsets"
            )
    return {synset: known[synset][0] for synset in synsets}
