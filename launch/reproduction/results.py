"""Result files: the metrics of a run and their origin, in a few kB.

RESULTS/<dataset>/<variant>_seed<k>.json
RESULTS/<dataset>/<variant>_seed<k>_fp32.json    in fp32, where bf16 is planned but only slower
"""

import json
import math
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from launch.reproduction.children import Ending
from launch.reproduction.plan import (
    DIRTY,
    FALLBACK,
    Places,
    PlannedRun,
    precision_of,
    shown_presets,
)
from launch.reproduction.settings import Preset, ReproductionSettings
from orbit.core.config.program import EXIT_COLLAPSED, EXIT_FINISHED, EXIT_NON_FINITE
from orbit.core.files.atomic import write_json
from orbit.core.files.listing import list_folder
from orbit.core.metrics import Metric, read_statements
from pipeline.settings import evaluation_file

Result = dict[str, Any]


def command(settings: ReproductionSettings, preset: Preset, dataset: str) -> str:
    """The command that makes all results of a dataset under a preset."""
    files = settings.datasets[dataset].files
    paths = "work=DIR" + (f" {files}=DIR" if files else "")
    return f"python launch/reproduce.py {settings.name} preset={preset} only={dataset} {paths}"


def provenance_lines(
    settings: ReproductionSettings, preset: Preset, dataset: str, results: Sequence[Result]
) -> list[str]:
    """A line on machines and commits, if there are results, and one with the command."""
    presets = settings.presets_of(dataset, shown_presets(preset))
    commands = [f"`{command(settings, name, dataset)}`" for name in presets]
    made_by = f"Made by {' and '.join(commands)}."
    if not results:
        return ["", made_by]
    machines = "; ".join(_unique(describe_machine(result["machine"]) for result in results))
    commits = ", ".join(_unique(f"`{result['commit']}`" for result in results))
    dates = _unique(result["date"] for result in results)
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    minutes = [
        sum(result["seconds"].values()) / 60 for result in results if result["state"] == "finished"
    ]
    took = f" A run took {sum(minutes) / len(minutes):.1f} minutes." if minutes else ""
    return ["", f"{machines}; commit {commits}; {when}.{took}", made_by]


def describe_machine(machine: dict[str, Any]) -> str:
    """Processor or GPU, cores, threads of a run, version of torch."""
    what = machine.get("gpu") or machine.get("processor") or "unknown processor"
    torch = (machine.get("packages") or {}).get("torch", "unknown")
    threads = machine.get("num_threads")
    each = "one thread a run" if threads == 1 else f"{threads} threads a run"
    return f"{what}, {machine.get('num_cores')} cores, {each}, torch {torch}"


def _unique(values: Iterable[str]) -> list[str]:
    return sorted(dict.fromkeys(values))


SETTINGS = ("labels", "feature", "classifier", "fraction")
"""The keys that distinguish the rows of a classification's summary."""
SCORES = ("accuracy", "macro_f1", "auc")


def classification_rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each setting, a row with the settings above and each score's mean over the classifier's
    seeds.

    `content` is that of a file below `classification/`; a score that it lacks is left out.
    """
    rows = []
    for entry in content["summary"]:
        row = {key: entry[key] for key in SETTINGS}
        for name in SCORES:
            mean = (entry.get(name) or {}).get("mean")
            if mean is not None:
                row[name] = round(mean, 5)
        rows.append(row)
    return rows


STATES = {
    EXIT_FINISHED: "finished",
    EXIT_COLLAPSED: "collapsed",
    EXIT_NON_FINITE: "non_finite",
}
"""Exit codes that are results: the same overrides would end in the same way again."""
MACHINE = ("processor", "num_cores", "gpu", "num_threads", "python", "packages")
FILE_NAME = re.compile(rf"(?P<variant>.+)_seed(?P<seed>\d+)(?:{FALLBACK})?\.json")


def is_result(ending: Ending) -> bool:
    """Whether a run ended in a way that is recorded: finished, collapsed, or a loss not finite."""
    return ending.exit_code == EXIT_FINISHED or (
        ending.step == "train" and ending.exit_code in STATES
    )


def make_result(
    run: PlannedRun, preset: str, ending: Ending, places: Places, commit: str
) -> Result:
    """Content of a result file, with the overrides of its programs on this machine.

    A run that did not finish has no metrics; otherwise the message is the first of its headline
    metrics that the tables show. Raises FileNotFoundError or ValueError with one line if the run
    directory lacks what its programs should have left there.
    """
    run_dir = places.run_dir(run)
    environment = _read(run_dir / "environment.json")
    result: Result = {
        "dataset": run.dataset,
        "variant": run.variant,
        "seed": run.seed,
        "preset": preset,
        "digest": run.digest,
        "state": STATES[ending.exit_code],
        "message": ending.message,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit,
        "machine": {key: environment.get(key) for key in MACHINE},
        "seconds": dict(ending.seconds),
        "words": {
            "prepare": list(run.prepare),
            "train": list(run.train_here),
            "evaluate": list(run.evaluate),
            "classify": list(run.classify),
            **(
                {"tests": {name: list(overrides) for name, overrides in run.tests}}
                if run.tests
                else {}
            ),
        },
        "metrics": {},
        "mask": {},
        "classification": [],
    }
    if ending.exit_code != EXIT_FINISHED:
        return result
    trained = _read(run_dir / "result.json")
    step = trained["best_step"]
    evaluation = _read(run_dir / "evaluations" / evaluation_file(step, run.splits[0]))
    metrics = {key: _rounded(value) for key, value in evaluation["metrics"].items()}
    result["message"] = headline(metrics, read_statements(evaluation))
    for split in run.splits[1:]:
        other = _read(run_dir / "evaluations" / evaluation_file(step, split))
        metrics |= {f"{split}/{key}": _rounded(value) for key, value in other["metrics"].items()}
    for name, overrides in run.tests:
        fingerprint = _read(places.data(overrides) / "manifest.json")["fingerprint"]
        other = _read(run_dir / "evaluations" / evaluation_file(step, "test", fingerprint))
        metrics |= {f"{name}/{key}": _rounded(value) for key, value in other["metrics"].items()}
    result["step"], result["num_steps"] = step, trained["step"]
    result["num_parameters"] = num_parameters(run_dir / "checkpoints" / f"step_{step:08d}")
    result["metrics"] = {k: v for k, v in metrics.items() if not k.startswith("mask/")}
    result["mask"] = {k: v for k, v in metrics.items() if k.startswith("mask/")}
    result["mask"] |= flips(run_dir / "metrics.jsonl")
    if run.classify:
        file = run_dir / "classification" / f"step_{step:08d}.json"
        result["classification"] = classification_rows(_read(file))
    return result


def headline(metrics: Mapping[str, float | None], stated: Sequence[Metric]) -> str:
    """`PSNR 27.31`: one metric as a short text; empty if the result has no headline."""
    for each in stated:
        value = metrics.get(each.name)
        if each.is_headline and each.column is not None and value is not None:
            return f"{each.column.heading} {value:.{each.column.digits}f}"
    return ""


def num_parameters(checkpoint: Path) -> int:
    """The number of parameters in a checkpoint, from the header of its file."""
    with open(checkpoint / "model.safetensors", "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
    return sum(math.prod(shape) for shape in shapes)


def flips(log: Path) -> dict[str, float]:
    """The number of flips of mask entries over the whole run, and in its last epoch."""
    by_epoch = flips_by_epoch(log)
    if not by_epoch:
        return {}
    return {"mask/flips": sum(by_epoch), "mask/flips_in_last_epoch": by_epoch[-1]}


def flips_by_epoch(log: Path) -> list[float]:
    """The number of flips of mask entries in each epoch that a log of metrics holds.

    The line at the end of an epoch counts the epochs done, and still the flips of the last of them.
    """
    by_epoch: dict[int, float] = {}
    epoch = 0
    for line in log.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        if "mask/flips_in_epoch" in values:
            by_epoch[epoch] = values["mask/flips_in_epoch"]
            epoch = values["epoch"]
    return [*by_epoch.values()]


def write_result(folder: Path, run: PlannedRun, result: Result) -> Path:
    """Write a run's result file atomically; an outdated one of the same run and precision goes."""
    file = folder / f"{run.result_name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, result)
    earlier = folder / f"{run.name}.json"
    if earlier != file and earlier.is_file() and precision_of(_read(earlier)) == run.precision:
        earlier.unlink()
    return file


def read_results(folder: Path) -> list[Result]:
    """All result files below a folder, by name; none if there is no such folder.

    Raises ValueError naming a file that is not a result.
    """
    results = []
    found = [file for inner in list_folder(folder) for file in list_folder(inner, "*.json")]
    for file in found:
        if FILE_NAME.fullmatch(file.name):
            result = _read(file)
            missing = [
                key
                for key in ("dataset", "variant", "seed", "digest", "state", "metrics")
                if key not in result
            ]
            if missing:
                raise ValueError(f"{file} is not a result: {missing[0]} is missing")
            results.append(_completed(_without_empty_parts(result)))
    return results


CENTRED = re.compile(
    r"(?P<test>.*/)?(?P<kind>equivariance_error|distance_invariance_error)_raw"
    r"/model/(?P<horizon>horizon_\d+)"
)


def _completed(result: Result) -> Result:
    """Add what evaluations of earlier versions left out, if their numbers determine it: centred
    errors of rollouts, from errors and spread, and the worse part of a swap."""
    metrics = result["metrics"]
    added: dict[str, float] = {}
    for name, error in metrics.items():
        match = CENTRED.fullmatch(name)
        if match is not None and error is not None:
            test, horizon = match["test"] or "", match["horizon"]
            spread = metrics.get(f"{test}latent_spread/{horizon}")
            if spread:
                centred = error / (math.sqrt(2) * spread)
                added[f"{test}{match['kind']}_centred/model/{horizon}"] = float(f"{centred:.6g}")
    parts = [metrics.get(f"swap/{part}_rmse") for part in ("foreground", "background")]
    known = [part for part in parts if part is not None]
    if len(known) == len(parts):
        added["swap/worse_rmse"] = max(known)
    return {**result, "metrics": {**added, **metrics}}


def _without_empty_parts(result: Result) -> Result:
    """Leave out errors of a part of the latent that has no channels. Earlier versions wrote them as
    0."""
    empty = EMPTY_PARTS.get(result.get("mask", {}).get("mask/fraction_variant"), ())
    kept = {name: value for name, value in result["metrics"].items() if name not in empty}
    return {**result, "metrics": kept}


EMPTY_PARTS = {
    0.0: ("equivariance_error/variant", "equivariance_error/variant_centred"),
    1.0: ("invariance_error/invariant",),
}
"""The metrics to leave out, by the share of variant channels."""


def is_done(folder: Path, run: PlannedRun) -> bool:
    """Whether the run has a result that was made with the same overrides, in the precision of this
    machine."""
    # Earlier versions gave results in fp32 the name of those in bf16.
    files = [folder / f"{name}.json" for name in (run.result_name, run.name)]
    results = [_read(file) for file in files if file.is_file()]
    return any("digest" in result and run.made(result) for result in results)


def describe_commit(repository: Path, products: Sequence[Path] = ()) -> str:
    """`git describe` of the code, with -dirty if it was changed; 'unknown' without git.

    Changes below docs/ and tests/ do not count, because results are written to the first and runs
    do not use the second, nor do those of `products`, folders and texts that a reproduction writes.
    """
    # If the package is installed inside another repository, that commit is not its own.
    is_tracked = _git(repository, "ls-files", "--", "pipeline/__init__.py")
    describe = _git(repository, "describe", "--always", "--tags", "--abbrev=12")
    if not is_tracked or not describe:
        return "unknown"
    changes = _git(repository, "status", "--porcelain", "--", *_code(repository, products))
    return describe if changes == "" else f"{describe}{DIRTY}"


def has_changed(repository: Path, commit: str, products: Sequence[Path] = ()) -> bool:
    """Whether the code is another than that of a clean commit, as `describe_commit` names it.

    False for `unknown` and for a commit with changes, which cannot be compared.
    """
    if commit == "unknown" or commit.endswith(DIRTY):
        return False
    changes = _git(repository, "diff", "--name-only", commit, "--", *_code(repository, products))
    return changes != "" or describe_commit(repository, products).endswith(DIRTY)


def _code(repository: Path, products: Sequence[Path]) -> list[str]:
    """What git is to look at."""
    inside = [path.relative_to(repository) for path in products if repository in path.parents]
    ignored = (Path("docs"), Path("tests"), *inside)
    return [".", *(f":(exclude,literal){path.as_posix()}" for path in ignored)]


def _git(repository: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(repository), *arguments], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _rounded(value: Any) -> float | None:
    """Values rounded to six digits; null if they are not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{file} is missing") from None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"{file} cannot be read; delete it, and its run is made again")
    return content
