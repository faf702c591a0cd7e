"""Orbit: learn how groups act on images from records (x, g, g x)."""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Whatever `orbit.api` offers, from its first use on: `from orbit import Method`."""
    import importlib

    if name.startswith("_"):
        raise AttributeError(name)
    value: object = getattr(importlib.import_module("orbit.api"), name)
    return value
