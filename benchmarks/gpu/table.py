"""What was found on a GPU, as a table for `docs/speed.md` and as plain values."""

import math
from collections.abc import Sequence
from typing import Any

from gpu.plan import COMPILED_WORDS, PRECISIONS, Outcome

CHECK_HEADER = ("| check | | |", "|---|---|---|")
SPEED_HEADER = (
    "| samples/s | eager | compiled | CUDA graphs | on resident tensors | share of that | waiting"
    " | MiB |",
    "|---|---:|---:|---:|---:|---:|---:|---:|",
)
MISSING = "–"


def gpu_table(outcomes: Sequence[Outcome], where: str, is_dry: bool) -> str:
    """All of it in markdown: checks, speed, what was not run and why.

    `where` names the device; a dry run says that it is one.
    """
    title = f"Measured on {where}." if not is_dry else f"A dry run on {where}: no GPU was used."
    speeds = [outcome for outcome in outcomes if outcome.job.kind == "speed"]
    checks = [outcome for outcome in outcomes if outcome.job.kind not in ("speed", "data")]
    lines = [title, "", *CHECK_HEADER, *map(_check_row, checks), "", *SPEED_HEADER]
    lines += _speed_rows(speeds)
    lines += ["", "A rate is through the loader, where there is one. The last four columns are of"]
    lines += ["the fastest of a row; MiB is the most that tensors took.", ""]
    gains = graph_gains(speeds)
    lines += [f"* {gain}" for gain in gains]
    lines += [f"* Not run: {text}" for text in not_run(outcomes)]
    return "\n".join(lines).rstrip() + "\n"


def _check_row(outcome: Outcome) -> str:
    numbers = ", ".join(f"{name} {_number(value)}" for name, value in outcome.values.items())
    words = "; ".join(filter(None, [numbers, outcome.note])).replace("|", "/")
    return f"| {outcome.job.name} | {outcome.state} | {words} |"


def _speed_rows(speeds: Sequence[Outcome]) -> list[str]:
    """A row for each workload and precision that anything was measured of."""
    rows = []
    workloads = dict.fromkeys(outcome.job.workload for outcome in speeds)
    for workload in workloads:
        for precision in PRECISIONS:
            measured = {
                outcome.job.compile: outcome
                for outcome in speeds
                if outcome.job.workload == workload
                and outcome.job.precision == precision
                and outcome.state == "measured"
            }
            if workload is None or not measured:
                continue
            best = max(measured.values(), key=rate_of).values
            cells = [
                _number(rate_of(measured[name])) if name in measured else MISSING
                for name in COMPILED_WORDS
            ]
            share = best["loader"] / best["resident"] if "loader" in best else math.nan
            cells += [_number(best["resident"]), _share(share), _share(best.get("wait", math.nan))]
            cells += [_number(best.get("memory_mib", math.nan))]
            name = f"{workload.name}, batch {workload.batch}, {precision}"
            rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


def rate_of(outcome: Outcome) -> float:
    """Records a second of a measurement: through the loader, else on resident tensors."""
    return outcome.values.get("loader", outcome.values["resident"])


def graph_gains(speeds: Sequence[Outcome]) -> list[str]:
    """How many times as fast as compiled steps their CUDA graphs were."""
    measured = {
        (outcome.job.workload, outcome.job.precision, outcome.job.compile): outcome
        for outcome in speeds
        if outcome.state == "measured"
    }
    return [
        f"CUDA graphs, {workload.name}, {precision}:"
        f" {rate_of(outcome) / rate_of(measured[workload, precision, 'true']):.2f} times compiled"
        for (workload, precision, compiled), outcome in measured.items()
        if workload and compiled == "cuda_graphs" and (workload, precision, "true") in measured
    ]


def not_run(outcomes: Sequence[Outcome]) -> list[str]:
    """Measurements without a result, or without the loader's, together where the reason is the
    same; the data that they miss. What became of checks stands in their rows."""
    by_reason: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.job.kind in ("speed", "data") and outcome.note:
            by_reason.setdefault(outcome.note, []).append(outcome.job.name)
    return [f"{'; '.join(names)} ({why})" for why, names in by_reason.items()]


def as_details(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Outcomes as plain values; numbers that JSON does not have become null."""
    return [
        {
            "kind": outcome.job.kind,
            "name": outcome.job.name,
            "workload": outcome.job.workload.name if outcome.job.workload else None,
            "batch": outcome.job.workload.batch if outcome.job.workload else None,
            "precision": outcome.job.precision,
            "compile": outcome.job.compile,
            "state": outcome.state,
            "seconds": outcome.seconds,
            "values": {
                name: value if math.isfinite(value) else None
                for name, value in outcome.values.items()
            },
            "note": outcome.note,
        }
        for outcome in outcomes
    ]


def _number(value: float) -> str:
    if not math.isfinite(value):
        return MISSING if math.isnan(value) else "infinite"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _share(value: float) -> str:
    return MISSING if math.isnan(value) else f"{value:.1%}"
