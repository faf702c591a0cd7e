"""Rendering the pages of a report from templates, and writing it as a directory.

It is written under a temporary name, then renamed as a whole.

OUT/
  index.html  curves.html  ...  pages
  assets/                       styles and scripts, each once
  data/                         what the scripts draw
  pictures/                     copies of the pictures that are shown
  table.csv                     every evaluated step of every run
  report.json                   written last: this is a report, and of what
"""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from launch.reports.collecting import as_csv, make_table, show
from launch.reports.html import names, pages_front, pages_papers, pages_runs
from launch.reports.html.curves import SPLITS
from launch.reports.html.names import DETAILS, section_of
from launch.reports.html.pages_runs import as_script, compare_value, data_scripts, effects_value
from launch.reports.html.pictures import copy_gallery, gallery_context
from launch.reports.html.report import Report, ReportRequest, make_report
from launch.reports.seed_summary import direction_of
from orbit import __version__
from orbit.core.metrics import Metric

HOW = "a report needs the extra `report`: pip install -e '.[report]'"


def import_jinja2() -> Any:
    """jinja2; a one-line ImportError if it is missing."""
    return _import("jinja2")


def plotly_script() -> Path:
    """The script for charts from the plotly package; ImportError if that is missing."""
    _import("plotly")
    return Path(str(files("plotly") / "package_data" / "plotly.min.js"))


def _import(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ImportError(HOW) from None


HERE = Path(__file__).parent
STATIC = HERE / "static"
MARKS = {
    "evaluated": "◉",
    "finished": "●",
    "running": "▶",
    "starting": "▷",
    "waiting": "◌",
    "failed": "✖",
    "collapsed": "✖",
    "lost": "✖",
    "stopped": "■",
    "preempted": "■",
    "timed_out": "■",
    "cancelled": "■",
    "planned": "○",
    "unknown": "○",
    "pruned": "✂",
}
"""Shapes next to the names of states, so that they do not differ by colour alone."""


class Renderer:
    """Renders the templates of this package; all values are escaped."""

    def __init__(self, stated: Sequence[Metric] = ()) -> None:
        """`stated`: what methods say of their metrics."""
        jinja2 = import_jinja2()
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            number=names.number,
            spread=names.spread,
            show=show,
            direction=lambda name: direction_of(name, stated),
            breakable=lambda name: _breakable(name, jinja2),
            state_mark=lambda state: MARKS.get(state, "○"),
        )

    def page(self, template: str, **context: Any) -> str:
        """A page as text."""
        text: str = self._environment.get_template(f"{template}.html.j2").render(**context)
        return text


def _breakable(name: str, jinja2: Any) -> Any:
    """A metric's name that may break after its slashes and underscores."""
    markup = jinja2.utils.markupsafe.Markup
    text = str(markup.escape(name))
    return markup(text.replace("/", "/<wbr>").replace("_", "_<wbr>"))


CHARTS = ("orbit.js", "plotly.min.js", "series.js", "charts.js")
Context = dict[str, Any]


def render_pages(report: Report) -> Iterator[tuple[str, str]]:
    """File names and texts of all pages."""
    renderer = Renderer(report.headline.stated)
    makers: dict[str, Callable[[Report], Context]] = {
        "index.html": pages_front.front_page,
        "paper.html": pages_papers.paper_page,
        "curves.html": curves_page,
        "pictures.html": pictures_page,
        "runs.html": pages_runs.runs_page,
        "compare.html": pages_runs.compare_page,
        "effects.html": pages_runs.effects_page,
        "speed.html": pages_papers.speed_page,
    }
    scripts = {
        "index.html": (*CHARTS, "curves.js", "frames.js", "tables.js"),
        "compare.html": ("orbit.js", "compare.js"),
        "curves.html": (*CHARTS, "curves.js", "legend.js"),
        "pictures.html": ("frames.js",),
        "effects.html": (*CHARTS, "effects.js", "tables.js"),
    }
    own_pages = {report.href(record) for record in report.gathered.records}
    for page in report.pages:
        if page.file in own_pages:
            continue
        context = makers[page.file](report)
        text = renderer.page(
            page.file.removesuffix(".html"),
            report=report,
            file=page.file,
            heading=context.pop("heading", page.name),
            scripts=scripts.get(page.file, ("tables.js",)),
            **context,
        )
        yield page.file, text
    for record in report.gathered.records:
        context = pages_runs.run_page(report, record)
        yield (
            report.href(record),
            renderer.page(
                "run",
                report=report,
                file=report.href(record) if len(report.gathered.records) == 1 else "runs.html",
                heading=context.pop("heading"),
                scripts=(*CHARTS, "curves.js", "frames.js", "tables.js"),
                **context,
            ),
        )


def curves_page(report: Report) -> Context:
    """Charts by section, and the options for drawing them."""
    curves = report.curves
    sections: dict[str, list[Context]] = {}
    for metric, file in curves.files.items():
        chart = {
            "file": file,
            "metric": metric,
            "num_not_finite": curves.num_not_finite.get(metric, 0),
        }
        sections.setdefault(section_of(metric, curves.stated), []).append(chart)
    used = {one["split"] for found in curves.series.values() for one in found}
    return {
        "lead": _lead(report),
        "sections": [
            {"name": name, "charts": charts, "open": name not in (DETAILS, "Memory")}
            for name, charts in sections.items()
        ],
        "splits": [split for split in SPLITS if split in used] + sorted(used - set(SPLITS)),
        "colour_options": _colour_options(report),
    }


def pictures_page(report: Report) -> Context:
    """Galleries of the best runs."""
    return {
        "galleries": [
            {
                "record": gallery.record,
                "href": report.href(gallery.record),
                "settings": report.label(gallery.record),
                **gallery_context(gallery),
            }
            for gallery in report.galleries
        ],
        "num_left_out": report.num_galleries_left_out,
    }


def _lead(report: Report) -> str:
    """A note on the meaning of points of curves."""
    parts = []
    if report.curves.most > 1:
        parts.append(
            "Downsampled for display: a point is the mean of up to"
            f" {report.curves.most:,} logged values"
            + (
                ", and the shading around a single curve reaches from the lowest value to the"
                " highest."
                if report.curves.has_extremes
                else "."
            )
        )
    else:
        parts.append("Every logged value is shown.")
    if report.gathered.stride > 1:
        parts.append(
            f"The log is long, so one in {report.gathered.stride} training lines was read."
        )
    if len(report.gathered.records) > 1:
        parts.append("Where curves are means over runs, bands are ± one standard deviation.")
    parts.append("Hover to read values; drag to zoom, double-click to return.")
    return " ".join(parts)


def _colour_options(report: Report) -> list[Context]:
    """The ways to combine curves: by equal settings, by a key, or not at all."""
    if len(report.gathered.records) == 1:
        return [{"value": "run", "name": "each run"}]
    options = [
        {"value": "group", "name": "mean over seeds"},
        {"value": "run", "name": "each run"},
    ]
    options += [{"value": f"key:{key}", "name": f"by {name}"} for key, name in report.short.items()]
    return options if report.gathered.keys else options[:2]


MARK = "report.json"


def write_report(request: ReportRequest) -> Report:
    """Write the requested report; an existing report is replaced.

    Raises ValueError if `out` holds anything else, ImportError if a library is missing, and a
    one-line FileNotFoundError or ValueError for directories, metrics or splits that do not exist.
    """
    import_jinja2()
    script = plotly_script()
    check_place(request.out)
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    report = make_report(request, written, __version__)
    out = report.out
    draft = out.with_name(f".{out.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        draft.mkdir(parents=True)
        _fill(draft, report, script)
        _put(draft, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return report


def check_place(out: Path) -> None:
    """Raise ValueError unless a report may be written there."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"out={out} is a file: choose another path")
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file():
        raise ValueError(f"out={out} holds files that are not a report: choose another path")


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _fill(draft: Path, report: Report, script: Path) -> None:
    assets, data = draft / "assets", draft / "data"
    shutil.copytree(STATIC, assets)
    shutil.copyfile(script, assets / "plotly.min.js")
    data.mkdir()
    for name, text in data_scripts(report):
        (data / f"{name}.js").write_text(text, encoding="utf-8")
    differing = as_script("configs", compare_value(report))
    (data / "configs.js").write_text(differing, encoding="utf-8")
    (data / "effects.js").write_text(as_script("effects", effects_value(report)), encoding="utf-8")
    for gallery in report.galleries:
        copy_gallery(gallery, draft)
    for file, text in render_pages(report):
        (draft / file).write_text(text, encoding="utf-8")
    table = make_table([record.run for record in report.gathered.records if record.has_config])
    (draft / "table.csv").write_text(as_csv(table), encoding="utf-8", newline="")
    said = {
        "orbit": report.version,
        "written": report.written,
        "of": [str(root.path) for root in report.gathered.roots],
        "num_runs": len(report.gathered.records),
    }
    (draft / MARK).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def _put(draft: Path, out: Path) -> None:
    """Rename the draft to its final path; the old report is only removed after that."""
    old = out.with_name(f".{out.name}.{uuid.uuid4().hex[:12]}.old")
    if out.exists():
        os.rename(out, old)
    os.rename(draft, out)
    shutil.rmtree(old, ignore_errors=True)
