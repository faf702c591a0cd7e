"""The origin of a dataset's records, as its manifest records it, with one class for each kind of
dataset.

Sources and worlds may come from other packages, so their settings are plain values under their
name; everything that other code relies on is typed.

`flat` returns all settings in one mapping, for attributes of shards and for display.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from orbit.core.store.facts import WorldFacts

Pairing = Literal["orbit", "drawn", "all_pairs"]
TrainPairing = Literal["orbit", "drawn", "all_pairs", "sources"]
Scene = Literal["plain", "blocked", "checkerboard", "composite", "views"]


@dataclass(frozen=True)
class Named:
    """A source or a world by its name, with its settings as plain values."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Orbits:
    """Images of a source, paired with their transforms.

    `pairs` says for each split which pairs are made of an image, `num_drawn` how many if they are
    drawn, `train_bins` to which elements training is limited. `scene` is what the group acts on; in
    `blocked` a block of `block_side` pixels does not move. Fractions are shares of the images; None
    means the source's own splits. `num_samples` is the requested number, None means all.
    """

    kind: Literal["orbits"]
    source: Named
    pairs: dict[str, TrainPairing]
    shard_mib: float
    scene: Scene = "plain"
    block_side: int | None = None
    num_drawn: int = 1
    train_bins: tuple[str, ...] | None = None
    num_samples: int | None = None
    val_fraction: float | None = None
    test_fraction: float | None = None

    def __post_init__(self) -> None:
        if (self.scene == "blocked") != (self.block_side is not None):
            raise ValueError(f"block_side={self.block_side} has no effect with scene={self.scene}")

    def flat(self) -> dict[str, Any]:
        """All settings without defaults (a plain scene, one drawn element)."""
        return {
            "source": self.source.name,
            **self.source.settings,
            **({} if self.scene == "plain" else {"scene": self.scene}),
            **({} if self.block_side is None else {"side": self.block_side}),
            **({} if self.num_drawn == 1 else {"num_drawn": self.num_drawn}),
            **({} if self.train_bins is None else {"train_bins": list(self.train_bins)}),
            "num_samples": self.num_samples,
            "val_fraction": self.val_fraction,
            "test_fraction": self.test_fraction,
            "shard_mib": self.shard_mib,
            "pairs": self.pairs,
        }


@dataclass(frozen=True)
class Table:
    """Pairs of a user's own files: of a table, or of the views of a `source`.

    `targets_are_exact` if targets are the group's action on their sources. The other fields are as
    in `Orbits`.
    """

    kind: Literal["table"]
    targets_are_exact: bool
    shard_mib: float
    num_samples: int | None = None
    val_fraction: float | None = None
    test_fraction: float | None = None
    source: Named | None = None

    def flat(self) -> dict[str, Any]:
        """All settings."""
        return {
            "source": "table" if self.source is None else self.source.name,
            **({} if self.source is None else self.source.settings),
            "num_samples": self.num_samples,
            "val_fraction": self.val_fraction,
            "test_fraction": self.test_fraction,
            "targets_are_exact": self.targets_are_exact,
            "shard_mib": self.shard_mib,
        }


@dataclass(frozen=True)
class Episodes:
    """Episodes of a simulated world.

    For each split: the number of episodes, the steps of each, and its copies (the untransformed one
    and the rotated ones). `actions` names those to which training and validation are limited, None
    if they use all. `facts` are what the world declares for evaluation.
    """

    kind: Literal["episodes"]
    world: Named
    num_episodes: dict[str, int]
    episode_length: dict[str, int]
    num_elements: dict[str, int]
    shard_mib: float
    actions: tuple[str, ...] | None = None
    facts: WorldFacts = WorldFacts()

    def __post_init__(self) -> None:
        if not self.num_episodes.keys() == self.episode_length.keys() == self.num_elements.keys():
            raise ValueError("num_episodes, episode_length and num_elements name other splits")

    def flat(self) -> dict[str, Any]:
        """All settings."""
        solid = self.facts.solid
        mesh = {} if solid is None or solid.mesh is None else {"mesh": solid.mesh}
        return {
            "world": self.world.name,
            "settings": {**self.world.settings, **mesh},
            "actions": None if self.actions is None else list(self.actions),
            "num_episodes": self.num_episodes,
            "episode_length": self.episode_length,
            "num_elements": self.num_elements,
            "shard_mib": self.shard_mib,
        }


@dataclass(frozen=True)
class Sequences:
    """Sinusoids of `num_points` points and `num_periods` periods with their maxima labelled;
    amplitudes lie within `amplitude`. `num_samples` counts them by split."""

    kind: Literal["sequences"]
    num_points: int
    num_periods: int
    amplitude: tuple[float, float]
    num_samples: dict[str, int]
    shard_mib: float

    def flat(self) -> dict[str, Any]:
        """All settings."""
        return {
            "sequences": "sinusoids",
            "num_points": self.num_points,
            "num_periods": self.num_periods,
            "amplitude": list(self.amplitude),
            "num_samples": self.num_samples,
            "shard_mib": self.shard_mib,
        }


Origin = Orbits | Table | Episodes | Sequences
