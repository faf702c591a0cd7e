"""All keys of `prepare.py`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from data_prep.settings.datasets import DatasetConfig
from data_prep.settings.sources import NoSourceConfig, SourceConfig
from data_prep.settings.worlds import EpisodeDatasetConfig
from orbit.core.config.limits import Count, LargeCount, Limit, limited
from orbit.core.config.schema import FilePath
from orbit.core.plugins import Open

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
