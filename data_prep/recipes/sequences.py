"""Sequence labelling: sinusoids with their maxima labelled, under cyclic shifts.

The supervised toy problem of Park et al., "Learning Symmetric Embeddings for Equivariant World
Models": a record's source is a sequence, its target the labels, its action the shift by 0.
"""

import math
from collections.abc import Iterator

import numpy as np

from data_prep.building.recipe import ShardPlan
from data_prep.drawing.backgrounds import first_maximum, labels_of_maxima, sinusoids
from data_prep.settings.datasets import SequenceDatasetConfig
from data_prep.worlds.draws import DrawKey, uniforms
from orbit.core.groups import make_group
from orbit.core.store import origin
from orbit.core.store.manifest import SPLITS, ColumnSpec, FrameSpec
from orbit.core.store.shard import Block, ShardLayout

BLOCK_SAMPLES = 8192
SEQUENCE_STREAM = 0


class Sequences:
    """Recipe for labelled sinusoids; see `data_prep.building.recipe.Recipe`.

    An item is a sequence. Draws are keyed by (seed, split, sequence).
    """

    label_meaning = "point of the first maximum"
    target_is_action_on_source = False

    def __init__(self, config: SequenceDatasetConfig, seed: int, num_samples: int | None) -> None:
        self.name, self.seed, self._config = config.name, seed, config
        self.group = f"wrap1d:{config.num_points}:1"
        self.action_components = make_group(self.group).action_components
        limit = max(1.0, config.amplitude[1])
        values = (-limit, limit)
        self.frames = FrameSpec((1, 1, config.num_points), "float16", values, values)
        self.columns = {
            "amplitude": ColumnSpec("float32", (), "largest value of the sinusoid"),
            "phase": ColumnSpec("float32", (), "of the sinusoid's first point, in radians"),
        }
        counts = (
            num_samples or config.num_samples,
            config.num_val_samples,
            config.num_test_samples,
        )
        self._num_samples = dict(zip(SPLITS, counts, strict=True))

    def origin(self) -> origin.Sequences:
        config = self._config
        return origin.Sequences(
            kind="sequences",
            num_points=config.num_points,
            num_periods=config.num_periods,
            amplitude=config.amplitude,
            num_samples=self._num_samples,
            shard_mib=config.shard_mib,
        )

    def source_checksums(self) -> dict[str, str]:
        return {}

    def plans(self) -> tuple[ShardPlan, ...]:
        plans = []
        for split, num in self._num_samples.items():
            in_shard = max(1, int(self._config.shard_mib * 2**20 / self._bytes_per_sample))
            num_shards = math.ceil(num / in_shard)
            for index in range(num_shards):
                first, last = num * index // num_shards, num * (index + 1) // num_shards
                layout = ShardLayout(self.frames, 1, self.columns, 2 * (last - first), last - first)
                plans.append(ShardPlan(split, index, first, last, layout, None))
        return tuple(plans)

    def blocks(self, plan: ShardPlan) -> Iterator[Block]:
        config = self._config
        low, high = config.amplitude
        key = DrawKey(self.seed, SPLITS.index(plan.split), SEQUENCE_STREAM)
        for first in range(plan.first, plan.last, BLOCK_SAMPLES):
            samples = np.arange(first, min(first + BLOCK_SAMPLES, plan.last))
            drawn = uniforms(key, samples, 2)
            amplitude = (low + (high - low) * drawn[:, 0]).astype(np.float32)
            phase = (2 * np.pi * drawn[:, 1]).astype(np.float32)
            maximum = first_maximum(phase, config.num_points, config.num_periods)
            frames = np.stack(
                [
                    sinusoids(amplitude, phase, config.num_points, config.num_periods),
                    labels_of_maxima(maximum, config.num_points, config.num_periods),
                ],
                axis=1,
            ).reshape(-1, *self.frames.shape)
            source = 2 * (samples - plan.first)
            yield Block(
                frames.astype(np.float16),
                source,
                source + 1,
                np.zeros((len(samples), 1), np.float32),
                maximum,
                {"amplitude": amplitude, "phase": phase},
            )

    @property
    def _bytes_per_sample(self) -> int:
        return 4 * self._config.num_points + 40
