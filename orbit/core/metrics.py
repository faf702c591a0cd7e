"""What a metric says of itself; evaluations write it beside the numbers, for tables and reports."""

from dataclasses import dataclass
from typing import Any, Literal

Direction = Literal["higher", "lower"]


@dataclass(frozen=True)
class Metric:
    """A metric by its name, or all whose names begin with `name` and a slash.

    `direction` is what is better, None where neither is. `meaning` is one sentence, with the
    unit. A headline is shown first.
    """

    name: str
    meaning: str
    direction: Direction | None = None
    is_headline: bool = False

    def covers(self, name: str) -> bool:
        """Whether this speaks of the metric of that name."""
        return name == self.name or name.startswith(f"{self.name}/")


def meanings(stated: tuple[Metric, ...], names: list[str]) -> dict[str, dict[str, Any]]:
    """What is said of the metrics of these names, as plain values for a JSON file."""
    found = {}
    for name in names:
        for metric in stated:
            if metric.covers(name):
                found[name] = {
                    "direction": metric.direction,
                    "meaning": metric.meaning,
                    "is_headline": metric.is_headline,
                }
                break
    return found
