"""Names of metrics and settings, and formats of numbers. Pure functions."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from launch.reports.collecting import show
from orbit.core.metrics import Metric, headlines_of, statement_of

SECTIONS = (
    ("loss", "Losses"),
    ("mask", "Mask"),
    ("speed", "Speed"),
    ("memory", "Memory"),
    ("time", "Time"),
)
DIGITS = re.compile(r"(\d+)")
OTHERS, DETAILS = "Metrics", "Metrics in parts"


def section_of(metric: str, stated: Sequence[Metric]) -> str:
    """The heading under which a metric is shown, by the first part of its name."""
    first = metric.partition("/")[0]
    for prefix, heading in SECTIONS:
        if first == prefix:
            return heading
    statement = statement_of(metric, stated)
    is_detail = statement is not None and statement.by_element and metric != statement.name
    return DETAILS if is_detail else OTHERS


def section_order(metric: str, stated: Sequence[Metric]) -> tuple[int, int, list[tuple[int, str]]]:
    """A key to sort metrics: losses, metrics, mask, others; headline metrics first in each.

    Numbers in names count as numbers.
    """
    headings = ("Losses", OTHERS, "Mask", DETAILS, "Speed", "Memory", "Time")
    headlines = headlines_of(stated)
    rank = headlines.index(metric) if metric in headlines else len(headlines)
    parts = [(int(part), "") if part.isdecimal() else (-1, part) for part in DIGITS.split(metric)]
    return headings.index(section_of(metric, stated)), rank, parts


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """The shortest unique end of each dotted key."""
    chosen: dict[str, str] = {}
    for key in keys:
        parts = key.split(".")
        for length in range(1, len(parts) + 1):
            end = ".".join(parts[-length:])
            others = (other for other in keys if other != key)
            if not any(other == end or other.endswith(f".{end}") for other in others):
                break
        chosen[key] = end
    return chosen


def settings_label(settings: Mapping[str, Any], keys: Mapping[str, str]) -> str:
    """Settings as a short text, `tau 0.4, width 8`; empty without settings."""
    return ", ".join(f"{keys.get(key, key)} {show(value)}" for key, value in settings.items())


def number(value: float | None, digits: int = 4) -> str:
    """A number as text, a dash for None."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0 or (isinstance(value, int) and abs(value) < 10**6):
        return f"{value:,}" if isinstance(value, int) else "0"
    if abs(value) >= 10**5 or abs(value) < 1e-4:
        mantissa, _, exponent = f"{value:.{max(0, digits - 2)}e}".partition("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    # Zeros at the end are kept, because they show the precision.
    text = f"{value:#.{digits}g}" if abs(value) < 1000 else f"{value:,.0f}"
    return text.rstrip(".").replace("-", "−")


def spread(mean: float | None, std: float | None) -> str:
    """`mean ± std`, with as many digits as the spread justifies."""
    if mean is None or math.isnan(mean):
        return "–"
    if std is None or not math.isfinite(std) or not math.isfinite(mean):
        return number(mean)
    if std == 0:
        return f"{number(mean)} ± 0"
    places = max(0, 1 - math.floor(math.log10(std)))
    if places > 6 or abs(mean) >= 10**5:
        return f"{number(mean)} ± {number(std, 2)}"
    return f"{mean:,.{places}f} ± {std:.{places}f}".replace("-", "−")


def duration(hours: float | None) -> str:
    """Hours as `12 s`, `5 min`, `3 h 20 min` or `2 d 4 h`."""
    if hours is None or not math.isfinite(hours):
        return "–"
    seconds = round(hours * 3600)
    if seconds < 100:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def listing(values: Iterable[str], most: int = 3) -> str:
    """The first few different values, in order."""
    unique = list(dict.fromkeys(value for value in values if value))
    shown = ", ".join(unique[:most])
    return f"{shown} and {len(unique) - most} more" if len(unique) > most else shown
