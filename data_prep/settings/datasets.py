"""Settings of datasets: orbits, tables of pairs, episodes, sequences; all keys of `prepare.py`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from data_prep.settings.sources import NoSourceConfig, SourceConfig
from data_prep.settings.worlds import EpisodeDatasetConfig
from orbit.core.config.limits import Count, InnerShare, LargeCount, Limit, Positive, limited
from orbit.core.config.schema import FilePath
from orbit.core.plugins import Open
from orbit.core.store.origin import Pairing, TrainPairing


@dataclass(frozen=True)
@limited
class SequenceDatasetConfig:
    """Sinusoids of `num_points` points and `num_periods` periods, whose maxima are labelled.

    Amplitudes are uniform within `amplitude`, phases on the circle. `num_samples` are for
    training.
    """

    kind: Literal["sequences"]
    name: str
    num_points: int
    num_periods: int
    amplitude: tuple[float, float]
    num_samples: LargeCount
    num_val_samples: LargeCount
    num_test_samples: LargeCount
    shard_mib: Positive

    def __post_init__(self) -> None:
        low, high = self.amplitude
        if not 0 < low <= high < 100:
            raise ValueError(f"amplitude=[{low},{high}] must ascend between 0 and 100")
        if self.num_periods < 1 or self.num_points % self.num_periods:
            raise ValueError(
                f"num_periods={self.num_periods} must divide num_points={self.num_points}, so that"
                " a shift by a point leads to a sinusoid again"
            )
        if self.num_points < 4 * self.num_periods:
            raise ValueError(f"num_points={self.num_points} must be at least four for each period")


@dataclass(frozen=True)
class PlainSceneConfig:
    """The group acts on the whole image."""

    name: Literal["plain"] = "plain"


@dataclass(frozen=True)
@limited
class BlockedSceneConfig:
    """A white block of `side` pixels that does not move, painted after the action."""

    name: Literal["blocked"]
    side: Count = 7


@dataclass(frozen=True)
class CheckerboardSceneConfig:
    """The group acts on a digit, drawn blue before black and white pixels, which stay."""

    name: Literal["checkerboard"]


@dataclass(frozen=True)
class CompositeSceneConfig:
    """The group acts on an object in front of a background, which stays."""

    name: Literal["composite"]


@dataclass(frozen=True)
class ViewsSceneConfig:
    """The group turns an object in space; its light, its hue and a plain backdrop stay."""

    name: Literal["views"]


SceneConfig = (
    PlainSceneConfig
    | BlockedSceneConfig
    | CheckerboardSceneConfig
    | CompositeSceneConfig
    | ViewsSceneConfig
)


@dataclass(frozen=True)
@limited
class OrbitDatasetConfig:
    """Images paired with their transforms under a group.

    `val_fraction` and `test_fraction` are shares of the images; null takes the source's own split,
    or 0.15 if it has none. The pairs of a split are, for each image, `orbit`: the image as source
    of every element; `drawn`: of `num_drawn` drawn elements; `all_pairs`: every member of its orbit
    as source of every element. A continuous group has no orbit to store: its pairs are drawn. In
    the training split, `sources` stores the images alone: training draws the elements and makes the
    targets itself (`pairs=fresh`). `train_bins` keeps only these elements, or ranges of angles, in
    the training split, so that evaluation uses elements that training did not.
    """

    kind: Literal["orbits"]
    name: str
    group: str
    val_fraction: float | None
    test_fraction: float | None
    train_pairs: TrainPairing
    val_pairs: Pairing
    test_pairs: Pairing
    shard_mib: Positive
    num_drawn: Count = 1
    train_bins: tuple[str, ...] | None = None
    scene: SceneConfig = PlainSceneConfig()

    def __post_init__(self) -> None:
        taken = (self.val_fraction or 0.0) + (self.test_fraction or 0.0)
        fractions = (self.val_fraction, self.test_fraction)
        if not all(value is None or 0 < value < 1 for value in fractions) or taken >= 1:
            raise ValueError("val_fraction and test_fraction must leave images for training")
        pairings = (self.train_pairs, self.val_pairs, self.test_pairs)
        if self.num_drawn > 1 and "drawn" not in pairings:
            raise ValueError(
                f"num_drawn={self.num_drawn} has no effect: no split's pairs are drawn"
            )
        if self.train_pairs == "sources":
            self._check_sources()

    def _check_sources(self) -> None:
        """ValueError for `train_pairs=sources` if targets are not determined by sources and
        group."""
        if self.scene.name != "plain":
            raise ValueError(
                f"train_pairs=sources needs targets that are the group's action on the whole"
                f" frame, but scene.name={self.scene.name} has parts that stay; allowed: orbit,"
                " drawn, all_pairs"
            )
        if self.train_bins is not None:
            raise ValueError(
                f"train_bins={list(self.train_bins)} has no effect with train_pairs=sources:"
                " training draws from the whole group"
            )


@dataclass(frozen=True)
@limited
class TableDatasetConfig:
    """Pairs that the user made, listed in a table.

    `targets_are_exact` states that every target is the group's image action on its source, which
    verification then checks. Fractions as in `OrbitDatasetConfig`: null takes the table's column
    `split`, or 0.15 if it has none.
    """

    kind: Literal["table"]
    name: str
    group: str
    val_fraction: float | None
    test_fraction: float | None
    targets_are_exact: bool
    shard_mib: Positive

    def __post_init__(self) -> None:
        fractions = (self.val_fraction, self.test_fraction)
        given = [value for value in fractions if value is not None]
        if not all(0 < value < 1 for value in given) or sum(given) >= 1:
            raise ValueError("val_fraction and test_fraction must leave pairs for training")


@dataclass(frozen=True)
@limited
class PosedViewsDatasetConfig:
    """Stored views of objects in known poses, as pairs within one object.

    `group` is that of the rotations of space. `val_fraction` is the share of the training objects
    for validation; the test split is the source's own. In training each view is the source of
    `num_targets` other views, elsewhere the first view is the source of all.
    """

    kind: Literal["posed_views"]
    name: str
    group: Literal["so3"]
    val_fraction: InnerShare
    num_targets: Count
    shard_mib: Positive


DatasetConfig = (
    OrbitDatasetConfig
    | TableDatasetConfig
    | PosedViewsDatasetConfig
    | EpisodeDatasetConfig
    | SequenceDatasetConfig
)


SEED = Limit("must not be negative, and below 2^63", lambda value: 0 <= value < 2**63)
ONE_A_SPLIT = Limit("must be at least 3, one a split", lambda value: value >= 3)


@dataclass(frozen=True)
@limited
class PrepareConfig:
    """`num_samples` limits the source images of all splits together, or sets the number to make.

    For worlds, `num_episodes` and `episode_length` replace the dataset's own values, which are
    those of the training split; `num_samples` replaces the number of episodes if each has a single
    step, and the number of labelled sequences.
    """

    dataset: DatasetConfig
    out: FilePath
    source: Annotated[SourceConfig, Open("sources")] = NoSourceConfig()
    seed: Annotated[int, SEED] = 0
    num_samples: Annotated[int, ONE_A_SPLIT] | None = None
    num_episodes: LargeCount | None = None
    episode_length: LargeCount | None = None
    num_workers: Count = 2
    overwrite: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.dataset, EpisodeDatasetConfig):
            self._check_samples(self.dataset)
        else:
            self._refuse_episodes()
        _check_apart(self.out, getattr(self.source, "root", None))

    def _check_samples(self, dataset: EpisodeDatasetConfig) -> None:
        length = self.episode_length or dataset.episode_length
        if self.num_samples is not None and length > 1:
            raise ValueError(
                f"num_samples={self.num_samples} has no effect with dataset={dataset.name}, whose"
                f" episodes have {length} steps: set num_episodes and episode_length"
            )
        if self.num_samples is not None and self.num_episodes is not None:
            raise ValueError(
                "num_samples and num_episodes have the same meaning: give only one of them"
            )

    def _refuse_episodes(self) -> None:
        for name in ("num_episodes", "episode_length"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name}={getattr(self, name)} has no effect with dataset={self.dataset.name},"
                    " which holds no episodes"
                )


def _check_apart(out: str, root: str | None) -> None:
    """Raise ValueError if `out` lies in the folder of the source, or contains it."""
    if root is None:
        return
    try:
        written, read = Path(out).resolve(), Path(root).resolve()
    except ValueError:  # Not a path; opening it raises the error.
        return
    if read.is_relative_to(written) or (read.is_dir() and written.is_relative_to(read)):
        raise ValueError(f"out={out} and source.root={root} must not contain one another")
