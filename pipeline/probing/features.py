"""The images of a split, upright and moved, as features of a frozen network.

Records that share frames show one image under several elements. Its upright frame is the lowest row
that is a source among them: recipes store the image first and its transforms after it, and the
frames of a table are in the order in which the table names them. If every member of an orbit is a
source (`all_pairs`), orbits are distinguished by counting sources, because records of only some
elements may not connect them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import nn

from orbit.core.groups import make_group
from orbit.core.store.manifest import Manifest
from orbit.core.store.origin import Orbits
from orbit.core.store.reader import PairStore, SplitReader
from pipeline.methods.table import make_task
from pipeline.models.latent_action import LatentActionModel
from pipeline.models.networks import orbit_mean
from pipeline.runs import Run
from pipeline.training.run import INITIALISATION_STREAM


@dataclass(frozen=True)
class SplitImages:
    """The I images of a split in the order of their upright frames.

    `records` (R,) are the numbers of all records whose source is an upright frame, image
    after image; those of image i are the `counts[i]` from `starts[i]` on. `labels` (I,).
    """

    records: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    labels: np.ndarray

    def some(self, chosen: np.ndarray) -> "SplitImages":
        """These images alone."""
        return SplitImages(
            self.records, self.starts[chosen], self.counts[chosen], self.labels[chosen]
        )

    def upright(self) -> np.ndarray:
        """A record for each image (I,), whose *source* is the upright image."""
        return np.asarray(self.records[self.starts])

    def moved(self, key: tuple[int, ...]) -> np.ndarray:
        """A record for each image (I,), whose *target* is the image moved by its element.

        It is drawn uniformly from the records of the image, as a function of (key, image).
        """
        draws = np.random.default_rng(key).random(len(self.counts))
        return np.asarray(self.records[self.starts + (draws * self.counts).astype(np.int64)])


def find_images(store: PairStore, split: str) -> SplitImages:
    """Find the images of a split; the label is that of the first record from the upright frame."""
    reader = store.split(split)
    numbers = np.arange(reader.num_records)
    shards = store.manifest.split(split).shards
    # Rows start at 0 in each shard.
    shard_starts = np.cumsum([0, *(shard.num_frames for shard in shards)])
    shift = np.repeat(shard_starts[:-1], [shard.num_records for shard in shards])
    source = reader.read_column("source", numbers) + shift
    target = reader.read_column("target", numbers) + shift
    origin = store.manifest.origin
    if isinstance(origin, Orbits) and origin.pairs.get(split) == "all_pairs":
        num_members = make_group(store.manifest.group).num_elements
        assert num_members is not None
        image = np.unique(source, return_inverse=True)[1] // num_members
    else:
        image = _connected(source, target, int(shard_starts[-1]))[source]
    upright = np.full(image.max() + 1, shard_starts[-1])
    np.minimum.at(upright, image, source)
    from_upright = np.flatnonzero(source == upright[image])
    records = from_upright[np.argsort(source[from_upright], kind="stable")]
    _, starts, counts = np.unique(source[records], return_index=True, return_counts=True)
    labels = reader.read_column("label", records[starts])
    return SplitImages(records, starts, counts, labels)


def _connected(source: np.ndarray, target: np.ndarray, num_frames: int) -> np.ndarray:
    """The number of each frame's connected set, (F,)."""
    links = (np.ones(len(source), bool), (source, target))
    graph = coo_matrix(links, shape=(num_frames, num_frames))
    return np.asarray(connected_components(graph, directed=False)[1])


Networks = tuple[LatentActionModel, LatentActionModel]
"""The trained model, and the same model with its initial weights."""


def load_networks(run: Run, manifest: Manifest, device: torch.device) -> Networks:
    """Both models in evaluation mode on the device."""
    untrained = untrained_model(run, manifest, device)
    assert isinstance(run.model, LatentActionModel)
    assert isinstance(untrained, LatentActionModel)
    return run.model, untrained


def untrained_model(run: Run, manifest: Manifest, device: torch.device) -> nn.Module:
    """The model of a run with its initial weights, in evaluation mode on the device.

    These are the weights drawn for the attempt that made the checkpoint, even if `init_from`
    replaced them afterwards.
    """
    key = [run.config.seed, INITIALISATION_STREAM, run.checkpoint.meta["attempt"]]
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    return make_task(run.config.task, manifest, seed, device).model.eval()


Encoder = Callable[[torch.Tensor], torch.Tensor]
"""Stored frames (N, C, ...) to values (N, C', ...), float32."""

MAX_BYTES = 2 * 2**30
"""The most bytes of a feature of all images; a fit holds them three times."""
SCALE_FLOOR = 0.1
"""Features that vary less than this share of the average are not scaled to unit variance."""


@torch.no_grad()
def encode(
    encoder: Encoder,
    reader: SplitReader,
    records: np.ndarray,
    end: Literal["source", "target"],
    batch: int,
    device: torch.device,
) -> torch.Tensor:
    """Values of the encoder for the sources or targets of records, (N, C', ...) on the CPU."""
    values = torch.empty(0)
    for first in range(0, len(records), batch):
        frames = reader.read_frames(end, records[first : first + batch])
        part = encoder(torch.from_numpy(frames).to(device)).cpu()
        if not first:
            values = torch.empty(len(records), *part.shape[1:])
        values[first : first + len(part)] = part
    return values


class Feature(NamedTuple):
    """What a feature's name says: `untrained_orbit_pooled_z`. `part` is z, z_v, z_i or pixels."""

    is_untrained: bool
    is_orbit: bool
    is_pooled: bool
    part: str

    @property
    def family(self) -> tuple[bool, bool, bool]:
        """Features of one family are made of the same values of the same network."""
        return self.is_untrained, self.is_orbit, self.part == "pixels"


def split_name(name: str) -> Feature:
    """The parts of a feature's name."""
    trained = name.removeprefix("untrained_")
    single = trained.removeprefix("orbit_")
    part = single.removeprefix("pooled_")
    return Feature(name != trained, trained != single, single != part, part)


LATENT = split_name("z")


def encoder_of(
    model: LatentActionModel, feature: Feature = LATENT, is_pooled: bool = False
) -> Encoder:
    """Stored frames to whole latents z, or to their means over cells, (N, C, 1); to pixels; to the
    means of any of them over the orbit."""

    def encode(images: torch.Tensor) -> torch.Tensor:
        if feature.part == "pixels":
            return images
        latent: torch.Tensor = model.encoder(images)
        return latent.flatten(2).mean(2, keepdim=True) if is_pooled else latent

    def encode_orbit(images: torch.Tensor) -> torch.Tensor:
        elements = model.group.elements().to(images.device)
        return orbit_mean(lambda moved, g: encode(moved), images, elements, model.group)

    return lambda frames: (encode_orbit if feature.is_orbit else encode)(model.normalise(frames))


def reason_to_skip(name: str, model: LatentActionModel, num_images: int) -> str | None:
    """Why a feature is skipped: the model lacks it, or it does not fit into memory; else None."""
    _, is_orbit, is_pooled, part = split_name(name)
    is_variant = model.mask.is_variant()
    num_bytes = num_numbers(name, model) * num_images * 4
    if num_bytes > MAX_BYTES:
        return (
            f"of {num_images:,} images it takes {num_bytes / 2**30:.1f} GiB, more than"
            f" {MAX_BYTES / 2**30:g}: pooled features are short, and max_train makes images fewer"
        )
    if is_orbit and (reason := _no_orbit(model)):
        return reason
    if part == "z_v" and not is_variant.any():
        return "no channel is variant"
    if part == "z_i" and is_variant.all():
        return "no channel is invariant"
    if is_pooled and math.prod(model.latent_shape[1:]) == 1:
        return "the latent is a vector: the same without pooling"
    return None


def _no_orbit(model: LatentActionModel) -> str | None:
    """Why there are no means over the orbits of frames; else None."""
    group = model.group
    if group.num_elements is None:
        return f"{group.name} is continuous, and has no mean over all elements"
    try:
        group.check_spatial_shape(model.frames.shape[1:])
    except ValueError as error:
        return f"no mean over the orbit: {error}"
    return None


def num_numbers(name: str, model: LatentActionModel) -> int:
    """The length of the feature of an image."""
    _, _, is_pooled, part = split_name(name)
    if part == "pixels":
        return math.prod(model.frames.shape)
    num_variant = int(model.mask.is_variant().sum())
    num_channels = model.latent_shape[0]
    num_channels = {"z_v": num_variant, "z_i": num_channels - num_variant}.get(part, num_channels)
    return num_channels * (1 if is_pooled else math.prod(model.latent_shape[1:]))


def extract(name: str, values: torch.Tensor, is_variant: torch.Tensor) -> torch.Tensor:
    """Features (N, D) from latents (N, C, ...), or from pixels for `pixels`.

    `z_v` and `z_i` hold only the channels of their part; pooled features are means over latent
    cells, one for each channel.
    """
    _, _, is_pooled, part = split_name(name)
    if part == "z_v":
        values = values[:, is_variant]
    elif part == "z_i":
        values = values[:, ~is_variant]
    return values.flatten(2).mean(2) if is_pooled else values.flatten(1)


@dataclass(frozen=True)
class Standardiser:
    """Scales features (N, D) to mean 0 and variance 1, by statistics (D,) of a training set."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        return (features - self.mean).mul_(self.scale)


def standardiser(features: torch.Tensor) -> Standardiser:
    """Statistics of training features (N, D). Those that never vary become 0 for all images."""
    variance, mean = torch.var_mean(features, 0, correction=0)
    std = variance.sqrt()
    average = std.mean()
    scale = 1 / std.clamp_min(SCALE_FLOOR * average)
    varies = std > 1e-6 * average
    return Standardiser(mean, torch.where(varies, scale, torch.zeros(())))
