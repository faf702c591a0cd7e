"""A report for everybody: themes, widths, keyboards, screen readers, contrast.

Protects what WCAG asks for and a browser can tell: names, headings, captions, the order of
focus, contrast in both themes, and that no page scrolls sideways.
"""

import itertools
import json
from pathlib import Path

import pytest
from helpers.browser import Browser
from helpers.pages import CONTRAST, DRAWN, NAMELESS, PLOT, needs_chromium

pytestmark = [needs_chromium, pytest.mark.usefixtures("quiet")]
THEME = "document.documentElement.dataset.theme"
FOCUSED = "document.activeElement"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_no_page_is_wider_than_its_window(
    width: int, scheme: str, browser: Browser, shown_report: Path
) -> None:
    browser.look(width, 800, scheme)
    for page in sorted(shown_report.glob("*.html")):
        browser.open(page)
        assert browser.run(THEME) == scheme
        assert browser.run("document.documentElement.scrollWidth") <= width, page.name


def test_the_theme_can_be_chosen_and_is_kept(browser: Browser, shown_report: Path) -> None:
    browser.open(shown_report / "curves.html", DRAWN)
    line = f"{PLOT}.data.at(-1).line.color"
    before = browser.run(line)
    for expected in ("light", "dark"):
        browser.run("document.querySelector('#theme').click()")
        assert browser.run(THEME) == expected
    browser.wait(f"{line} !== {json.dumps(before)}")
    browser.open(shown_report / "runs.html")
    assert browser.run(THEME) == "dark"
    browser.run("document.querySelector('#theme').click()")
    assert browser.run(THEME) == "light"
    assert browser.run("document.querySelector('#theme').textContent") == "Theme: auto"


def test_everything_has_a_name_and_its_place(browser: Browser, shown_report: Path) -> None:
    for page in sorted(shown_report.glob("*.html")):
        browser.open(page)
        assert browser.run(NAMELESS) == [], page.name
        tables = "[...document.querySelectorAll('table')].filter((table) => !table.caption).length"
        assert browser.run(tables) == 0, page.name
        found = "[...document.querySelectorAll('h1,h2,h3')].map((head) => Number(head.tagName[1]))"
        levels = browser.run(found)
        assert levels[0] == 1
        assert all(later - level <= 1 for level, later in itertools.pairwise(levels))
        landmarks = "['header', 'header nav', 'main', 'footer'].map((name) =>"
        landmarks += " document.querySelectorAll(`body > ${name}`).length)"
        assert browser.run(landmarks) == [1, 1, 1, 1], page.name
        every = "[...document.querySelectorAll('[id]')].map((e) => e.id)"
        ids = browser.run(every)
        assert len(ids) == len(set(ids)), page.name


def test_the_keyboard_reaches_everything(browser: Browser, shown_report: Path) -> None:
    browser.open(shown_report / "runs.html")
    browser.press("Tab")
    assert browser.run(f"{FOCUSED}.className") == "skip"
    browser.press("Enter")
    assert browser.run("location.hash") == "#main"
    browser.press("Tab")
    assert browser.run(f"{FOCUSED}.className") == "table-filter"
    # The scrolling region of the table, then its first heading.
    browser.press("Tab")
    assert browser.run(f"{FOCUSED}.getAttribute('role')") == "region"
    browser.press("Tab")
    assert browser.run(f"{FOCUSED}.className") == "sort"
    assert browser.run(f"getComputedStyle({FOCUSED}).outlineStyle") == "solid"
    browser.press("Enter")
    assert browser.run(f"{FOCUSED}.closest('th').getAttribute('aria-sort')") == "ascending"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_lines_stand_out(scheme: str, browser: Browser, shown_report: Path) -> None:
    """WCAG AA: 4.5 to 1 for text, 3 to 1 for lines."""
    browser.look(scheme=scheme)
    browser.open(shown_report / "index.html")
    texts = "p, dt, dd, th, caption span, a, .state, .soft, button"
    assert min(browser.run(f"({CONTRAST})({json.dumps(texts)})")) >= 4.5
    marks = "".join(f'<b style="color: var(--series-{number})">x</b>' for number in range(7))
    probe = f'<div class="chart-grid single" id="probe">{marks}</div>'
    browser.run(
        f"document.querySelector('main').insertAdjacentHTML('beforeend', {json.dumps(probe)})"
    )
    assert min(browser.run(f"({CONTRAST})('#probe b')")) >= 3
