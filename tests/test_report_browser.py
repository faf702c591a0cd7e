"""The pages of a report in a real browser, opened from disk.

Protects that nothing goes wrong in any page and nothing is asked of a network, that curves
and bands are drawn with the logged numbers on every axis, that tables sort and filter, and
that sliders move.
"""

import json
import statistics
from pathlib import Path

import pytest
from helpers.browser import Browser
from helpers.pages import DRAWN, PLOT, choose, logged, needs_chromium, traces, wait_for_trace
from helpers.programs import call
from helpers.reporting import finish, write_log, write_run
from PIL import Image

pytestmark = [needs_chromium, pytest.mark.usefixtures("quiet")]
BEST = "width 4, tau 0.3, mean of 2"


def test_curves_are_means_over_seeds_with_bands(
    browser: Browser, shown_report: Path, shown_sweep: Path
) -> None:
    browser.open(shown_report / "curves.html", DRAWN)
    found = traces(browser, "loss/total")
    val = found[f"{BEST} · val"]
    runs = [shown_sweep / f"runs/tau0.3_width4_seed{seed}" for seed in range(2)]
    pairs = list(zip(*(logged(run, "val", "loss/total") for run in runs), strict=True))
    assert val["x"] == [100, 200]
    assert val["y"] == pytest.approx([statistics.fmean(pair) for pair in pairs], rel=1e-4)
    deviations = [statistics.stdev(pair) for pair in pairs]
    assert [float(std) for std in val["std"]] == pytest.approx(deviations, rel=0.05)
    edges = browser.run(f"{PLOT}.data.filter((t) => t.hoverinfo === 'skip').map((t) => [...t.y])")
    lower = [mean - std for mean, std in zip(val["y"], deviations, strict=True)]
    assert any(edge == pytest.approx(lower, rel=1e-3) for edge in edges)
    assert found[f"{BEST} · test"]["y"] == pytest.approx([0.305])
    label = browser.run(f"{PLOT}.getAttribute('aria-label')")
    assert label.startswith("loss/total by step: ")


@pytest.mark.parametrize(
    ("axis", "last"), [("step", 200), ("epoch", 2), ("pairs", 200 * 32), ("hours", 40 / 3600)]
)
def test_every_axis(
    axis: str, last: float, browser: Browser, shown_report: Path, shown_sweep: Path
) -> None:
    name = "tau0.5_width8_seed1"
    browser.open(shown_report / "curves.html", DRAWN)
    choose(browser, "#colour", "run", "change")
    choose(browser, "#axis", axis, "change")
    wait_for_trace(browser, f"t.name === '{name} · train' && Math.abs(t.x.at(-1) - {last}) < 0.1")
    train = traces(browser, "loss/total")[f"{name} · train"]
    assert train["x"][-1] == pytest.approx(last, rel=1e-3)
    expected = logged(shown_sweep / "runs" / name, "train", "loss/total")
    assert train["y"] == pytest.approx(expected, rel=1e-4)


def test_smoothing_splits_and_what_is_shown(browser: Browser, shown_report: Path) -> None:
    browser.open(shown_report / "curves.html", DRAWN)
    name = f"{BEST} · train"
    before = traces(browser, "loss/total")[name]["y"]
    choose(browser, "#smoothing", 100)
    wait_for_trace(browser, f"t.name === {json.dumps(name)} && t.y[5] > {before[5] * 1.1}")
    after = traces(browser, "loss/total")[name]["y"]
    assert after[0] == before[0]
    # A falling curve lags behind when it is smoothed.
    assert all(smooth >= raw for smooth, raw in zip(after, before, strict=True))
    browser.run("document.querySelector('input[name=split][value=train]').click()")
    wait_for_trace(browser, "t.name.endsWith('val')")
    browser.wait(f"!{PLOT}.data.some((t) => t.name && t.name.endsWith('train'))")
    browser.run("document.querySelector('#legend input').click()")
    browser.wait(f"!{PLOT}.data.some((t) => t.name && t.name.startsWith('width 4, tau 0.3'))")
    note = browser.run("document.querySelector('#legend-note').textContent")
    assert note.startswith("4 of 5, best first")


def test_curves_by_a_key(browser: Browser, shown_report: Path, shown_sweep: Path) -> None:
    browser.open(shown_report / "curves.html", DRAWN)
    choose(browser, "#colour", "key:task.tau", "change")
    wait_for_trace(browser, "t.name === 'tau 0.5, mean of 4 · val'")
    found = traces(browser, "loss/total")["tau 0.5, mean of 4 · val"]
    runs = sorted((shown_sweep / "runs").glob("tau0.5_*"))
    ends = [logged(run, "val", "loss/total")[-1] for run in runs]
    assert found["y"][-1] == pytest.approx(statistics.fmean(ends), rel=1e-4)


def test_values_are_there_as_a_table(
    browser: Browser, shown_report: Path, shown_sweep: Path
) -> None:
    browser.open(shown_report / "curves.html", DRAWN)
    browser.run("document.querySelector('figure.chart .values summary').click()")
    browser.wait("document.querySelector('figure.chart .values tbody tr') !== null")
    rows = browser.run(
        "[...document.querySelectorAll('figure.chart .values tbody tr')]"
        ".map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    (row,) = (row for row in rows if row[:2] == [BEST, "train"])
    runs = [shown_sweep / f"runs/tau0.3_width4_seed{seed}" for seed in range(2)]
    ends = [logged(run, "train", "loss/total")[-1] for run in runs]
    assert float(row[-1]) == pytest.approx(statistics.fmean(ends), rel=1e-3)


CELLS = """[...document.querySelectorAll('#runs tbody tr')].filter((row) => !row.hidden)
    .map((row) => row.cells[{}].textContent.trim())"""


def test_tables_sort_and_filter(browser: Browser, shown_report: Path) -> None:
    browser.open(shown_report / "runs.html")
    heads = (
        "[...document.querySelectorAll('#runs thead th')].map((head) => head.textContent.trim())"
    )
    names = browser.run(heads)
    column = next(number for number, name in enumerate(names) if name.startswith("psnr"))
    button = f"document.querySelectorAll('#runs button.sort')[{column}]"
    for is_falling in (False, True):
        browser.run(f"{button}.click()")
        found = browser.run(CELLS.format(column))
        assert found[-1] == "–"
        assert found[:-1] == sorted(found[:-1], key=float, reverse=is_falling)
    order = browser.run(f"{button}.closest('th').getAttribute('aria-sort')")
    assert order == "descending"
    choose(browser, ".table-filter", "width8 seed1")
    assert browser.run(CELLS.format(0)) == ["tau0.5_width8_seed1", "tau0.3_width8_seed1"]
    assert browser.run("document.querySelector('#runs-count').textContent") == "2 of 9 runs"


def test_effects_are_drawn_for_each_metric(browser: Browser, shown_report: Path) -> None:
    browser.open(
        shown_report / "effects.html", "document.querySelector('.plot .main-svg') !== null"
    )
    means = "[...document.querySelector('#effects-{} .plot[data-key=\"task.tau\"]').data[1].y]"
    assert browser.run(means.format(0)) == pytest.approx([0.305, 0.505])
    choose(browser, "#effect-metric", "1", "change")
    browser.wait("document.querySelector('#effects-1 .plot .main-svg') !== null")
    assert browser.run(means.format(1)) == pytest.approx([23, 25])
    assert browser.run("document.querySelector('#effects-0').hidden")


def brightness(browser: Browser, tmp_path: Path) -> float:
    """What the middle of the first cell of the frames shows, on [0, 1]."""
    browser.wait("document.querySelector('.frame img').complete")
    x, y = browser.run(
        "(() => { const box = document.querySelector('.frame').getBoundingClientRect();"
        " return [box.x + box.width / 4, box.y + box.height / 4]; })()"
    )
    browser.picture(tmp_path / "seen.png")
    with Image.open(tmp_path / "seen.png") as picture:
        level = picture.convert("L").getpixel((round(x), round(y)))
    assert isinstance(level, int)
    return level / 255


def test_sliders_show_elements_and_slices(
    browser: Browser, shown_report: Path, tmp_path: Path
) -> None:
    browser.open(shown_report / "pictures.html")
    browser.run("document.querySelector('.frames').scrollIntoView()")
    # Slice 2, the middle one, of element 0.
    assert brightness(browser, tmp_path) == pytest.approx(2 / 12, abs=0.02)
    browser.run("document.querySelector('.frame-slider').focus()")
    browser.press("ArrowRight")
    assert browser.run("document.querySelector('.frame-controls output').textContent") == "90"
    assert browser.run("document.querySelector('.frame img').alt").endswith("group element 90")
    assert brightness(browser, tmp_path) == pytest.approx(6 / 12, abs=0.02)
    choose(browser, ".slice-slider", "3")
    assert brightness(browser, tmp_path) == pytest.approx(7 / 12, abs=0.02)
    shown = "document.querySelector('.slice-slider').getAttribute('aria-valuetext')"
    assert browser.run(shown) == "4 of 4"
    button = "document.querySelector('.play')"
    browser.run(f"{button}.click()")
    browser.wait("document.querySelector('.frame-slider').value !== '1'")
    browser.run(f"{button}.click()")
    assert browser.run(f"{button}.getAttribute('aria-pressed')") == "false"


@pytest.mark.parametrize("kind", ["empty", "running"])
def test_runs_without_much(kind: str, browser: Browser, tmp_path: Path) -> None:
    run = tmp_path / "run"
    if kind == "empty":
        run.mkdir()
    else:
        write_log(write_run(run), 3)
    assert call("launch/report.py", str(run), f"out={tmp_path / 'report'}").code == 0
    for page in sorted((tmp_path / "report").glob("*.html")):
        browser.open(page)


def test_a_long_run_is_thinned_and_says_so(browser: Browser, tmp_path: Path) -> None:
    run, out = write_run(tmp_path / "run"), tmp_path / "report"
    write_log(run, 12_000, lines_per_epoch=500)
    finish(run, 120_000, 0.1, 20.0)
    assert call("launch/report.py", str(run), f"out={out}").code == 0
    browser.open(out / "curves.html", DRAWN)
    said = browser.run("document.body.innerText")
    assert "a point is the mean of up to 12 logged values" in said
    (train,) = (t for name, t in traces(browser, "loss/total").items() if name.endswith("train"))
    assert len(train["x"]) == 1000
    losses = logged(run, "train", "loss/total")
    assert train["y"][0] == pytest.approx(statistics.fmean(losses[:12]), rel=1e-4)
    edges = browser.run(f"{PLOT}.data.filter((t) => t.hoverinfo === 'skip').map((t) => t.y[0])")
    assert edges == pytest.approx([losses[11], losses[0]], rel=1e-4)


def test_paper_has_every_chart_as_wide_as_the_paper(browser: Browser, shown_report: Path) -> None:
    """Those that nobody scrolled to are drawn too, in the light theme, and the page comes back."""
    browser.look(1280, 300, "dark")
    browser.open(shown_report / "curves.html", DRAWN)
    charts = "document.querySelectorAll('details[open] figure.chart')"
    num = browser.run(f"{charts}.length")
    drawn = f"[...{charts}].filter((one) => one.querySelector('.main-svg')).length"
    assert browser.run(drawn) < num
    browser.run("dispatchEvent(new Event('beforeprint'))")
    browser.wait(f"{drawn} === {num}")
    assert browser.run("document.documentElement.dataset.theme") == "light"
    width = "document.querySelector('figure.chart .main-svg').getBoundingClientRect().width"
    assert browser.run(width) < 350
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert browser.run("document.documentElement.dataset.theme") == "dark"
    browser.wait("document.querySelector('main').clientWidth > 1000")


def test_a_constant_is_drawn_at_its_value(browser: Browser, tmp_path: Path) -> None:
    """The axis lies around it: an axis of its own choice puts 0.001 on the line of zero."""
    run = write_run(tmp_path / "run")
    lines = [{**line, "learning_rate": 1e-3} for line in write_log(run, 12)]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    call("launch/report.py", str(run), f"out={tmp_path / 'report'}")
    plot = "document.querySelector('figure.chart[data-metric=learning_rate] .plot')"
    browser.open(tmp_path / "report/curves.html", f"{plot}.querySelector('.main-svg') !== null")
    assert browser.run(f"{plot}.layout.yaxis.range") == pytest.approx([5e-4, 1.5e-3])
    choose(browser, "#log", "on")
    browser.run("document.querySelector('#log').click()")
    browser.wait(f"{plot}.layout.yaxis.type === 'log'")
    assert browser.run(f"{plot}.layout.yaxis.range") == pytest.approx([-3.5, -2.5])


def test_the_kinds_of_lines_are_explained(browser: Browser, shown_report: Path) -> None:
    """Each split has its line in the list of what is shown, and on the front page if drawn."""
    browser.open(shown_report / "curves.html", DRAWN)
    said = browser.run(
        "[...document.querySelectorAll('.legend [data-split]')].map((e) => e.innerText.trim())"
    )
    assert [one.split(":")[0] for one in said] == ["train", "val", "test"]
    browser.open(shown_report / "index.html", "document.querySelector('.main-svg') !== null")
    shown = (
        "[...document.querySelectorAll('#front [data-split]')].filter((e) => !e.hidden)"
        ".map((e) => e.dataset.split)"
    )
    assert browser.run(shown) == ["val"]
    browser.open(shown_report / "run-0000.html", "document.querySelector('.main-svg') !== null")
    assert browser.run(shown) == ["train", "val", "test"]
    names = browser.run("document.querySelector('.plot').data.map((t) => t.name)")
    assert len({name.split(" · ")[0] for name in names if name}) == 1


def test_two_configurations_are_compared(browser: Browser, shown_report: Path) -> None:
    rows = (
        "[...document.querySelectorAll('#compare-table tbody tr')]"
        ".map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    browser.open(shown_report / "compare.html", f"{rows}.length > 0")
    assert browser.run(rows) == [["seed", "0", "1"]]
    names = browser.run("[...document.querySelector('#compare-b').options].map((o) => o.text)")
    choose(browser, "#compare-b", names.index("tau0.5_width8_seed0"), "change")
    expected = [["task.model.width", "4", "8"], ["task.tau", "0.3", "0.5"]]
    assert browser.run(rows) == expected
    assert browser.run("document.querySelector('#compare-note').textContent").startswith("2 keys")


def test_a_phone_has_the_menu_in_one_line(browser: Browser, shown_report: Path) -> None:
    """It moves sideways, and the page that is open is in view."""
    browser.look(390, 800)
    for page in ("index.html", "speed.html"):
        browser.open(shown_report / page)
        tops = browser.run("[...document.querySelectorAll('nav li')].map((e) => e.offsetTop)")
        assert len(set(tops)) == 1
        box = "document.querySelector('nav [aria-current]').getBoundingClientRect()"
        assert 0 <= browser.run(f"{box}.left") <= browser.run(f"{box}.right") <= 390
