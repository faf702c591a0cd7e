"""How long the rest of a plan takes. Pure functions."""

from collections.abc import Mapping, Sequence


def seconds_left(
    remaining: Sequence[str], seconds: Mapping[str, Sequence[float]], num_parallel: int
) -> float | None:
    """Seconds for runs on the `remaining` datasets, from those of finished ones by dataset.

    A dataset of which no run finished yet counts as the mean of the others; None while
    nothing is known.
    """
    known = {name: sum(values) / len(values) for name, values in seconds.items() if values}
    if not known:
        return None
    usual = sum(known.values()) / len(known)
    total = sum(known.get(name, usual) for name in remaining)
    return total / max(1, min(num_parallel, len(remaining)))


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3:05 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h" if minutes >= 100 else f"{minutes} min"
