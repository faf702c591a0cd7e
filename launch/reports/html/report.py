"""The request of `launch/report.py`, and the content of its pages."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from launch.reports.html.curves import Curves, make_curves
from launch.reports.html.gathering import Gathered, RunRecord, find_runs, gather
from launch.reports.html.headline import Headline, make_headline
from launch.reports.html.names import settings_label, short_keys
from launch.reports.html.pictures import Gallery, choose_galleries
from launch.reports.html.speed import Cost, cost_of
from launch.reports.papers import Paper, read_paper
from orbit.core.config.program import take_switch, take_value
from orbit.core.config.schema import suggestion

KEYS = ("out", "metric", "split", "paper", "title", "any_code")


@dataclass(frozen=True)
class ReportRequest:
    """Directories to report on, the output directory, and the metric that ranks runs."""

    roots: tuple[Path, ...]
    out: Path
    metric: str | None = None
    split: str | None = None
    paper: str | None = None
    title: str | None = None
    any_code: bool = False


def read_request(words: list[str]) -> ReportRequest:
    """The request of a command line; a one-line ValueError if it is not valid."""
    words = list(words)
    any_code = take_switch(words, "any_code")
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
        any_code=any_code,
    )


@dataclass(frozen=True)
class Page:
    """A page in the order of the menu."""

    file: str
    name: str


@dataclass(frozen=True)
class Report:
    """The gathered runs and all derived tables. `ranked` are runs, the best first."""

    title: str
    written: str
    version: str
    out: Path
    pages: tuple[Page, ...]
    gathered: Gathered
    headline: Headline
    ranked: tuple[RunRecord, ...]
    curves: Curves
    costs: tuple[Cost, ...]
    galleries: tuple[Gallery, ...]
    num_galleries_left_out: int
    paper: Paper | None

    @property
    def has_paper(self) -> bool:
        """Whether the report compares with a paper's numbers."""
        return self.paper is not None

    @property
    def short(self) -> dict[str, str]:
        """Short names of the varied keys."""
        return short_keys(self.gathered.keys)

    def label(self, record: RunRecord) -> str:
        """A run's settings as a short text, empty if nothing varies."""
        return settings_label(self.gathered.settings(record), self.short)

    def href(self, record: RunRecord) -> str | None:
        """A link from a page of the report to the run directory, None if there is none."""
        return relative_link(record.path, self.out) if record.path.is_dir() else None


def make_report(request: ReportRequest, written: str, version: str) -> Report:
    """Read the runs and compute all tables.

    Raises a one-line FileNotFoundError or ValueError for directories, metrics or splits that do not
    exist.
    """
    paper = read_paper(request.paper) if request.paper is not None else None
    gathered = gather(find_runs(request.roots), request.any_code)
    headline = make_headline(gathered, request.metric, request.split, request.any_code)
    ranked = rank_records(gathered.records, headline)
    galleries, num_left_out = choose_galleries(ranked)
    several = len(gathered.records) > 1
    pages = [
        Page("index.html", "Overview"),
        *([Page("paper.html", "Paper")] if paper is not None else []),
        Page("curves.html", "Learning curves"),
        Page("pictures.html", "Pictures"),
        *([Page("runs.html", "Runs")] if several else []),
        *([Page("effects.html", "Effects")] if gathered.keys else []),
        Page("speed.html", "Speed"),
    ]
    return Report(
        title=request.title or " + ".join(root.name or str(root) for root in _resolved(request)),
        written=written,
        version=version,
        out=request.out.absolute(),
        pages=tuple(pages),
        gathered=gathered,
        headline=headline,
        ranked=tuple(ranked),
        curves=make_curves(gathered),
        costs=tuple(map(cost_of, gathered.records)),
        galleries=tuple(galleries),
        num_galleries_left_out=num_left_out,
        paper=paper,
    )


def rank_records(records: Sequence[RunRecord], headline: Headline) -> list[RunRecord]:
    """The best runs, then those of the headline's rows in their order, then all others."""
    ranked = [*headline.best, *(record for row in headline.rows for record in row.records)]
    unique: dict[int, RunRecord] = {record.number: record for record in ranked}
    for record in records:
        unique.setdefault(record.number, record)
    return list(unique.values())


def relative_link(path: Path, out: Path) -> str:
    """A path relative to a directory, quoted for a link, with a slash at its end."""
    return quote(os.path.relpath(path, out)) + "/"


def _resolved(request: ReportRequest) -> list[Path]:
    return [root.absolute() for root in request.roots]
