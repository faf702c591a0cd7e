"""Libraries that only some sources and worlds need."""

from importlib import import_module
from typing import Any


def import_extra(module: str, name: str, extra: str, kind: str = "source") -> Any:
    """Import a module of an optional library that the source, or the dataset, of a name needs.

    Raises ValueError saying how to install it if it is absent.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise ValueError(f"{kind}={name} needs {error.name}: pip install -e '.[{extra}]'") from None
