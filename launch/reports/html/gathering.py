"""The runs in a directory, and their data for a report."""

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from launch.jobs.codes import CODE, labels
from launch.jobs.history import Attempt, read_attempts
from launch.jobs.run_state import RunState, read_run_state
from launch.reports.collecting import Run, flatten, read_run, show, varied_keys
from launch.reports.html.logs import Clock, Log, count_lines, read_clock, read_log
from launch.reports.status_table import read_status
from launch.sweeps.plan import SweepDirectory
from orbit.core.files.atomic import read_json_object
from orbit.core.store.earlier import upgraded

MARKS = (
    "config.yaml",
    "metrics.jsonl",
    "environment.json",
    "heartbeat.json",
    "result.json",
    "launch.json",
    "error.json",
    "attempts",
    "checkpoints",
)
"""Files that mark a directory as a run, in any state."""


@dataclass(frozen=True)
class FoundRun:
    """A run directory, which need not exist. `values` are the varied values, if it belongs to a
    sweep."""

    name: str
    path: Path
    root: Path
    state: RunState
    values: dict[str, Any] | None = None


@dataclass(frozen=True)
class Root:
    """A requested directory and its kind: `run`, `sweep` or `folder`; `is_searching` says whether a
    search may begin other runs there."""

    path: Path
    kind: str
    runs: tuple[FoundRun, ...]
    unchecked: str | None = None
    is_searching: bool = False


def find_runs(paths: Sequence[Path]) -> list[Root]:
    """The runs of each directory, by name; a run that two of them hold counts once.

    A directory without any run counts as a run without data. Raises FileNotFoundError for a
    directory that does not exist, NotADirectoryError for a file.
    """
    roots: list[Root] = []
    taken: set[Path] = set()
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"no run at {path}: there is no such directory")
        if not path.is_dir():
            raise NotADirectoryError(f"{path} is a file: give a run, a sweep or a folder of runs")
        root = _read_root(path.absolute())
        fresh = tuple(run for run in root.runs if run.path.resolve() not in taken)
        taken |= {run.path.resolve() for run in fresh}
        roots.append(replace(root, runs=fresh))
    return roots


def is_run(path: Path) -> bool:
    """Whether a directory looks like a run directory."""
    return any((path / mark).exists() for mark in MARKS)


def _read_root(path: Path) -> Root:
    unchecked: str | None = None
    try:
        sweep = _read_sweep(path)
    except ValueError as error:
        sweep, unchecked = None, str(error)
    if sweep is not None:
        return sweep
    folder = path / "runs" if (path / "runs").is_dir() else path
    if is_run(path) or not any(is_run(inner) for inner in folder.iterdir() if inner.is_dir()):
        state = read_run_state(path, None, was_submitted=False)
        return Root(path, "run", (FoundRun(path.name, path, path, state),), unchecked)
    inner_runs = sorted(
        inner for inner in folder.iterdir() if inner.is_dir() and not inner.name.startswith(".")
    )
    found = [
        FoundRun(
            inner.name,
            inner,
            path,
            read_run_state(inner, None, was_submitted=False),
        )
        for inner in inner_runs
        if is_run(inner) or not any(inner.iterdir())
    ]
    return Root(path, "folder", tuple(found), unchecked)


def _read_sweep(path: Path) -> Root | None:
    """The runs that a sweep planned and all others in its folder; None if this is no sweep."""
    directory = SweepDirectory(path)
    if not directory.exists():
        return None
    status, plan = read_status(path), directory.read_plan()
    runs = [
        FoundRun(name, directory.runs / name, path, state, plan.get(name))
        for name, state in status.states.items()
    ]
    is_searching = status.search is not None and status.search.is_at_work
    return Root(path, "sweep", tuple(runs), status.unchecked, is_searching)


MAX_LINES = 300_000
"""The most training lines that are read of all runs together; beyond, every second, third, ...
line."""

DATASET = "dataset"
"""The varied key of runs that were trained on different datasets."""
DEBUG = "debug"
"""The varied key of runs that differ in `debug.*`: `debug=fast` sets several keys."""
HOUSEKEEPING = ("collapse.", "logger", "log_every", "validate_every", "num_threads", "precision")
"""Keys that tell little about a run; they come last if others vary, too."""


@dataclass(frozen=True)
class RunRecord:
    """One run. `number` is its position in the report, `name` is unique there.

    `run` holds configuration and evaluations, and varied values of its sweep that are not keys
    (`experiment`, `control`) or that no readable configuration holds. `data` holds the facts in its
    dataset's manifest, if that is still there: `data.name`, `data.group`, `data.origin.*`;
    `own_config` the configuration in its file alone, empty if that cannot be read.
    """

    number: int
    name: str
    path: Path
    state: RunState
    run: Run
    has_config: bool
    environment: dict[str, Any]
    log: Log
    clock: Clock | None
    attempts: tuple[Attempt, ...]
    data: dict[str, Any] = field(default_factory=dict)
    own_config: dict[str, Any] = field(default_factory=dict)

    @property
    def debug(self) -> str:
        """The option of `debug` that it was started with, as far as its keys tell."""
        config = self.run.config
        if config.get("debug.single_batch"):
            return "overfit"
        if config.get("debug.profile_steps"):
            return "profile"
        return "fast" if config.get("debug.num_steps") else "none"

    @property
    def facts(self) -> dict[str, Any]:
        """Its configuration by dotted key, and its dataset's manifest with the prefix `data.`."""
        return {**self.run.config, **self.data}

    @property
    def seed(self) -> str:
        """Its seed as text, empty if that is not known."""
        return show(self.run.config["seed"]) if "seed" in self.run.config else ""


@dataclass(frozen=True)
class Gathered:
    """All runs, the dotted keys that vary among them, and what could not be read."""

    roots: tuple[Root, ...]
    records: tuple[RunRecord, ...]
    keys: tuple[str, ...]
    complaints: tuple[str, ...]
    stride: int
    datasets: tuple[str, ...]
    """The name of each run's dataset."""
    codes: tuple[str, ...]
    """The code of each run where they are of different code and not averaged, else empty."""

    @property
    def is_sweep(self) -> bool:
        """Whether sweeps chose what varies."""
        return all(root.kind == "sweep" for root in self.roots)

    def settings(self, record: RunRecord) -> dict[str, Any]:
        """The run's values of the varied keys, if they are known."""
        config = record.run.config
        values = {key: config[key] for key in self.keys if key in config}
        if DATASET in self.keys:
            values[DATASET] = self.datasets[record.number]
        if CODE in self.keys:
            values[CODE] = self.codes[record.number]
        if DEBUG in self.keys:
            values[DEBUG] = record.debug
        return values


def gather(roots: Sequence[Root], any_code: bool = False) -> Gathered:
    """Read every run that was found; with `any_code` it makes no difference which code made it."""
    found = [run for root in roots for run in root.runs]
    logs = [run.path / "metrics.jsonl" for run in found]
    stride = max(1, -(-sum(map(count_lines, logs)) // MAX_LINES))
    complaints: list[str] = [
        f"{root.path}: not checked: {root.unchecked}; states are those of the heartbeats"
        for root in roots
        if root.unchecked
    ]
    read_manifest = functools.cache(describe_data)
    names = unique_names([(run.root.name, run.name) for run in found])
    records = []
    for number, (item, name, file) in enumerate(zip(found, names, logs, strict=True)):
        own: list[str] = []
        run = read_run(item.path, own)
        log = read_log(file, stride)
        if log.num_broken:
            own.append(f"{file}: {log.num_broken} lines cannot be read; left out")
        if item.path.is_dir():
            complaints += [line.removesuffix("; run left out") for line in own]
        train = log.splits.get("train")
        records.append(
            RunRecord(
                number=number,
                name=name,
                path=item.path,
                state=item.state,
                run=replace(run, name=name)
                if run
                else Run(name, item.values or {}, False, None, ()),
                has_config=run is not None,
                environment=read_json_object(item.path / "environment.json") or {},
                log=log,
                clock=None if train is None else read_clock(train),
                attempts=tuple(read_attempts(item.path)),
                data=read_manifest(str(run.config.get("data", ""))) if run else {},
                own_config=run.config if run else {},
            )
        )
    plans = [item.values or {} for item in found]
    keys = _varied(plans, records)
    if any(key.startswith(f"{DEBUG}.") for key in keys):
        keys = [*(key for key in keys if not key.startswith(f"{DEBUG}.")), DEBUG]
    if not all(plans):
        # What tells most comes first.
        keys.sort(key=lambda key: (key.startswith(HOUSEKEEPING), key == DEBUG))
    records = [
        replace(record, run=replace(record.run, config={**plan, **record.run.config}))
        for plan, record in zip(plans, records, strict=True)
    ]
    datasets = name_datasets(records)
    if len({datasets[record.number] for record in records if record.has_config}) > 1:
        keys.append(DATASET)
    codes = labels([None if any_code else record.run.code for record in records])
    if any(codes):
        keys.append(CODE)
    return Gathered(
        tuple(roots),
        tuple(records),
        tuple(keys),
        tuple(complaints),
        stride,
        datasets,
        tuple(codes),
    )


def _varied(plans: Sequence[dict[str, Any]], records: Sequence[RunRecord]) -> list[str]:
    """The keys that vary among runs: those that their sweeps varied if that is complete, else
    dotted keys."""
    keys = varied_keys(record.run for record in records if record.has_config)
    runs = (replace(record.run, config=plan) for plan, record in zip(plans, records, strict=True))
    chosen = varied_keys(runs)
    configs: dict[str, set[str]] = {}
    for plan, record in zip(plans, records, strict=True):
        if record.has_config:
            point = show([plan.get(key) for key in chosen])
            config = show([record.run.config.get(key) for key in keys])
            configs.setdefault(point, set()).add(config)
    if all(plans) and all(len(equal) == 1 for equal in configs.values()):
        return chosen
    if all(record.has_config for record in records):
        return keys
    # For runs that never started, only the values varied by their sweep are known.
    planned = {key for plan in plans for key in plan}
    return keys + sorted(planned - {*keys, "seed"})


def describe_data(path: str) -> dict[str, Any]:
    """Name, group, shape of frames and origin of a dataset; empty if there is none."""
    manifest = read_json_object(Path(path) / "manifest.json") if path else None
    if manifest is None:
        return {}
    said: dict[str, Any] = {key: manifest[key] for key in ("name", "group") if key in manifest}
    said["shape"] = (manifest.get("frames") or {}).get("shape")
    with contextlib.suppress(ValueError):
        said["origin"] = upgraded(manifest).get("origin", {})
    return flatten({"data": said})


def name_datasets(records: Sequence[RunRecord]) -> tuple[str, ...]:
    """A name for the dataset of each run: the folder's; different ones have different names.

    Datasets are the same if their fingerprints are equal. A run without a recorded fingerprint gets
    that of another run with the same path, or else its path identifies the dataset.
    """
    paths = [str(record.run.config.get("data", "")) for record in records]
    known = {p: r.run.dataset for p, r in zip(paths, records, strict=True) if r.run.dataset}
    identities = [
        record.run.dataset or known.get(path) or path
        for path, record in zip(paths, records, strict=True)
    ]
    names: dict[str, str] = {}
    for identity, path in zip(identities, paths, strict=True):
        names.setdefault(identity, Path(path).name)
    taken = list(names.values())
    return tuple(
        names[one] if taken.count(names[one]) == 1 else f"{names[one]} {one[-8:]}"
        for one in identities
    )


def unique_names(names: Sequence[tuple[str, str]]) -> list[str]:
    """A name for each (folder, run): the run's own if it is unique, else with its folder."""
    runs = [run for _, run in names]
    chosen = [
        run if runs.count(run) == 1 or folder == run else f"{folder}/{run}" for folder, run in names
    ]
    counts: dict[str, int] = {}
    unique = []
    for name in chosen:
        counts[name] = counts.get(name, 0) + 1
        unique.append(name if counts[name] == 1 else f"{name} ({counts[name]})")
    return unique
