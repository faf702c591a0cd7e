"""search.json: how a search ended. It is written last."""

from pathlib import Path
from typing import Any

from launch.sweeps.search import show_point
from launch.sweeps.settings import OptunaSearch
from launch.sweeps.study import SearchStudy
from pipeline.files.atomic import write_json

SUMMARY_FILE = "search.json"


def summarise(search: OptunaSearch, study: SearchStudy) -> dict[str, Any]:
    """The best trial and the number of trials by state, as search.json holds them."""
    best = study.best()
    counts = {state: number for state, number in study.counts().items() if state != "running"}
    return {
        "metric": search.metric,
        "direction": search.direction,
        "trials": counts,
        "best": best
        and {
            "trial": best.number,
            "value": best.value,
            "params": best.point,
            "runs": best.notes.get("runs", []),
        },
    }


def write_summary(folder: Path, search: OptunaSearch, study: SearchStudy) -> dict[str, Any]:
    """Write search.json, which says that the search is over, and return its content."""
    summary = summarise(search, study)
    write_json(folder / SUMMARY_FILE, summary)
    return summary


def show_summary(summary: dict[str, Any]) -> list[str]:
    """search.json in a few lines."""
    shown = ", ".join(f"{number} {state}" for state, number in summary["trials"].items())
    lines = [f"{sum(summary['trials'].values())} trials: {shown}"]
    best = summary["best"]
    if best is None:
        return [*lines, "no trial has a value"]
    where = ", ".join(f"runs/{name}" for name in best["runs"])
    result = f"{summary['metric']} {best['value']:.6g} with {show_point(best['params'])}"
    return [*lines, f"best: trial {best['trial']}, {result}", where]
