"""Protects readers of the documents: commands work, links lead somewhere, the site builds alone.

Commands are run in one process and on little data, by the programs' own main functions; the
tutorial comes first and leaves its dataset and run to the other pages.
"""

import re
import shutil
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.documents import blocks_of, carry_out, pages
from helpers.idx import write_mnist
from helpers.programs import REPOSITORY
from PIL import Image

from docs_build.links import anchors_of, links_of, rewrite_links, slug
from docs_build.notebooks import carry_out as run_notebook
from docs_build.notebooks import read_notebook
from docs_build.pages import ELSEWHERE, NOTEBOOKS, made_pages, made_pictures
from docs_build.settings_pages import (
    COMMON,
    PAGES,
    SettingsPage,
    dataclass_options,
    page_sections,
    settings_page,
    written_meanings,
)
from orbit.core.config import program
from pipeline.methods.table import METHODS
from pipeline.referee.statements import STATEMENTS
from pipeline.runs import load_run

TUTORIAL = REPOSITORY / "docs/tutorial.md"
RUN_PAGES = [page for page in pages() if any(block.is_run for block in blocks_of(page))]


def run_page(page: Path) -> None:
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks_of(page):
        if block.is_run:
            carry_out(block, names)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, digits_dir: Path, digits_run: Path) -> Path:
    """A folder after the tutorial, with the files of a user that other pages speak of."""
    folder = tmp_path_factory.mktemp("reader")
    rng = np.random.default_rng(0)
    write_mnist(folder / "mnist")
    (folder / "scans").mkdir()
    rows = []
    for index in range(12):
        np.save(folder / f"scans/{index}.npy", rng.random((12, 10, 8), np.float32))
        for end in ("a", "b"):
            (folder / end).mkdir(exist_ok=True)
            pixels = rng.integers(0, 255, (8, 8), np.uint8)
            Image.fromarray(pixels).save(folder / f"{end}/{index}.png")
        rows.append(f"a/{index}.png,b/{index}.png,{index % 4}")
    (folder / "pairs.csv").write_text("\n".join(["source,target,quarter_turns", *rows]))
    (folder / "data").mkdir()
    (folder / "runs").mkdir()
    (folder / "data/rotated_digits").symlink_to(digits_dir)
    shutil.copytree(digits_run, folder / "runs/rotated_digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_page(TUTORIAL)
    return folder


def test_the_tutorial_leads_to_turned_pictures(workspace: Path) -> None:
    assert (workspace / "turned/plane_000__90.png").is_file()
    assert (workspace / "runs/mine/orbits.png").is_file()
    assert (workspace / "data/mine/contact_sheet.png").is_file()


@pytest.mark.parametrize("page", RUN_PAGES[1:], ids=lambda page: page.stem)
def test_the_commands_of_a_page_run(
    page: Path, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page after the tutorial alone, whatever other pages leave behind."""
    folder = tmp_path / "reader"
    left_out = shutil.ignore_patterns("turned", "fast")
    shutil.copytree(workspace, folder, symlinks=True, ignore=left_out)
    monkeypatch.chdir(folder)
    run_page(page)


def test_every_command_is_run_or_says_why_not() -> None:
    blocks = [block for page in pages() for block in blocks_of(page) if block.language == "sh"]
    assert len(blocks) > 20
    unmarked = [block.place for block in blocks if not block.is_marked]
    assert not unmarked, f"put <!-- run --> or <!-- not run: why --> before {unmarked}"
    assert all(block.how for block in blocks if not block.is_run), "say why a block is not run"


# Links


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """In the repository or, for pages that are made, in the site."""
    made = made_pages()
    for link in links_of(page.read_text(encoding="utf-8")):
        place = f"{page.name}:{link.line}: {link.target}"
        target = page if not link.target else (page.parent / link.target).resolve()
        if target.is_dir():
            continue
        if not target.is_file():
            assert target.is_relative_to(REPOSITORY / "docs"), place
            site = target.relative_to(REPOSITORY / "docs").as_posix()
            assert site in made or "." not in target.name, place
            text = made[site]() if site in made else ""
        else:
            text = target.read_text(encoding="utf-8") if target.suffix == ".md" else ""
        if link.anchor:
            assert link.anchor in anchors_of(text), f"{place}#{link.anchor}"


def test_headings_become_anchors() -> None:
    assert slug("`pipeline/train.py`, and *more*") == "pipelinetrainpy-and-more"
    assert slug("Where latents run away") == "where-latents-run-away"
    text = "# One\n```sh\n# no heading\n```\n## [Two](x.md) `x`\n"
    assert anchors_of(text) == {"one", "two-x"}


def test_links_are_rewritten_for_the_site() -> None:
    text = "[a](docs/x.md#y) ![b](docs/p.png) [`c`](pipeline) [d](#e) `[f](g)`\n"
    places = {"docs/x.md": "x.md", "docs/p.png": "p.png"}
    assert rewrite_links(text, "README.md", places.get) == (
        "[a](x.md#y) ![b](p.png) `c` [d](#e) `[f](g)`\n"
    )
    assert rewrite_links("[a](../x.md)", "docs/how/to.md", {"docs/x.md": "../x.md"}.get) == (
        "[a](../x.md)\n"
    )


# What is made from code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_key_has_a_type_and_a_meaning(page: SettingsPage) -> None:
    """A key without a meaning raises, and says where to write one."""
    text = settings_page(page)
    for section in page_sections(page):
        for key in section.keys:
            assert key.type
            assert key.meaning
            assert f"| `{section.prefix}{key.name}` |" in text


def test_the_pages_explain_the_metrics_that_methods_state_and_no_others() -> None:
    """The tables of two pages; there `hits_at_K` is `hits_at_1`, and `swap/...` all of `swap`."""
    rows = list(rows_on_metrics())
    explained = [re.sub(r"<element>|(?<=_)[KH]\b", "1", name) for name in rows]
    stated = {each.name for method in METHODS.values() for each in method.metrics}
    stated |= {each.name for each in STATEMENTS}
    unknown = [
        name for name in explained if not any(name == s or name.startswith(f"{s}/") for s in stated)
    ]
    assert unknown == []
    for name in stated:
        short = re.sub(r"(at|horizon)_\d+", r"\1_1", name)
        assert any(
            row == short or row.startswith((f"{short}/", f"{short}_")) for row in explained
        ), name


def rows_on_metrics() -> Iterator[str]:
    """Names in the first column; what begins with a slash goes on where the last name did."""
    for page in ("metrics.md", "world_model_metrics.md"):
        text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
        for table in re.findall(r"\| name \| \w+ \|\n\|---\|---\|\n((?:\|.*\n)+)", text):
            for line in table.splitlines():
                stem = ""
                for name in re.findall(r"`([\w<>/]+)`", line.split("|")[1]):
                    yield stem + name if name.startswith("/") else name
                    stem = stem if name.startswith("/") else name.rpartition("/")[0]


def test_meanings_are_of_keys_that_exist() -> None:
    """What is written about a key that was renamed must go."""
    found: dict[str, set[str]] = {}

    def note(annotation: Any) -> None:
        for option in dataclass_options(annotation):
            hints = typing.get_type_hints(option)
            found[option.__name__] = set(hints)
            for hint in hints.values():
                note(hint)

    for page in PAGES:
        note(page.schema)
    every = set().union(*found.values())
    for name, meanings in written_meanings().items():
        known = every if name == COMMON else found[name]
        assert meanings.keys() <= known, name


def test_exit_codes_are_documented() -> None:
    text = (REPOSITORY / "docs/reference/exit_codes.md").read_text()
    codes = [value for name, value in vars(program).items() if name.startswith("EXIT_")]
    assert len(codes) > 5
    for code in codes:
        assert f"| {code} |" in text


# Notebooks, and the runs that they look into


def test_notebooks_run_from_top_to_bottom_and_show_what_they_find() -> None:
    """Their files hold outputs of the same kinds in the same places, which the site shows."""
    for file, site in NOTEBOOKS.items():
        path = REPOSITORY / file
        kept = read_notebook(path)
        found = run_notebook(kept, path.parent, path.name)
        assert output_kinds(found) == output_kinds(kept), f"python -m docs_build.notebooks {file}"
        page = made_pages()[site]()
        assert page.count("```python") == sum(cell["cell_type"] == "code" for cell in kept["cells"])
        for picture in made_pictures():
            assert f"]({picture})" in page


def output_kinds(notebook: dict[str, Any]) -> list[list[list[str]]]:
    """By cell and output, what it holds: texts, pictures."""
    return [
        [sorted(output.get("data", ["text"])) for output in cell.get("outputs", [])]
        for cell in notebook["cells"]
    ]


def test_the_runs_of_the_examples_are_small_and_whole() -> None:
    folders = sorted((REPOSITORY / "examples/runs").iterdir())
    assert [folder.name for folder in folders] == ["digits", "shapes"]
    for folder in folders:
        assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 300_000
        run = load_run(folder)
        assert repr(run).splitlines()[-1].startswith("quality  test:")
        card = (folder / "README.md").read_text()
        assert "license: mit" in card
        assert "orbit train experiment=" in card


# The site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a link or an anchor that leads nowhere fails."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    out = tmp_path_factory.mktemp("site")
    config = load_config(str(REPOSITORY / "mkdocs.yml"), site_dir=str(out), strict=True)
    build(config)
    return out


def test_the_site_needs_nothing_from_elsewhere(site: Path) -> None:
    assert (site / "index.html").is_file()
    for name in (*ELSEWHERE.values(), *made_pages()):
        assert (site / name).with_suffix(".html").is_file()
    loads = re.compile(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(https?:)?//')
    for page in site.rglob("*.html"):
        assert not loads.search(page.read_text(encoding="utf-8")), page.name
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?https?:", style.read_text(encoding="utf-8"))


def test_pages_that_come_later_are_taken_in(tmp_path: Path) -> None:
    """The navigation names pages that are not there yet, and there may be others."""
    from docs_build.hooks import on_config

    (tmp_path / "index.md").write_text("# Home\n")
    (tmp_path / "surprise.md").write_text("# Surprise\n")
    nav = [{"Start": ["index.md", {"Later": "later.md"}]}, {"Empty": ["none.md"]}]
    config = on_config({"nav": nav, "docs_dir": str(tmp_path)})
    assert config["nav"] == [{"Start": ["index.md"]}, {"More": ["surprise.md"]}]
