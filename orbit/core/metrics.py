"""What a metric says of itself; evaluations write it beside the numbers, for tables and reports."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from orbit.core.config.schema import build

Direction = Literal["higher", "lower"]
Statistic = Literal["mean", "median"]


@dataclass(frozen=True)
class Column:
    """The place of a metric in tables of results: heading, decimals, and how seeds are summed up
    (mean and deviation, or median and range)."""

    heading: str
    digits: int = 4
    statistic: Statistic = "mean"


@dataclass(frozen=True)
class Metric:
    """A metric by its name, or all whose names begin with `name` and a slash.

    Of two that fit a name the longer one counts. `direction` is what is better, None where
    neither is. `meaning` is one sentence, with the unit. Headlines are shown first, in the
    order in which a method states them. `by_element`: what comes after the slash is an element
    of the group, or a set of them. `column` is the place in tables of results, and `worst`
    that of the worst element.
    """

    name: str
    meaning: str
    direction: Direction | None = None
    is_headline: bool = False
    by_element: bool = False
    column: Column | None = None
    worst: Column | None = None

    def covers(self, name: str) -> bool:
        """Whether this speaks of the metric of that name."""
        return name == self.name or name.startswith(f"{self.name}/")


TOTAL_LOSS = Metric(
    "loss/total",
    "What training minimises, a mean over the split; the best checkpoint has the lowest.",
    "lower",
    is_headline=True,
)
LOSSES = (TOTAL_LOSS, Metric("loss", "A term of the loss.", "lower"))
"""What every task has (`term_names`), whether its method states it or not."""


def statement_of(name: str, stated: Iterable[Metric]) -> Metric | None:
    """What is said of the metric of that name, None where nothing is."""
    fitting = [metric for metric in (*stated, *LOSSES) if metric.covers(name)]
    return max(fitting, key=lambda metric: len(metric.name), default=None)


def headlines_of(stated: Iterable[Metric]) -> list[str]:
    """The names of metrics that are shown first, in order, each once."""
    return list(dict.fromkeys(each.name for each in (*stated, *LOSSES) if each.is_headline))


def statements_for(names: Iterable[str], stated: Sequence[Metric]) -> list[dict[str, Any]]:
    """Those statements that speak of any of these metrics, as plain values for a JSON file."""
    meant = [statement_of(name, stated) for name in names]
    return [
        {key: value for key, value in asdict(metric).items() if value not in (None, False)}
        for metric in (*stated, *LOSSES)
        if metric in meant
    ]


def read_statements(content: Mapping[str, Any]) -> tuple[Metric, ...]:
    """The statements in a JSON file, under `meanings`; none in files from before there were any.

    Raises ValueError for what is no statement.
    """
    found = content.get("meanings", [])
    return tuple(build(Metric, each) for each in found) if isinstance(found, list) else ()
