"""Orbit: learn how groups act on images from records (x, g, g x)."""

__version__ = "0.1.0"
