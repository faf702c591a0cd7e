"""The request of `launch/report.py`, and the content of its pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.jobs.codes import CODE
from launch.jobs.standing import AT_WORK
from launch.reports.html.curves import Cost, Curves, cost_of, make_curves
from launch.reports.html.gathering import DATASET, Gathered, RunRecord, find_runs, gather
from launch.reports.html.headline import Headline, make_headline
from launch.reports.html.names import settings_label, short_keys
from launch.reports.html.pictures import Gallery, choose_galleries
from launch.reports.papers import Paper, read_paper
from orbit.core.config.program import take_switch, take_value
from orbit.core.config.schema import suggestion
from orbit.core.user_text import read_period

MAX_KEYS = 3
"""So many keys in which runs differ that no sweep made are shown in tables; names say more."""
KEYS = ("out", "metric", "split", "paper", "title", "any_code", "watch", "every")
DEFAULT_EVERY_S = 60.0


@dataclass(frozen=True)
class ReportRequest:
    """Directories to report on, the output directory, and the metric that ranks runs.

    `every_s`: seconds between two reports while runs are active; None writes one report.
    """

    roots: tuple[Path, ...]
    out: Path
    metric: str | None = None
    split: str | None = None
    paper: str | None = None
    title: str | None = None
    any_code: bool = False
    every_s: float | None = None


def read_request(arguments: list[str]) -> ReportRequest:
    """The request of a command line; a one-line ValueError if it is not valid."""
    arguments = list(arguments)
    any_code = take_switch(arguments, "any_code")
    watches = take_switch(arguments, "watch")
    values = {key: take_value(arguments, key, "") or None for key in KEYS}
    for argument in arguments:
        key, separator, _ = argument.partition("=")
        if separator and not Path(argument).exists() and "/" not in key:
            raise ValueError(f"unknown key {key!r}{suggestion(key, list(KEYS))}")
    if not arguments:
        raise ValueError("give the directories to report on: runs, sweeps or folders of runs")
    if values["out"] is None:
        raise ValueError("out=DIR is missing: the directory for the pages")
    return ReportRequest(
        roots=tuple(Path(argument) for argument in arguments),
        out=Path(values["out"]),
        metric=values["metric"],
        split=values["split"],
        paper=values["paper"],
        title=values["title"],
        any_code=any_code,
        every_s=_period(values["every"], watches),
    )


def _period(text: str | None, watches: bool) -> float | None:
    if not watches:
        if text is not None:
            raise ValueError(f"every={text} has no effect without watch=true")
        return None
    return read_period(text or "", DEFAULT_EVERY_S)


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
    every_s: float | None = None

    @property
    def is_watching(self) -> bool:
        """Whether it will be written anew: it is asked for, and something still runs."""
        states = (record.state.state for record in self.gathered.records)
        goes_on = any(state in (*AT_WORK, "unknown") for state in states)
        goes_on = goes_on or any(root.is_searching for root in self.gathered.roots)
        return self.every_s is not None and goes_on

    @property
    def has_paper(self) -> bool:
        """Whether the report compares with a paper's numbers."""
        return self.paper is not None

    @property
    def short(self) -> dict[str, str]:
        """Short names of the varied keys."""
        return short_keys(self.gathered.keys)

    @property
    def has_names(self) -> bool:
        """Whether runs are told by their names: those that no sweep made, or that are all alike."""
        return not (self.gathered.is_sweep and self.gathered.keys)

    @property
    def table_keys(self) -> tuple[str, ...]:
        """The varied keys that tables show: all that a sweep chose, some of any others.

        Dataset and code are always among them: rows that differ in these do not compare.
        """
        keys = self.gathered.keys
        if self.gathered.is_sweep:
            return keys
        return (*keys[:MAX_KEYS], *(key for key in keys[MAX_KEYS:] if key in (DATASET, CODE)))

    def label(self, record: RunRecord) -> str:
        """A run's settings as a short text, empty if nothing varies."""
        settings = self.gathered.settings(record)
        shown = {key: settings[key] for key in self.table_keys if key in settings}
        more = len(settings) - len(shown)
        return settings_label(shown, self.short) + (f" and {more} more" if more else "")

    def href(self, record: RunRecord) -> str:
        """The page of a run."""
        return f"run-{record.number:04d}.html"


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
        Page("runs.html", "Runs") if several else Page("run-0000.html", "Run"),
        *([Page("compare.html", "Differences")] if several else []),
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
        every_s=request.every_s,
    )


def rank_records(records: Sequence[RunRecord], headline: Headline) -> list[RunRecord]:
    """The best runs, then those of the headline's rows in their order, then all others."""
    ranked = [*headline.best, *(record for row in headline.rows for record in row.records)]
    unique: dict[int, RunRecord] = {record.number: record for record in ranked}
    for record in records:
        unique.setdefault(record.number, record)
    return list(unique.values())


def _resolved(request: ReportRequest) -> list[Path]:
    return [root.absolute() for root in request.roots]
