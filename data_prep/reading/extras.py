"""Libraries that only some sources need."""

from importlib import import_module
from typing import Any


def import_extra(module: str, source: str, extra: str) -> Any:
    """Import a module of an optional library; ValueError saying how to install it if absent."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise ValueError(
            f"source={source} needs {error.name}: pip install -e '.[{extra}]'"
        ) from None
