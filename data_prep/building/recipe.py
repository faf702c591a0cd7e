"""The interface of recipes: what the builder needs to write a dataset."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from orbit.core.actions import ActionComponent
from orbit.core.store.manifest import ColumnSpec, FrameSpec
from orbit.core.store.origin import Origin
from orbit.core.store.shard import Block, ShardLayout


class BadInputError(ValueError):
    """The input of a recipe cannot be used; running again would not help."""


@dataclass(frozen=True)
class ShardPlan:
    """One shard to be made: items `first` to `last` (exclusive) of a split.

    The recipe decides what an item is (a source image, an episode).
    """

    split: str
    index: int
    first: int
    last: int
    layout: ShardLayout
    records_per_source: int | None

    @property
    def file(self) -> str:
        """Path relative to the dataset."""
        return f"{self.split}/shard_{self.index:05d}.h5"


class Recipe(Protocol):
    """A dataset that can be generated shard by shard, in any order, by any process.

    `blocks` must be a pure function of the recipe and the plan: every random draw
    is keyed by (seed, split, item), so that the result does not depend on the
    number of workers or on restarts. Recipes are pickled to worker processes.
    """

    @property
    def name(self) -> str:
        """Name of the dataset."""

    @property
    def group(self) -> str:
        """Name of the group that acts."""

    @property
    def action_components(self) -> tuple[ActionComponent, ...]:
        """What each number of an action means: the group's own, or those of a world's actions."""

    @property
    def frames(self) -> FrameSpec:
        """Shape and value coding of the frames."""

    @property
    def columns(self) -> Mapping[str, ColumnSpec]:
        """Names of the columns besides source, target, action and label."""

    @property
    def label_meaning(self) -> str:
        """What a label is, in words."""

    @property
    def target_is_action_on_source(self) -> bool:
        """Whether every target is the group's image action on its source."""

    @property
    def seed(self) -> int:
        """Key of every random draw."""

    def origin(self) -> Origin:
        """The settings that determine the records, and what a world declares about them."""

    def source_checksums(self) -> dict[str, str]:
        """sha256 of each source file, by name without its directory."""

    def plans(self) -> tuple[ShardPlan, ...]:
        """All shards, in the order of the manifest."""

    def blocks(self, plan: ShardPlan) -> Iterator[Block]:
        """The content of one shard, in blocks of bounded size."""
