"""The images of a split, upright and moved, found from its records alone.

Records that are connected through a frame show one image under several elements. Its
upright frame is the lowest row that is a source among them: recipes store the image
itself first, its transforms after it, and a table's frames stand in the order in which
the table names them. Where every member of an orbit is a source (`all_pairs`), orbits
are told apart by counting sources, since records of some elements only need not
connect them.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from data_prep.store.reader import PairStore
from pipeline.groups import make_group


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

    def upright(self) -> np.ndarray:
        """A record for each image (I,), whose *source* is the upright image."""
        return np.asarray(self.records[self.starts])

    def moved(self, key: tuple[int, ...]) -> np.ndarray:
        """A record for each image (I,), whose *target* is the image moved by its element.

        Drawn uniformly from the records of the image; a function of (key, image).
        """
        draws = np.random.default_rng(key).random(len(self.counts))
        return np.asarray(self.records[self.starts + (draws * self.counts).astype(np.int64)])


def find_images(store: PairStore, split: str) -> SplitImages:
    """Find the images of a split; the label is that of the first record from the upright frame."""
    reader = store.split(split)
    numbers = np.arange(reader.num_records)
    shards = store.manifest.split(split).shards
    # Rows count from 0 in each shard.
    shard_starts = np.cumsum([0, *(shard.num_frames for shard in shards)])
    shift = np.repeat(shard_starts[:-1], [shard.num_records for shard in shards])
    source = reader.read_column("source", numbers) + shift
    target = reader.read_column("target", numbers) + shift
    pairs = store.manifest.generator.get("pairs", {})
    if pairs.get(split) == "all_pairs":
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
