"""Templates to text."""

from pathlib import Path
from typing import Any

from launch.reports.collecting import show
from launch.reports.html import names
from launch.reports.html.libraries import import_jinja2
from launch.reports.seed_summary import direction_of

HERE = Path(__file__).parent
STATIC = HERE / "static"
MARKS = {
    "finished": "●",
    "running": "▶",
    "waiting": "◌",
    "failed": "✖",
    "lost": "✖",
    "stopped": "■",
    "cancelled": "■",
    "missing": "○",
    "unknown": "○",
    "pruned": "✂",
}
"""Shapes beside the names of states, so that colour is not all that tells them apart."""


class Renderer:
    """Renders the templates of this package; everything put into them is escaped."""

    def __init__(self) -> None:
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
            direction=direction_of,
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
