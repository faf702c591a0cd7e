"""Writing a report as a directory: under a temporary name, then renamed as a whole.

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
from datetime import UTC, datetime
from pathlib import Path

from launch.reports.collecting import as_csv, make_table
from launch.reports.html.pages import STATIC, import_jinja2, plotly_script, render_pages
from launch.reports.html.pages_run import compare_value
from launch.reports.html.pages_runs import as_script, data_scripts, effects_value
from launch.reports.html.pictures import copy_gallery
from launch.reports.html.report import Report, ReportRequest, make_report
from orbit import __version__

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
