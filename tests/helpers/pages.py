"""A report in a browser: its fixtures, and scripts that ask a page what it shows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.browser import Browser, find_chromium
from helpers.programs import call
from helpers.reporting import write_log, write_run, write_sweep
from orbit.core.pictures import write_frames

needs_chromium = pytest.mark.skipif(
    find_chromium() is None, reason="no Chromium on this machine: apt-get install chromium"
)
DRAWN = "document.querySelector('figure.chart .main-svg') !== null"
PLOT = "document.querySelector('figure.chart .plot')"
TRACES = """(metric) => {
    const plot = document.querySelector(`figure.chart[data-metric="${metric}"] .plot`);
    return plot.data.filter((t) => t.hoverinfo !== 'skip')
        .map((t) => ({ name: t.name, x: [...t.x], y: [...t.y], std: t.customdata || null }));
}"""
NAMELESS = """[...document.querySelectorAll('button, a, input, select, img, [role=img]')]
    .filter((e) => e.offsetParent !== null && e.type !== 'hidden')
    .filter((e) => !(e.textContent.trim() || e.alt || e.querySelector('img[alt]')
        || e.getAttribute('aria-label')
        || (e.labels && e.labels.length && e.labels[0].textContent.trim())))
    .map((e) => e.outerHTML.slice(0, 120))"""
CONTRAST = """(selector) => {
    const channel = (c) => {
        c /= 255;
        return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    };
    const parse = (s) => s.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const ground = (e) => {
        for (let at = e; at; at = at.parentElement) {
            const c = parse(getComputedStyle(at).backgroundColor);
            if (c.length < 4 || c[3] === 1) return c;
        }
        return [255, 255, 255];
    };
    return [...document.querySelectorAll(selector)].filter((e) => e.offsetParent).map((e) => {
        const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    });
}"""


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests."""
    program = find_chromium()
    assert program is not None
    with Browser(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def quiet(browser: Browser) -> Iterator[None]:
    """Whatever a test does, the console stays silent and the network is left alone."""
    browser.problems.clear()
    browser.requests.clear()
    browser.look()
    yield
    assert browser.problems == []
    assert [one for one in browser.requests if not one.startswith(("file:", "data:"))] == []


@pytest.fixture(scope="session")
def shown_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two seeds and a run that has begun; the best run has pictures, and frames of
    volumes whose cells are (4 element + slice) / 12 bright, for three elements."""
    root = write_sweep(tmp_path_factory.mktemp("shown") / "sweep", (0.3, 0.5), (4, 8), 2)
    write_log(write_run(root / "runs/begun", "task.tau=0.9"), 12)
    best = root / "runs/tau0.3_width4_seed0"
    frames = np.zeros((3, 2, 2, 1, 4, 6, 6), np.float32)
    for element in range(3):
        for level in range(4):
            frames[element, :, :, :, level] = (4 * element + level) / 12
    rows, labels = ["source", "output"], ["0", "90", "180"]
    write_frames(best / "pictures/elements", frames, labels, rows, "Title", "What it is.")
    Image.new("RGB", (30, 20), "red").save(best / "orbits.png")
    return root


@pytest.fixture(scope="session")
def shown_report(shown_sweep: Path) -> Path:
    """The report on it."""
    out = shown_sweep.parent / "report"
    words = (str(shown_sweep), f"out={out}", "paper=symmetric_embeddings")
    assert call("launch/report.py", *words).code == 0
    return out


def choose(browser: Browser, selector: str, value: object, event: str = "input") -> None:
    """Set a control as a user would, and tell the page."""
    browser.run(
        f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
        f" e.value = {json.dumps(value)};"
        f" e.dispatchEvent(new Event('{event}', {{bubbles: true}})); }})()"
    )


def traces(browser: Browser, metric: str) -> dict[str, dict[str, Any]]:
    """The lines of a metric's chart by name, without the edges of bands."""
    found = browser.run(f"({TRACES})({json.dumps(metric)})")
    return {one["name"]: one for one in found}


def wait_for_trace(browser: Browser, condition: str) -> None:
    """Wait until a line of the main chart fulfils a condition on `t`."""
    browser.wait(f"({TRACES})('loss/total').some((t) => {condition})")


def logged(run: Path, split: str, metric: str) -> list[float]:
    """What a run logged of a metric."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line[metric] for line in lines if line["split"] == split]
