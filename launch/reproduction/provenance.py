"""Where the numbers of a table come from: words, machine, commit. Pure functions."""

from collections.abc import Iterable, Sequence
from typing import Any

from launch.reproduction.settings import Preset, ReproductionSettings

Result = dict[str, Any]


def command(settings: ReproductionSettings, preset: Preset, dataset: str) -> str:
    """The command that makes all results of a dataset."""
    files = settings.datasets[dataset].files
    paths = "work=DIR" + (f" {files}=DIR" if files else "")
    return f"python launch/reproduce.py {settings.name} preset={preset} only={dataset} {paths}"


def provenance_lines(
    settings: ReproductionSettings, preset: Preset, dataset: str, results: Sequence[Result]
) -> list[str]:
    """A line on machines and commits, if there are results, and one with the command."""
    made_by = f"Made by `{command(settings, preset, dataset)}`."
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
