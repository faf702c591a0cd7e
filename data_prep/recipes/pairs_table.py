"""Pairs that a user's table lists, and the assignment of its rows to splits."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from data_prep.building.recipe import ShardPlan
from data_prep.recipes.splits import DEFAULT_FRACTION, proportions
from data_prep.scenes.acting import differs_from_action
from data_prep.settings import TableDatasetConfig
from data_prep.settings.sources import TableSourceConfig
from orbit.core.groups import make_group
from orbit.core.reading.pairs import Pairs, first_shared_frame
from orbit.core.store import origin
from orbit.core.store.manifest import SPLITS, ColumnSpec, FrameSpec, Values
from orbit.core.store.shard import Block, ShardLayout

TABLE_SPLIT_STREAM = 2


def split_rows(
    pairs: Pairs, config: TableDatasetConfig, seed: int, num_samples: int | None
) -> dict[str, np.ndarray]:
    """Split name to its rows in the order of the table.

    The table's own splits, or drawn ones in which rows that share a frame, directly or through
    other rows, stay together. `num_samples` keeps the first rows of each, in proportion. Raises
    ValueError if a split would be empty.
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
    """Positions of the sets that fit into `room` when added in order, or the smallest if none
    fits."""
    taken: list[int] = []
    for place, size in enumerate(sizes.tolist()):
        if not room or len(taken) == max_taken:
            break
        if size <= room:
            taken.append(place)
            room -= size
    return taken or ([int(np.argmin(sizes))] if len(sizes) else [])


BLOCK_BYTES = 2**25


class PairsTable:
    """Recipe for a table's pairs; see `data_prep.building.recipe.Recipe`.

    An item is a position in the list of the split's rows. A frame that several rows of
    a shard use is stored once in it. Raises ValueError or FileNotFoundError in one line
    naming the table's row; with `targets_are_exact` so does `blocks` for a target that
    is not the group's action on its source.
    """

    columns: dict[str, ColumnSpec] = {}

    def __init__(
        self,
        config: TableDatasetConfig,
        source: TableSourceConfig,
        seed: int,
        num_samples: int | None,
    ) -> None:
        group = make_group(config.group)
        self.name, self.group, self.seed = config.name, config.group, seed
        self.action_components = group.action_components
        self.target_is_action_on_source = config.targets_are_exact
        self._config, self._num_samples = config, num_samples
        self._pairs = _open_pairs(source, config.group)
        shape = self._pairs.frames.shape
        if config.targets_are_exact:
            try:
                group.check_spatial_shape(shape[1:])
            except ValueError as error:
                raise ValueError(f"source.root={source.root}: {error}") from None
        values: Values = "binary" if source.binary else "continuous"
        self.frames = FrameSpec(shape, "uint8", (0.0, 255.0), (-1.0, 1.0), values)
        self.label_meaning = self._pairs.label_meaning
        self._rows = split_rows(self._pairs, config, seed, num_samples)
        self._plans = tuple(plan for split in SPLITS for plan in self._plan(split))

    def origin(self) -> origin.Table:
        config = self._config
        return origin.Table(
            kind="table",
            targets_are_exact=config.targets_are_exact,
            shard_mib=config.shard_mib,
            num_samples=self._num_samples,
            val_fraction=config.val_fraction,
            test_fraction=config.test_fraction,
        )

    def source_checksums(self) -> dict[str, str]:
        return self._pairs.frames.checksums()

    def plans(self) -> tuple[ShardPlan, ...]:
        return self._plans

    def blocks(self, plan: ShardPlan) -> Iterator[Block]:
        rows = self._rows[plan.split][plan.first : plan.last]
        numbers = np.stack([self._pairs.source[rows], self._pairs.target[rows]], 1)
        # Frames are in the order in which records first name them.
        frames, first_use, place = np.unique(numbers, return_index=True, return_inverse=True)
        order = np.argsort(first_use)
        rank = np.argsort(order)[place].reshape(numbers.shape)
        frames, first_row = frames[order], first_use[order] // 2
        step = max(1, BLOCK_BYTES // (2 * int(np.prod(self.frames.shape))))
        for first in range(0, len(rows), step):
            block = slice(first, first + step)
            is_new = (first_row >= first) & (first_row < first + step)
            if self.target_is_action_on_source:
                self._check_targets(rows[block])
            yield Block(
                self._pairs.frames.read(frames[is_new]),
                rank[block, 0],
                rank[block, 1],
                self._pairs.action[rows[block]],
                self._pairs.label[rows[block]],
                {},
            )

    def _plan(self, split: str) -> Iterator[ShardPlan]:
        """Shards of consecutive rows, each with as many different frames as fit."""
        rows = self._rows[split]
        num_allowed = self._config.shard_mib * 2**20 / np.prod(self.frames.shape)
        cuts, counts, held = [0], [], set[int]()
        pairs = zip(
            self._pairs.source[rows].tolist(), self._pairs.target[rows].tolist(), strict=True
        )
        for row, pair in enumerate(pairs):
            if held and len(held) + len(set(pair) - held) > num_allowed:
                cuts.append(row)
                counts.append(len(held))
                held = set()
            held.update(pair)
        cuts.append(len(rows))
        counts.append(len(held))
        for index, num_frames in enumerate(counts):
            first, last = cuts[index], cuts[index + 1]
            num_components = len(self.action_components)
            layout = ShardLayout(
                self.frames, num_components, self.columns, num_frames, last - first
            )
            yield ShardPlan(split, index, first, last, layout, None)

    def _check_targets(self, rows: np.ndarray) -> None:
        pairs, group = self._pairs, make_group(self.group)
        differs = differs_from_action(
            group,
            pairs.frames.read(pairs.source[rows]),
            pairs.frames.read(pairs.target[rows]),
            pairs.action[rows],
        )
        if differs.any():
            place = pairs.places[rows[int(np.argmax(differs))]]
            raise ValueError(
                f"{place}: the target is not the action of {self.group} on the source,"
                " as dataset.targets_are_exact=true says"
            )


def _open_pairs(source: TableSourceConfig, group: str) -> Pairs:
    if source.root is None:
        raise ValueError("give source.root=FILE, a CSV or npz of pairs")
    path = Path(source.root)
    if not path.is_file():
        raise FileNotFoundError(f"source.root={path}: there is no such file")
    match path.suffix.lower():
        case ".csv":
            from orbit.core.reading.pairs_csv import read_csv_pairs
            from orbit.core.reading.pictures import Limit

            return read_csv_pairs(path, group, Limit(source.max_megapixels))
        case ".npz":
            from orbit.core.reading.pairs import read_npz_pairs

            return read_npz_pairs(path, group)
    raise ValueError(f"source.root={path} is neither a .csv nor an .npz file")
