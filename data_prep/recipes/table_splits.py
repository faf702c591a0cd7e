"""Which rows of a table of pairs make up each split."""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from data_prep.reading.pairs import Pairs, first_shared_frame
from data_prep.recipes.splits import DEFAULT_FRACTION, proportions
from data_prep.settings import TableDatasetConfig
from data_prep.store.manifest import SPLITS

TABLE_SPLIT_STREAM = 2


def split_rows(
    pairs: Pairs, config: TableDatasetConfig, seed: int, num_samples: int | None
) -> dict[str, np.ndarray]:
    """Split name to its rows in the order of the table.

    The table's own splits, or else drawn ones in which rows that share a frame, be it
    through other rows, stay together. `num_samples` keeps the first rows of each, in
    proportion. Raises ValueError if a split would be empty.
    """
    split = pairs.split
    fractions = (config.val_fraction, config.test_fraction)
    if split is None:
        val, test = (DEFAULT_FRACTION if share is None else share for share in fractions)
        split = _draw(pairs, val, test, seed)
    elif fractions != (None, None):
        raise ValueError(
            f"{pairs.places.table} has a column split: dataset.val_fraction and"
            " dataset.test_fraction must be null"
        )
    elif (shared := first_shared_frame(pairs, split)) is not None:
        first, second = (pairs.places[row] for row in shared)
        raise ValueError(f"{second}: shares an image with {first}, which is in another split")
    rows = {name: np.flatnonzero(split == number) for number, name in enumerate(SPLITS)}
    for name, chosen in rows.items():
        if not len(chosen):
            why = (
                f"of {len(split)} rows, those that share images stay together"
                if pairs.split is None
                else "no row names it"
            )
            raise ValueError(f"{pairs.places.table}: the {name} split would be empty: {why}")
    total = len(split)
    if num_samples is None or num_samples == total:
        return rows
    if num_samples > total:
        raise ValueError(f"num_samples={num_samples}, but {pairs.places.table} has {total} pairs")
    shares = proportions([len(chosen) for chosen in rows.values()], num_samples)
    return {
        name: chosen[:share] for (name, chosen), share in zip(rows.items(), shares, strict=True)
    }


def _draw(pairs: Pairs, val: float, test: float, seed: int) -> np.ndarray:
    """Positions in SPLITS (N,): sets of connected rows in drawn order, the largest to train."""
    num_frames = int(max(pairs.source.max(), pairs.target.max())) + 1
    links = (np.ones(len(pairs.source), bool), (pairs.source, pairs.target))
    graph = coo_matrix(links, shape=(num_frames, num_frames))
    set_of_frame = connected_components(graph, directed=False)[1]
    _, set_of_row = np.unique(set_of_frame[pairs.source], return_inverse=True)
    sizes = np.bincount(set_of_row)
    order = np.random.default_rng([seed, TABLE_SPLIT_STREAM]).permutation(len(sizes))
    order = np.delete(order, np.argmax(sizes[order]))
    split_of_set = np.full(len(sizes), SPLITS.index("train"))
    for name, fraction, num_left in (("val", val, 1), ("test", test, 0)):
        room = max(1, round(len(set_of_row) * fraction))
        taken = _fitting(sizes[order], room, len(order) - num_left)
        split_of_set[order[taken]] = SPLITS.index(name)
        order = np.delete(order, taken)
    return split_of_set[set_of_row]


def _fitting(sizes: np.ndarray, room: int, max_taken: int) -> list[int]:
    """Positions of the sets that fit into `room` one after the other, the smallest if none does."""
    taken: list[int] = []
    for place, size in enumerate(sizes.tolist()):
        if not room or len(taken) == max_taken:
            break
        if size <= room:
            taken.append(place)
            room -= size
    return taken or ([int(np.argmin(sizes))] if len(sizes) else [])
