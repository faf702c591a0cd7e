"""What a report needs beyond the core: templates and charts."""

from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

HOW = "a report needs the extra `report`: pip install -e '.[report]'"


def import_jinja2() -> Any:
    """jinja2; ImportError with one line if it is absent."""
    return _import("jinja2")


def plotly_script() -> Path:
    """The charts' script as the plotly package ships it; ImportError if that is absent."""
    _import("plotly")
    return Path(str(files("plotly") / "package_data" / "plotly.min.js"))


def _import(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ImportError(HOW) from None
