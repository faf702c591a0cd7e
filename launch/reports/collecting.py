"""The metrics of many runs, read from their run directories into rows of one table."""

import csv
import io
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.jobs.codes import CODE, Spans, labels, read_spans
from orbit.core.config.yaml_files import read_yaml
from orbit.core.files.listing import list_folder
from orbit.core.metrics import Metric, read_statements
from pipeline.methods.table import METHODS

EVALUATION_FILE = re.compile(r"step_\d{8,}-\w+?(-[0-9a-f]{8})?\.json")
NEVER_INFLUENCE = ("data", "run_dir", "resume", "allow_changes", "checkpoint_every")
NEVER_INFLUENCE_BELOW = ("loader.", "retention.")


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one checkpoint on one split; `is_own_data`: of the dataset it was trained on.

    `stated` are its statements about its metrics, empty in files of earlier versions; `code` is the
    code that measured them, empty if it was not recorded.
    """

    step: int
    split: str
    dataset: str | None
    is_own_data: bool
    metrics: dict[str, Any]
    stated: tuple[Metric, ...] = ()
    code: Spans = ()


@dataclass(frozen=True)
class Run:
    """One run directory: dotted configuration keys and everything that was measured.

    `code` is the code that made it, see `launch.jobs.codes`; None before it starts.
    """

    name: str
    config: dict[str, Any]
    is_finished: bool
    best_step: int | None
    evaluations: tuple[Evaluation, ...]
    code: Spans | None = None

    @property
    def dataset(self) -> str | None:
        """Fingerprint of the dataset that it was trained on, None if unknown."""
        own = [each.dataset for each in self.evaluations if each.is_own_data and each.dataset]
        return own[0] if own else None

    @property
    def stated(self) -> tuple[Metric, ...]:
        """The statements of its evaluations about their metrics or, without any, those of Orbit's
        methods."""
        found = tuple(metric for each in self.evaluations for metric in each.stated)
        method = METHODS.get(str(self.config.get("task.name")))
        return found or (method.metrics if method is not None else ())


def stated_by(runs: Iterable[Run]) -> tuple[Metric, ...]:
    """The statements about metrics of some runs' methods, without repetitions."""
    return tuple(dict.fromkeys(metric for run in runs for metric in run.stated))


@dataclass(frozen=True)
class Table:
    """Rows by column name; a column that a row lacks is missing there."""

    columns: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]


# Reading


def read_runs(root: Path) -> tuple[list[Run], list[str]]:
    """The runs of a sweep, or of a folder of runs, by name; and a line for each unreadable file.

    Raises FileNotFoundError if there is no such directory, ValueError if no run is in it.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no sweep at {root}: there is no such directory")
    folder = root / "runs" if (root / "runs").is_dir() else root
    runs: list[Run] = []
    complaints: list[str] = []
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.is_dir() and not path.name.startswith("."):
            run = read_run(path, complaints)
            if run is not None:
                runs.append(run)
    if not runs:
        raise ValueError(f"no run below {folder}" + (f": {complaints[0]}" if complaints else ""))
    return runs, complaints


def read_run(path: Path, complaints: list[str]) -> Run | None:
    """One run directory, None without a readable config.yaml; adds a line for each unreadable
    file."""
    try:
        config = flatten(read_yaml((path / "config.yaml").read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError) as error:
        complaints.append(f"{path / 'config.yaml'} {_reason(error)}; run left out")
        return None
    evaluations = []
    for file in list_folder(path / "evaluations", "step_*.json"):
        match = EVALUATION_FILE.fullmatch(file.name)
        content = _read_json(file, complaints) if match else None
        if match and content is not None and is_of_these_weights(path, content):
            evaluations.append((file, {**content, "is_own_data": match.group(1) is None}))
    code = read_spans(path)
    result = None
    if (path / "result.json").is_file():
        result = _read_json(path / "result.json", complaints)
    best_step = result.get("best_step") if result is not None else None
    if result is not None and isinstance(best_step, int):
        meta = path / f"checkpoints/step_{best_step:08d}/meta.json"
        dataset = (_read_json(meta, complaints) or {}).get("dataset") if meta.is_file() else None
        own = {**result, "step": best_step, "dataset": dataset, "is_own_data": True}
        own |= {"code": code[-1]} if code else {}
        evaluations.append((path / "result.json", own))
    # An evaluation of the best step replaces the run's own validation of that step and split.
    found: dict[tuple[int, str, str], Evaluation] = {}
    for file, content in evaluations:
        try:
            evaluation = _evaluation(content)
        except ValueError as error:
            complaints.append(f"{file} states no metrics: {error}; left out")
            continue
        if evaluation is None:
            complaints.append(f"{file} holds no step, split and metrics; left out")
            continue
        other = "" if evaluation.is_own_data else str(evaluation.dataset)
        found.setdefault((evaluation.step, evaluation.split, other), evaluation)
    return Run(
        path.name,
        config,
        result is not None and result.get("state") == "finished",
        best_step if isinstance(best_step, int) else None,
        tuple(found[key] for key in sorted(found)),
        code,
    )


def is_of_these_weights(run_dir: Path, evaluation: dict[str, Any]) -> bool:
    """False for an evaluation of weights from before the run started over.

    This is known from the recorded attempt or, without it, from the checkpoint of that step, if it
    still exists and has other weights.
    """
    restarts: list[str] = []
    content = _read_json(run_dir / "restarts.json", restarts, list)
    attempt = len(content) if content is not None else 0
    if "attempt" in evaluation:
        return bool(evaluation["attempt"] == attempt)
    step, weights = evaluation.get("step"), evaluation.get("weights")
    if not attempt or not isinstance(step, int) or weights is None:
        return True
    meta = _read_json(run_dir / f"checkpoints/step_{step:08d}/meta.json", restarts) or {}
    try:
        return bool(meta["files"]["model.safetensors"]["sha256"] == weights)
    except (KeyError, TypeError):
        return True


def _evaluation(content: dict[str, Any]) -> Evaluation | None:
    step, split, metrics = content.get("step"), content.get("split"), content.get("metrics")
    if not (isinstance(step, int) and isinstance(split, str) and isinstance(metrics, dict)):
        return None
    dataset, is_own_data, code = content.get("dataset"), content["is_own_data"], content.get("code")
    stated, spans = read_statements(content), (code,) if isinstance(code, dict) else ()
    return Evaluation(step, split, dataset, is_own_data, metrics, stated, spans)


def _read_json(path: Path, complaints: list[str], kind: type = dict) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, kind):
            return content
        complaints.append(f"{path} holds no keys; left out")
    except (OSError, ValueError) as error:
        complaints.append(f"{path} {_reason(error)}; left out")
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "is missing"
    return "cannot be read" + (f" ({error.strerror})" if isinstance(error, OSError) else "")


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings to dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        is_nested = isinstance(value, dict)
        flat.update(flatten(value, f"{prefix}{key}.") if is_nested else {f"{prefix}{key}": value})
    return flat


# The table


def make_table(runs: list[Run]) -> Table:
    """A row for each run and evaluation, by run, step and split.

    Columns: run, the varied keys and the seed, the code if the runs have different code, step,
    split, state, then metrics.
    """
    keys = [*varied_keys(runs), "seed"]
    datasets = {each.dataset for run in runs for each in run.evaluations if each.dataset}
    origin = ["dataset"] if len(datasets) > 1 else []
    codes = labels([run.code for run in runs])
    by_code = [CODE] if any(codes) else []
    rows: list[dict[str, Any]] = []
    metrics: dict[str, None] = {}
    for run, code in zip(runs, codes, strict=True):
        for each in run.evaluations:
            row: dict[str, Any] = {"run": run.name}
            row |= {key: run.config[key] for key in keys if key in run.config}
            row |= {CODE: code} if by_code else {}
            row |= {"step": each.step, "split": each.split}
            row |= {"dataset": (each.dataset or "")[:8]} if origin else {}
            row |= {"state": "finished" if run.is_finished else "unfinished"}
            rows.append(row | each.metrics)
            metrics |= dict.fromkeys(each.metrics)
    columns = ("run", *keys, *by_code, "step", "split", *origin, "state", *metrics)
    return Table(columns, tuple(rows))


def varied_keys(runs: Iterable[Run]) -> list[str]:
    """Dotted keys whose values differ between the runs, except the seed and keys without effect."""
    configs = [run.config for run in runs]
    return [
        key
        for key in sorted({key for config in configs for key in config})
        if key not in ("seed", *NEVER_INFLUENCE)
        and not key.startswith(NEVER_INFLUENCE_BELOW)
        and len({show(config[key]) if key in config else None for config in configs}) > 1
    ]


def as_csv(table: Table) -> str:
    """The table as CSV (RFC 4180): lines end in CR LF, missing values are empty."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(table.columns)
    for row in table.rows:
        writer.writerow(show(row[key]) if key in row else "" for key in table.columns)
    return text.getvalue()


def show(value: Any) -> str:
    """A value as it is written on the command line."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
