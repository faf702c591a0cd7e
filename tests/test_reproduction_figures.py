"""Protects figures of the papers' pages: each dot a run of the result files, none stale."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.programs import REPOSITORY
from helpers.reproducing import a_result, small_settings
from PIL import Image

from launch.reproduction.command import read_request
from launch.reproduction.figures import digest_of, make_figures, spans_decades, write_figures
from launch.reproduction.plan import plan_run
from launch.reproduction.results import read_results
from launch.reproduction.settings import Panel

PANELS = (Panel("hits, %", "hits", factor=100), Panel("error", "error", log=True))
SETTINGS = small_settings(panels=PANELS)


def result_of(variant: str, seed: int, **metrics: float) -> dict[str, Any]:
    digest = plan_run(SETTINGS, "small", "digits", variant, seed).digest
    return a_result("digits", variant, seed, digest, metrics)


RESULTS = [
    result_of("half", 1, hits=0.5, error=0.0),
    result_of("half", 0, hits=0.25, error=0.1),
    result_of("method", 0, hits=1.0),
]


def test_dots_are_the_results_of_the_present_words() -> None:
    stale = {**result_of("method", 1, hits=0.9), "digest": "of other words"}
    collapsed = {**result_of("method", 1, hits=0.9), "state": "collapsed"}
    (figure,) = make_figures(SETTINGS, "small", [*RESULTS, stale, collapsed]).values()
    assert figure.variants == ("method", "half")
    # In order of the seeds; an axis of powers of ten has no place for 0.
    assert figure.values == {
        "hits, %": {"half": [25.0, 50.0], "method": [100.0]},
        "error": {"half": [0.1]},
    }


def test_one_variant_is_nothing_to_compare() -> None:
    assert make_figures(SETTINGS, "small", RESULTS[:2]) == {}
    assert make_figures(small_settings(), "small", RESULTS) == {}


def test_a_log_axis_is_for_values_that_decades_part() -> None:
    """Between two powers of ten its labels run into each other."""
    assert not spans_decades([[0.06, 0.07], [0.15]])
    assert spans_decades([[1e-7], [0.3, 0.4]])


def test_figures_are_drawn_when_something_changed(tmp_path: Path) -> None:
    figures = make_figures(SETTINGS, "small", RESULTS)
    (path,) = write_figures(tmp_path / "images", figures)
    assert path.name == "results_digits.png"
    assert digest_of(path) == figures["digits"].digest
    with Image.open(path) as image:
        picture = np.asarray(image.convert("RGB")).astype(int)
    blue = (picture[..., 2] - picture[..., 0] > 60).sum()
    assert blue > 3 * 10
    assert write_figures(tmp_path / "images", figures) == []
    (tmp_path / "images/results_gone.png").write_bytes(path.read_bytes())
    (tmp_path / "images/results_of_mine.png").touch()
    (tmp_path / "images/latent_maps.png").touch()
    more = make_figures(SETTINGS, "small", [*RESULTS, result_of("method", 1, hits=0.5)])
    assert write_figures(tmp_path / "images", more) == [path]
    there = {file.name for file in (tmp_path / "images").iterdir()}
    assert there == {"results_digits.png", "results_of_mine.png", "latent_maps.png"}
    path.write_bytes(path.read_bytes()[:100])
    assert write_figures(tmp_path / "images", more) == [path]
    straight = small_settings(panels=(PANELS[0], Panel("error", "error")))
    assert make_figures(straight, "small", RESULTS)["digits"].digest != figures["digits"].digest


def test_two_panels_of_one_title_are_refused() -> None:
    with pytest.raises(ValueError, match="panels: two have one title"):
        small_settings(panels=(PANELS[0], PANELS[0]))


@pytest.mark.parametrize("name", ["paper1", "paper2", "referee"])
def test_the_documents_figures_show_the_present_results(name: str) -> None:
    request = read_request([name, "tables=true"])
    figures = make_figures(request.reproduction, "small", read_results(request.results_dir))
    folder = REPOSITORY / "docs/images" / name
    text = (REPOSITORY / f"docs/{name}.md").read_text()
    assert figures
    for dataset, figure in figures.items():
        assert digest_of(folder / f"results_{dataset}.png") == figure.digest, dataset
        assert f"images/{name}/results_{dataset}.png" in text, dataset
