"""Orbit: learn how groups act on images from records (x, g, g x)."""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Load a name of `orbit.api` when it is first used: `from orbit import Method`."""
    import importlib

    if name.startswith("_"):
        raise AttributeError(name)
    value: object = getattr(importlib.import_module("orbit.api"), name)
    return value
