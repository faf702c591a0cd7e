"""Remarks on files that are read all the same, told in few lines."""

from collections.abc import Iterable

MAX_NAMES = 3


def gathered(remarks: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each remark, from (name, remark): how many files, the first of them, what."""
    by_remark: dict[str, list[str]] = {}
    for name, remark in remarks:
        by_remark.setdefault(remark, []).append(name)
    return [f"{listed(names)}: {remark}" for remark, names in by_remark.items()]


def listed(names: list[str], num: int | None = None, most: int = MAX_NAMES) -> str:
    """Up to `most` of `num` names, and how many more there are; `num` is theirs if None."""
    total = len(names) if num is None else num
    shown = names[:most]
    more = total - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")
