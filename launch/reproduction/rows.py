"""Rows of a table: results of one dataset by variant. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch.reproduction.plan import planned_seeds
from launch.reproduction.settings import Preset, ReproductionSettings

Result = dict[str, Any]
NOT_RUN = "not run"
NOT_PLANNED = "`preset=full` only"


@dataclass(frozen=True)
class Rows:
    """Results of one dataset by variant, with the seeds that are planned for each."""

    results: Mapping[str, Sequence[Result]]
    planned: Mapping[str, Sequence[int]]

    def finished(self, variant: str) -> list[Result]:
        """Results that have metrics."""
        return [result for result in self.results[variant] if result["state"] == "finished"]

    def num_planned(self, variant: str) -> int:
        """Runs that a full row rests on."""
        seeds = {result["seed"] for result in self.results[variant]}
        return len(seeds | set(self.planned[variant]))

    def all(self) -> list[Result]:
        """All results of the table."""
        return [result for results in self.results.values() for result in results]


def select(
    settings: ReproductionSettings,
    preset: Preset,
    dataset: str,
    results: Sequence[Result],
    variants: Sequence[str],
) -> Rows:
    """The rows of some variants."""
    chosen = {name: [r for r in results if r["variant"] == name] for name in variants}
    planned = {name: planned_seeds(settings, preset, dataset, name) for name in variants}
    return Rows(chosen, planned)


def runs_cell(rows: Rows, variant: str) -> str:
    """How many runs a row rests on, and how the others ended."""
    results = rows.results[variant]
    if not results:
        return NOT_RUN if rows.planned[variant] else NOT_PLANNED
    num_finished, num = len(rows.finished(variant)), rows.num_planned(variant)
    parts = [f"{num_finished} of {num}" if num_finished < num else str(num)]
    for state, words in (("collapsed", "collapsed"), ("non_finite", "loss not finite")):
        count = sum(result["state"] == state for result in results)
        parts += [f"{count} {words}"] if count else []
    return ", ".join(parts)


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table in Markdown."""
    rule = ["---"] * len(headings)
    return [f"| {' | '.join(cells)} |" for cells in (headings, rule, *rows)]
