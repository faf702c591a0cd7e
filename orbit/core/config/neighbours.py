"""Check that the packages beside this one are Orbit's own, and not others of the same names."""

import importlib.util
import os
from importlib.machinery import ModuleSpec

from orbit.core.config.roots import HOME

NEIGHBOURS = ("pipeline", "data_prep", "launch")


def check_neighbours() -> None:
    """Raise ValueError naming the path of a package that would be imported instead of Orbit's own.

    Nothing is imported. A package that is missing altogether is left to the import, which says so.
    """
    for name in NEIGHBOURS:
        own = HOME / name
        found = _place(_find(name))
        if found is not None and os.path.realpath(found) != str(own):
            raise ValueError(
                f"{found} is found instead of Orbit's own package {name!r} in {own}: rename it,"
                " take its folder out of PYTHONPATH, or start from another folder"
            )


def _find(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None


def _place(spec: ModuleSpec | None) -> str | None:
    """The folder of a package or the file of a module; None if it does not exist."""
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    return folders[0] if folders else spec.origin
