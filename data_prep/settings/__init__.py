"""Configuration of `data_prep/prepare.py`: the dataset, its source, and the whole."""

from data_prep.settings.datasets import (
    BlockedSceneConfig,
    CheckerboardSceneConfig,
    CompositeSceneConfig,
    DatasetConfig,
    OrbitDatasetConfig,
    PlainSceneConfig,
    PosedViewsDatasetConfig,
    PrepareConfig,
    SequenceDatasetConfig,
    TableDatasetConfig,
    TrainPairing,
    ViewsSceneConfig,
)
from data_prep.settings.sources import SourceConfig
from data_prep.settings.worlds import EpisodeDatasetConfig

__all__ = [
    "BlockedSceneConfig",
    "CheckerboardSceneConfig",
    "CompositeSceneConfig",
    "DatasetConfig",
    "EpisodeDatasetConfig",
    "OrbitDatasetConfig",
    "PlainSceneConfig",
    "PosedViewsDatasetConfig",
    "PrepareConfig",
    "SequenceDatasetConfig",
    "SourceConfig",
    "TableDatasetConfig",
    "TrainPairing",
    "ViewsSceneConfig",
]
