"""Figures of a paper's page from result files, and texts with generated blocks."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.reproduction.cells import metric
from launch.reproduction.plan import Rows, select
from launch.reproduction.settings import Panel, Preset, ReproductionSettings
from launch.reproduction.tables import is_current, with_guests
from orbit.core.config.schema import suggestion
from orbit.core.files.atomic import replacing
from orbit.core.files.listing import list_folder
from orbit.core.pictures import save_figure
from pipeline.measuring import new_figure

START = re.compile(r"<!-- table: (?P<name>\S+) -->")
END = "<!-- end -->"


def replace_blocks(text: str, blocks: Mapping[str, str]) -> str:
    """The text with every block between `<!-- table: NAME -->` and `<!-- end -->` replaced.

    Everything else is unchanged. Raises ValueError for an unknown name or a block that does not end
    before the next one starts.
    """
    parts: list[str] = []
    place = 0
    while match := START.search(text, place):
        name = match["name"]
        if name not in blocks:
            raise ValueError(f"unknown table {name!r}{suggestion(name, list(blocks))}")
        end = text.find(END, match.end())
        following = START.search(text, match.end())
        if end < 0 or (following and following.start() < end):
            raise ValueError(f"table {name!r} has no {END}")
        parts += [text[place : match.end()], f"\n{blocks[name]}\n", END]
        place = end + len(END)
    return "".join([*parts, text[place:]])


def rewrite_document(file: Path, blocks: Mapping[str, str]) -> bool:
    """Replace the blocks of a file, atomically; returns whether it changed.

    Raises FileNotFoundError if the file is missing, and ValueError, naming the file, as
    `replace_blocks` does.
    """
    if not file.is_file():
        raise FileNotFoundError(f"document={file}: there is no such file")
    before = file.read_bytes()
    try:
        after = replace_blocks(before.decode("utf-8"), blocks).encode("utf-8")
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    if after == before:
        return False
    with replacing(file) as draft:
        draft.write_bytes(after)
    return True


Result = dict[str, Any]
STYLE = 3
"""Version of the style of figures; figures of older versions are drawn again."""
DATA = "Data"
"""The key in a picture's metadata that holds the digest of its data."""


@dataclass(frozen=True)
class Figure:
    """Panels of one dataset; `variants` are the rows, and `values` those of runs by heading and
    row."""

    dataset: str
    variants: tuple[str, ...]
    panels: tuple[Panel, ...]
    values: Mapping[str, Mapping[str, Sequence[float]]]

    @property
    def digest(self) -> str:
        """Hex digest of everything that is drawn."""
        panels = [(panel.title, panel.log) for panel in self.panels]
        shown = [STYLE, self.variants, panels, self.values]
        return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:16]


def make_figures(
    settings: ReproductionSettings, preset: Preset, results: Iterable[Result]
) -> dict[str, Figure]:
    """The figure of each dataset that has current results of two variants or more."""
    current = [
        result
        for result in results
        if result["state"] == "finished" and is_current(settings, preset, result)
    ]
    settings = with_guests(settings, current)
    figures = {}
    for dataset in settings.datasets:
        own = [result for result in current if result["dataset"] == dataset]
        chosen = [name for name in settings.variants if settings.has(dataset, name)]
        rows = select(settings, preset, dataset, own, chosen)
        values = {panel.title: _by_row(panel, rows) for panel in settings.panels}
        panels = tuple(panel for panel in settings.panels if values[panel.title])
        there = {row for by_row in values.values() for row in by_row}
        variants = tuple(str(row) for row in rows.results if str(row) in there)
        if len(variants) > 1:
            shown = {panel.title: values[panel.title] for panel in panels}
            figures[dataset] = Figure(dataset, variants, panels, shown)
    return figures


def _by_row(panel: Panel, rows: Rows) -> dict[str, list[float]]:
    """Values of a panel by row, in the order of seeds, without those that it cannot show."""
    found: dict[str, list[float]] = {}
    for row, results in rows.results.items():
        for result in sorted(results, key=lambda result: int(result["seed"])):
            value = metric(panel.metric)(result)
            if value is not None and (value > 0 or not panel.log):
                found.setdefault(str(row), []).append(value * panel.factor)
    return found


def write_figures(folder: Path, figures: Mapping[str, Figure]) -> list[Path]:
    """Draw changed figures as `folder`/results_DATASET.png; returns the files written.

    Figures of datasets that no longer have one are deleted.
    """
    written = []
    for path in list_folder(folder, "results_*.png"):
        if path.stem.removeprefix("results_") not in figures and digest_of(path) is not None:
            path.unlink(missing_ok=True)
    for dataset, figure in figures.items():
        path = folder / f"results_{dataset}.png"
        if digest_of(path) != figure.digest:
            folder.mkdir(parents=True, exist_ok=True)
            draw(path, figure)
            written.append(path)
    return written


def digest_of(path: Path) -> str | None:
    """The digest in a picture; None for a picture that Orbit did not write, or that cannot be
    read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            found = image.info.get(DATA)
    except OSError:
        return None
    return found if isinstance(found, str) else None


def draw(path: Path, figure: Figure) -> None:
    """Draw panels side by side; a row for each variant, a dot for each run, a line at the mean."""
    num = len(figure.panels)
    size = (1.9 + 2.2 * num, 1.2 + 0.26 * len(figure.variants))
    canvas, (axes,) = new_figure(1, num, size, figure.dataset, sharey=True)
    rows = {variant: row for row, variant in enumerate(figure.variants)}
    for axis, panel in zip(axes, figure.panels, strict=True):
        for variant, values in figure.values[panel.title].items():
            row = rows[variant]
            mean = sum(values) / len(values)
            axis.plot([mean, mean], [row - 0.32, row + 0.32], color="0.25", linewidth=1.5)
            axis.plot(values, [row] * len(values), "o", color="#0072b2", markersize=4, alpha=0.7)
        axis.set_title(panel.title, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(axis="both", color="0.9", linewidth=0.6)
        axis.set_axisbelow(True)
        if panel.log and spans_decades(figure.values[panel.title].values()):
            axis.set_xscale("log")
    axes[0].set_yticks(list(rows.values()), list(rows))
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    save_figure(canvas, path, {DATA: figure.digest})


def spans_decades(values: Iterable[Sequence[float]]) -> bool:
    """Whether values of runs differ by more than a factor of ten; only then a log axis helps."""
    flat = [value for row in values for value in row]
    return max(flat) > 10 * min(flat)
