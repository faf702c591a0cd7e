"""What `launch/report.py` was asked for."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.config.program import take_value
from pipeline.config.schema import suggestion

KEYS = ("out", "metric", "split", "paper", "title")


@dataclass(frozen=True)
class ReportRequest:
    """Directories to report on, where the pages go, and what to judge runs by."""

    roots: tuple[Path, ...]
    out: Path
    metric: str | None = None
    split: str | None = None
    paper: str | None = None
    title: str | None = None


def read_request(words: list[str]) -> ReportRequest:
    """The request that words make; ValueError with one line if they make none."""
    words = list(words)
    values = {key: take_value(words, key, "") or None for key in KEYS}
    for word in words:
        key, separator, _ = word.partition("=")
        if separator and not Path(word).exists() and "/" not in key:
            raise ValueError(f"unknown key {key!r}{suggestion(key, list(KEYS))}")
    if not words:
        raise ValueError("give the directories to report on: runs, sweeps or folders of runs")
    if values["out"] is None:
        raise ValueError("out=DIR is missing: where the pages go")
    return ReportRequest(
        roots=tuple(Path(word) for word in words),
        out=Path(values["out"]),
        metric=values["metric"],
        split=values["split"],
        paper=values["paper"],
        title=values["title"],
    )
