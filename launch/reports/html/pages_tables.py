"""The pages that are tables: runs, effects of keys, speed, a paper's numbers."""

from typing import Any

from launch.reports.collecting import show
from launch.reports.html.effects import make_effects
from launch.reports.html.names import duration, number, spread
from launch.reports.html.paper import PaperTable, beside
from launch.reports.html.report import Report
from launch.reports.html.speed import Cost, total
from launch.reports.seed_summary import direction_of, value_of

MAX_EFFECT_METRICS = 6
Context = dict[str, Any]


def runs_page(report: Report) -> Context:
    """A row a run, the best first."""
    headline = report.headline
    columns: list[Context] = [{"title": "run"}, {"title": "state"}]
    columns += [{"title": name} for name in report.short.values()]
    columns += [{"title": "seed", "numeric": True}, {"title": "step", "numeric": True}]
    columns += [
        {"title": name, "numeric": True, "direction": direction_of(name)}
        for name in headline.metrics
    ]
    rows = []
    for record in report.ranked:
        settings = report.gathered.settings(record)
        keys = [_text_cell(settings.get(key, "")) for key in report.gathered.keys]
        rows.append(
            {
                "record": record,
                "href": report.href(record),
                "settings": [*keys, _text_cell(record.run.config.get("seed", ""))],
                "step": record.state.step,
                "cells": [value_of(record.run, m, headline.split) for m in headline.metrics],
            }
        )
    default = {"numeric": False, "direction": None, "sorted": None}
    return {
        "lead": f"Values are of the {headline.split} split at the best checkpoint. Names lead to"
        " the run directories; table.csv beside this page has every evaluated step and metric.",
        "caption": f"{len(rows)} runs, by {headline.metric}, best first. Click a heading to sort.",
        "columns": [default | column for column in columns],
        "rows": rows,
    }


def effects_page(report: Report) -> Context:
    """What each varied key does to each of the main metrics."""
    headline = report.headline
    finished = [record for record in report.gathered.records if record.run.is_finished]
    settings = [report.gathered.settings(record) for record in finished]
    found = []
    for metric in headline.metrics[:MAX_EFFECT_METRICS]:
        values = [value_of(record.run, metric, headline.split) for record in finished]
        numbers = [float("nan") if value is None else value for value in values]
        effects = make_effects(report.gathered.keys, settings, numbers)
        found.append({"name": metric, "effects": effects})
    return {
        "heading": "Effects of the varied keys",
        "lead": f"Each dot is a finished run, {headline.split} split. Other keys take whatever"
        " values they took: in a full grid the levels of a key differ in nothing else.",
        "metrics": [one["name"] for one in found],
        "effects": found,
    }


def effects_value(report: Report) -> Context:
    """For the page's script: settings and values of finished runs."""
    headline = report.headline
    finished = [record for record in report.gathered.records if record.run.is_finished]
    return {
        "names": [record.name for record in finished],
        "settings": [
            {
                key: show(value) if isinstance(value, list | dict | bool) else value
                for key, value in report.gathered.settings(record).items()
            }
            for record in finished
        ],
        "values": {
            metric: [_finite(value_of(record.run, metric, headline.split)) for record in finished]
            for metric in headline.metrics[:MAX_EFFECT_METRICS]
        },
    }


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


def paper_page(report: Report) -> Context:
    """The paper's numbers beside ours."""
    paper = report.paper
    assert paper is not None
    used = [
        key
        for table in paper.tables
        for key in (*table.notes, *(n for r in table.rows for n in r.notes))
    ]
    order = list(dict.fromkeys([*used, *paper.notes]))
    numbers = {key: place for place, key in enumerate(order, start=1)}
    return {
        "heading": "The paper's numbers beside ours",
        "paper": paper,
        "split": report.headline.split,
        "note_numbers": numbers,
        "notes": [(key, paper.notes[key]) for key in order],
        "tables": [_paper_table(report, table) for table in paper.tables],
    }


def _paper_table(report: Report, table: PaperTable) -> Context:
    rows = []
    for one in beside(table, report.gathered, report.headline.split):
        cells = []
        for name in table.columns:
            printed, ours = one.row.values.get(name), one.ours.get(name)
            cells.append(
                {
                    "paper": "–" if printed is None else _printed(printed),
                    "ours": "–" if ours is None else spread(ours.mean, ours.std),
                }
            )
        rows.append(
            {"name": one.row.name, "notes": one.row.notes, "cells": cells, "num_runs": one.num_runs}
        )
    return {
        "caption": table.caption,
        "source": table.source,
        "notes": table.notes,
        "columns": list(table.columns.values()),
        "rows": rows,
    }


def _printed(value: tuple[float, ...]) -> str:
    return " ± ".join(f"{part:g}" for part in value)


def _text_cell(value: Any) -> Context:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {"text": show(value), "numeric": is_number}


def _finite(value: float | None) -> float | None:
    is_finite = value is not None and abs(value) < float("inf")
    return value if is_finite else None
