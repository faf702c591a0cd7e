"""search_order.json: what the controller of a search needs to know; its job holds only a path."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from launch.cluster.settings import ClusterConfig
from launch.snapshot import Snapshot
from launch.sweeps.settings import OptunaSearch, SweepConfig
from pipeline.config.schema import build
from pipeline.files.atomic import write_json

ORDER_FILE = "search_order.json"


@dataclass(frozen=True)
class SearchOrder:
    """A search with the words of the training configuration and the code that it runs."""

    words: tuple[str, ...]
    sweep: SweepConfig
    cluster: ClusterConfig
    stage: bool
    code: str
    digest: str

    @property
    def search(self) -> OptunaSearch:
        """The search itself."""
        assert isinstance(self.sweep.search, OptunaSearch)
        return self.sweep.search

    @property
    def snapshot(self) -> Snapshot:
        """The code that jobs run."""
        return Snapshot(Path(self.code), self.digest)


def write_search_order(folder: Path, order: SearchOrder) -> None:
    """Write search_order.json."""
    write_json(folder / ORDER_FILE, dataclasses.asdict(order))


def read_search_order(folder: Path) -> SearchOrder:
    """Read search_order.json; FileNotFoundError or ValueError if that cannot be done."""
    path = folder / ORDER_FILE
    try:
        return build(SearchOrder, json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
