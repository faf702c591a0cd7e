"""Reports as markdown for people and as JSON for programs."""

import dataclasses
from typing import Any

import torch
from measuring import PartReport

from pipeline.training.environment import describe_environment

PRIVATE = ("command", "host")


def describe_machine() -> dict[str, Any]:
    """Processor, cores and versions."""
    environment = describe_environment(torch.device("cpu"), 1, torch.get_num_threads())
    return {key: value for key, value in environment.items() if key not in PRIVATE}


def machine_line(machine: dict[str, Any]) -> str:
    """The machine in a sentence."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"Machine: {machine['processor']}, {machine['num_cores']} cores,"
        f" Python {machine['python']}, {packages}."
    )


def as_markdown(report: PartReport) -> str:
    """A part's tables and notes; `met` and `missed` mark requirements."""
    lines = [f"### {report.title}", ""]
    if report.table:
        lines.append(report.table)
    elif report.rows:
        lines += ["| measured | median | best | unit |", "|---|---:|---:|---|"]
        lines += [
            f"| {row.name} | {_number(row.median)} | {_number(row.best)} | {row.unit} |"
            for row in report.rows
        ]
    if report.checks:
        lines += ["", "| required | limit | measured | |", "|---|---:|---:|---|"]
    for check in report.checks:
        sign, mark = "<=" if check.is_upper_limit else ">=", "met" if check.is_met else "missed"
        limit = f"{sign} {_number(check.required)}"
        lines.append(f"| {check.name} | {limit} | {_number(check.measured)} | {mark} |")
    lines += [""] * bool(report.notes) + [f"- {note}" for note in report.notes]
    return "\n".join(lines)


def as_plain(machine: dict[str, Any], reports: list[PartReport]) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "machine": machine,
        "parts": [
            {
                **dataclasses.asdict(report),
                "checks": [
                    {**dataclasses.asdict(check), "is_met": check.is_met} for check in report.checks
                ],
            }
            for report in reports
        ],
    }


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
