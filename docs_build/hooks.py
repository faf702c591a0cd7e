"""Functions that mkdocs calls while it builds the site (see mkdocs.yml)."""

import posixpath
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from mkdocs.structure.files import File, Files  # noqa: E402
from mkdocs.utils import get_relative_url  # noqa: E402

from docs_build.links import rewrite_links  # noqa: E402
from docs_build.pages import API_INDEX, ELSEWHERE, made_pages, made_pictures  # noqa: E402

API_FOLDER = API_INDEX.removesuffix("index.md")
FETCHED, OWN = "https://unpkg.com/iframe-worker/shim", "assets/search_from_files.js"
PLACE_OF = {site: place for place, site in ELSEWHERE.items()}


def on_config(config: Any) -> Any:
    """Remove missing pages from the navigation, and add pages that it does not name."""
    made = {*made_pages(), *PLACE_OF}
    docs = Path(config["docs_dir"])

    def kept(entry: Any) -> Any:
        if entry == API_INDEX:
            return [entry, *sorted(filter(is_api_page, made), key=lambda page: page[: -len(".md")])]
        if isinstance(entry, str):
            return entry if entry in made or (docs / entry).is_file() else None
        if isinstance(entry, dict):
            pairs = {title: kept(value) for title, value in entry.items()}
            return {title: value for title, value in pairs.items() if value} or None
        return [value for value in map(kept, entry) if value]

    def is_api_page(site: str) -> bool:
        return site.startswith(API_FOLDER) and site != API_INDEX

    nav = kept(config["nav"])
    listed = set(_pages_of(nav))
    others = sorted(file.name for file in docs.glob("*.md") if file.name not in listed)
    config["nav"] = [*nav, {"More": others}] if others else nav
    return config


def _pages_of(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        yield from _pages_of(list(nav.values()))
    else:
        for entry in nav:
            yield from _pages_of(entry)


def on_files(files: Files, config: Any) -> Files:
    """Add pages from outside docs/ and generated pages."""
    for place, site in ELSEWHERE.items():
        text = (ROOT / place).read_text(encoding="utf-8")
        files.append(File.generated(config, site, content=text))
    for site, make in made_pages().items():
        files.append(File.generated(config, site, content=make()))
    for site, picture in made_pictures().items():
        files.append(File.generated(config, site, content=picture))
    return files


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Remove scripts that would be fetched from other sites, the search's helper included."""
    return output.replace(FETCHED, get_relative_url(OWN, page.url))


def on_post_template(output_content: str, template_name: str, config: Any) -> str:
    """The same for pages that are not made from documents, such as 404.html."""
    return output_content.replace(FETCHED, OWN)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links that work in the repository into links that work in the site."""
    site = page.file.src_uri
    place = PLACE_OF.get(site, f"docs/{site}")

    def site_of(path: str) -> str | None:
        target = ELSEWHERE.get(path) or path.removeprefix("docs/")
        is_page = path in ELSEWHERE or path.startswith("docs/")
        if is_page and files.get_file_from_path(target) is not None:
            return posixpath.relpath(target, posixpath.dirname(site) or ".")
        if (ROOT / path).exists() or "." not in path.rpartition("/")[2]:
            return None
        # Not a file of the repository: leave the link unchanged, so that a strict build complains.
        return posixpath.relpath(target, posixpath.dirname(site) or ".")

    return rewrite_links(markdown, place, site_of)
