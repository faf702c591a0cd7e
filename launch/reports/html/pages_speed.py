"""The page of what runs cost."""

from typing import Any

from launch.reports.html.names import duration, number
from launch.reports.html.report import Report
from launch.reports.html.speed import Cost, total

Context = dict[str, Any]

SPEED_MEANINGS = (
    ("samples/s", "Median over the logged intervals, validation and checkpoints left out."),
    ("data wait", "Share of the time that training waited for the loader, mean over the log."),
    ("memory", "The highest resident memory of the first rank, and of its GPU."),
    ("work", "Wall-clock time of training, validation and checkpoints without restarts."),
    (
        "lost",
        "Wall-clock time between the last line of one process and the first of the next, less what"
        " their steps usually take: repeated steps, start-up and waiting for a place.",
    ),
    ("waiting", "The part of it between the end of an attempt and the start of the next."),
    (
        "rank-hours",
        "Hours of all ranks together: from the start to the end of every attempt where a launcher"
        " noted them, else work times ranks. One GPU a rank, where there are GPUs.",
    ),
)


def speed_page(report: Report) -> Context:
    """What the runs cost."""
    order = {record.number: place for place, record in enumerate(report.ranked)}
    costs = sorted(report.costs, key=lambda cost: order[cost.record.number])
    sums = total(costs)
    speeds = [cost.samples_per_second for cost in costs if cost.samples_per_second]
    waits = [cost.wait_share for cost in costs if cost.wait_share is not None]
    tiles = [
        ("GPU-hours", number(sums.gpu_hours, 3) if sums.gpu_hours else "none"),
        ("rank-hours on processors", number(sums.cpu_hours, 3)),
        ("restarts", str(sums.num_restarts)),
        ("lost to restarts", duration(sums.lost_hours)),
    ]
    if speeds:
        tiles.insert(0, ("samples/s, median of runs", number(sorted(speeds)[len(speeds) // 2])))
    if waits:
        tiles.append(("data wait, mean", f"{100 * sum(waits) / len(waits):.1f}%"))
    titles = (
        *("samples/s", "data wait", "memory, MiB", "GPU memory, MiB", "ranks"),
        *("work", "restarts", "lost", "waiting", "rank-hours"),
    )
    columns = [{"title": "run", "numeric": False}]
    columns += [{"title": title, "numeric": True} for title in titles]
    columns += [{"title": "device", "numeric": False}]
    return {
        "tiles": [{"name": name, "value": value} for name, value in tiles],
        "caption": "What each run cost; a dash stands for what nothing tells.",
        "columns": [{"direction": None, "sorted": None} | column for column in columns],
        "rows": [
            {"cost": cost, "href": report.href(cost.record), "cells": _cost_cells(cost)}
            for cost in costs
        ],
        "meanings": SPEED_MEANINGS,
    }


def _cost_cells(cost: Cost) -> list[Context]:
    wait = cost.wait_share
    pairs = (
        (cost.samples_per_second, number(cost.samples_per_second)),
        (wait, "–" if wait is None else f"{100 * wait:.1f}%"),
        (cost.host_mib, number(cost.host_mib)),
        (cost.gpu_mib, number(cost.gpu_mib)),
        (cost.num_ranks, number(cost.num_ranks)),
        (cost.work_hours, duration(cost.work_hours)),
        (cost.num_restarts, str(cost.num_restarts)),
        (cost.lost_hours, duration(cost.lost_hours) if cost.num_restarts else "–"),
        (cost.waiting_hours, duration(cost.waiting_hours) if cost.num_restarts else "–"),
        (cost.device_hours, number(cost.device_hours, 3)),
    )
    return [{"value": value, "text": text} for value, text in pairs]
