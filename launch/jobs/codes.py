"""Which runs were made by the same code, and names for different codes. Pure functions.

Runs are compared by the packages that they have in common: a run with a plug-in and one without it
can have the same code.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orbit.core.code import CODE_FILE
from orbit.core.files.atomic import read_json_object

Span = Mapping[str, Any]
"""A first step, and the code that made the run from there on, as `orbit.core.code` writes it."""
Spans = tuple[Span, ...]
"""The spans of one run, in order; empty for a run of a version that recorded no code."""

CODE = "code"
"""The name of the additional varied key if runs have different code."""
UNKNOWN = "unknown"
NUM_DIGITS = 8


def read_spans(run_dir: Path) -> Spans | None:
    """The codes that made a run; None if it has not started."""
    spans = (read_json_object(run_dir / CODE_FILE) or {}).get("spans")
    if isinstance(spans, list) and spans and all(isinstance(span, dict) for span in spans):
        return tuple(spans)
    has_begun = any((run_dir / name).exists() for name in ("environment.json", "result.json"))
    return () if has_begun else None


def labels(codes: Sequence[Spans | None]) -> list[str]:
    """A name for the code of each run, equal for equal code; all empty if all runs have the same
    code.

    A name lists the packages that differ between the runs, each with the first digits of its
    digest. A run that continued with other code has the names of all its codes, in order. A run
    that has not started has no name.
    """
    digests: dict[str, set[str]] = {}
    for span in (span for spans in codes for span in spans or ()):
        for package, digest in _packages(span).items():
            digests.setdefault(package, set()).add(digest)
    differing = sorted(package for package, known in digests.items() if len(known) > 1)
    names = ["" if spans is None else _name(spans, differing) for spans in codes]
    is_mixed = bool(differing) or len({*names} - {""}) > 1
    return names if is_mixed else [""] * len(names)


def counts(codes: Sequence[Spans | None]) -> list[str]:
    """A line for each code with its number of runs; empty if all runs have the same code."""
    found: dict[str, list[Spans]] = {}
    for label, spans in zip(labels(codes), codes, strict=True):
        if label and spans is not None:
            found.setdefault(label, []).append(spans)
    return [
        f"{len(own)} {'run' if len(own) == 1 else 'runs'} of code {label}{_commit(own[0])}"
        for label, own in found.items()
    ]


def _name(spans: Spans, differing: Sequence[str]) -> str:
    parts = [_part(span, differing) for span in spans] or [UNKNOWN]
    each_once = [part for place, part in enumerate(parts) if part != parts[place - 1] or not place]
    return " then ".join(each_once)


def _part(span: Span, differing: Sequence[str]) -> str:
    packages = _packages(span)
    if not packages:
        return UNKNOWN
    named = [f"{name} {packages[name][:NUM_DIGITS]}" for name in differing if name in packages]
    return ", ".join(named) or "recorded"


def _packages(span: Span) -> dict[str, str]:
    packages = span.get("packages")
    return packages if isinstance(packages, dict) else {}


def _commit(spans: Iterable[Span]) -> str:
    """The commits of a code in brackets, empty without any."""
    said = [
        f"{str(span['commit'])[:12]}{' with changes' if span.get('dirty') else ''}"
        for span in spans
        if span.get("commit")
    ]
    return f" (commit {', then '.join(said)})" if said else ""
