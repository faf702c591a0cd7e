"""Statements about metrics: direction, meaning and format; confidence intervals of their means.

Evaluations write statements next to the values, for tables and reports. Intervals are by Student's
t.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from orbit.core.config.schema import build

Direction = Literal["higher", "lower"]
Statistic = Literal["mean", "median"]


@dataclass(frozen=True)
class Column:
    """The column of a metric in tables of results: heading, decimals, and how seeds are summarised
    (mean and deviation, or median and range)."""

    heading: str
    digits: int = 4
    statistic: Statistic = "mean"


@dataclass(frozen=True)
class Metric:
    """A metric by its name, or all whose names begin with `name` and a slash.

    If two fit a name, the longer one counts. `direction` says whether higher or lower is better;
    None if neither is. `meaning` is one sentence, with the unit. Headlines are shown first, in the
    order of the method's statements. `by_element`: the part after the slash is an element of the
    group, or a set of elements. `column` is the metric's column in tables of results, and `worst`
    the column of its worst element.
    """

    name: str
    meaning: str
    direction: Direction | None = None
    is_headline: bool = False
    by_element: bool = False
    column: Column | None = None
    worst: Column | None = None

    def covers(self, name: str) -> bool:
        """Whether this statement is about the metric with that name."""
        return name == self.name or name.startswith(f"{self.name}/")


TOTAL_LOSS = Metric(
    "loss/total",
    "The loss that training minimises, averaged over the split; lowest at the best checkpoint.",
    "lower",
    is_headline=True,
)
LOSSES = (TOTAL_LOSS, Metric("loss", "A term of the loss.", "lower"))
"""Metrics that every task has (`term_names`), even if its method does not state them."""


def statement_of(name: str, stated: Iterable[Metric]) -> Metric | None:
    """The statement about the metric with that name; None if there is none."""
    fitting = [metric for metric in (*stated, *LOSSES) if metric.covers(name)]
    return max(fitting, key=lambda metric: len(metric.name), default=None)


def headlines_of(stated: Iterable[Metric]) -> list[str]:
    """The names of the metrics that are shown first, in order, without repetitions."""
    return list(dict.fromkeys(each.name for each in (*stated, *LOSSES) if each.is_headline))


def statements_for(names: Iterable[str], stated: Sequence[Metric]) -> list[dict[str, Any]]:
    """The statements about any of these metrics, as plain values for a JSON file."""
    meant = [statement_of(name, stated) for name in names]
    return [
        {key: value for key, value in asdict(metric).items() if value not in (None, False)}
        for metric in (*stated, *LOSSES)
        if metric in meant
    ]


def read_statements(content: Mapping[str, Any]) -> tuple[Metric, ...]:
    """The statements in a JSON file, under `meanings`; empty for files without statements.

    Raises ValueError for an entry that is not a statement.
    """
    found = content.get("meanings", [])
    return tuple(build(Metric, each) for each in found) if isinstance(found, list) else ()


MIN_RUNS = 3
"""The least number of runs whose interval tables show: that of two is thirteen times as wide as
their deviation suggests."""


def half_width(values: Sequence[float], level: float = 0.95) -> float:
    """Half the width of the mean's confidence interval, for at least two independent values.

    The interval contains the mean of normal values in a share `level` of all samples.
    """
    from scipy.stats import t

    num = len(values)
    quantile = float(t.ppf((1 + level) / 2, num - 1))
    return quantile * statistics.stdev(values) / math.sqrt(num)
