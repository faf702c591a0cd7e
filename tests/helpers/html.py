"""Pages of a report as a program reads them: tables, text, the values of scripts."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any


class Tables(HTMLParser):
    """Every table of a page as rows of texts, by the text of its caption."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._caption = ""
        self._place = ""
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
        if tag in ("td", "th", "caption"):
            self._place = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            rows = [[" ".join(cell.split()) for cell in row] for row in self._rows]
            self.tables[" ".join(self._caption.split())] = rows
        if tag in ("td", "th", "caption"):
            self._place = ""

    def handle_data(self, data: str) -> None:
        if self._place == "caption":
            self._caption += data
        elif self._place:
            self._rows[-1][-1] += data


def table_of(page: Path, start: str = "") -> list[list[str]]:
    return next(rows for name, rows in Tables(page).tables.items() if name.startswith(start))


def text_of(page: Path) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.read_text(encoding="utf-8")).split())


def value_of_script(file: Path) -> Any:
    text = file.read_text(encoding="utf-8")
    return json.loads(text[text.index(",") + 1 : text.rindex(")")])
