"""What was run, on what, when, and by which commit."""

import datetime
from collections import Counter
from collections.abc import Sequence

from launch.reports.html.gathering import Gathered, RunRecord
from launch.reports.html.names import duration, listing
from launch.reports.status_table import ORDER

Fact = tuple[str, str]


def make_facts(gathered: Gathered) -> list[Fact]:
    """Pairs of a heading and what is to be said, those without anything left out."""
    records = gathered.records
    known = [record for record in records if record.has_config]
    facts = [
        ("Experiment", listing(_experiment(record) for record in records)),
        ("Task", listing(str(record.run.config.get("task.name", "")) for record in known)),
        ("Dataset", listing(_datasets(gathered))),
        ("Length", listing(_length(record) for record in known)),
        ("Precision", listing(str(record.run.config.get("precision", "")) for record in known)),
        ("Seeds", listing(sorted({record.seed for record in records}, key=_natural), 8)),
        ("Varied", ", ".join(gathered.keys)),
        ("Started", _when(record.clock.first_time for record in records if record.clock)),
        ("Last heard of", _when(_last_times(records), latest=True)),
        ("Work", _work(records)),
        ("Commit", listing(_commit(record) for record in records)),
        ("Machine", listing(_machine(record) for record in records)),
        ("Versions", listing(_versions(record) for record in records)),
        ("Command", _command(records)),
    ]
    return [(name, text) for name, text in facts if text]


def count_states(records: Sequence[RunRecord]) -> list[tuple[str, int]]:
    """How many runs are in each state, those that need attention first."""
    counts: Counter[str] = Counter(record.state.state for record in records)
    return [(state, counts[state]) for state in ORDER if counts[state]]


def _experiment(record: RunRecord) -> str:
    """The word of the command that named it; launched runs were told by their sweep's words."""
    words = record.environment.get("command") or []
    named = [str(word) for word in words if str(word).startswith("experiment=")]
    return named[0].partition("=")[2] if named else ""


def _datasets(gathered: Gathered) -> list[str]:
    """Each dataset once, with what its manifest and an evaluation say of it."""
    said: dict[str, dict[str, str]] = {}
    for record, name in zip(gathered.records, gathered.datasets, strict=True):
        if record.has_config:
            own = said.setdefault(name, {})
            shape = record.data.get("data.shape")
            own["name"] = str(record.data.get("data.name", ""))
            own["group"] = (
                f"group {record.data['data.group']}" if "data.group" in record.data else ""
            )
            own["shape"] = "x".join(map(str, shape)) if isinstance(shape, list) else ""
            own["fingerprint"] = (record.run.dataset or "")[:8] or own.get("fingerprint", "")
    return [
        name + (f" ({', '.join(filter(None, own.values()))})" if any(own.values()) else "")
        for name, own in said.items()
    ]


def _length(record: RunRecord) -> str:
    config = record.run.config
    parts = [f"{config[key]} {word}" for key, word in _LENGTH if config.get(key) is not None]
    return ", ".join(parts)


_LENGTH = (("epochs", "epochs"), ("global_batch", "pairs a step"))


def _commit(record: RunRecord) -> str:
    git = record.environment.get("git") or {}
    if not isinstance(git, dict) or not git.get("commit"):
        return ""
    return str(git["commit"])[:12] + (" with changes" if git.get("dirty") else "")


def _machine(record: RunRecord) -> str:
    what = record.environment
    device = what.get("gpu") or what.get("processor")
    if not device:
        return ""
    ranks = what.get("world_size") or 1
    return f"{device}, {ranks} {'rank' if ranks == 1 else 'ranks'}, host {what.get('host')}"


def _versions(record: RunRecord) -> str:
    packages = record.environment.get("packages") or {}
    parts = [f"orbit {record.environment['orbit']}"] if "orbit" in record.environment else []
    parts += [f"{name} {packages[name]}" for name in ("torch", "numpy") if name in packages]
    return ", ".join(parts)


def _command(records: Sequence[RunRecord]) -> str:
    """The command, if there is but one run."""
    if len(records) != 1:
        return ""
    return " ".join(str(word) for word in records[0].environment.get("command") or [])


def _last_times(records: Sequence[RunRecord]) -> list[float]:
    return [record.clock.last_time for record in records if record.clock]


def _when(times: object, latest: bool = False) -> str:
    found = sorted(times)  # type: ignore[call-overload]
    return moment(found[-1] if latest else found[0]) if found else ""


def _work(records: Sequence[RunRecord]) -> str:
    hours = [float(record.clock.hours[-1]) for record in records if record.clock]
    if not hours:
        return ""
    each = f", {duration(sum(hours) / len(hours))} a run" if len(hours) > 1 else ""
    return f"{duration(sum(hours))} of training{each}"


def moment(time: float) -> str:
    """Seconds since the epoch as a date and time of day, UTC."""
    return datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _natural(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isdecimal() else (10**9, text)
