"""Scenes: on what of an image the group acts."""

from data_prep.scenes.interface import Scene, Views
from data_prep.scenes.kinds import make_scene

__all__ = ["Scene", "Views", "make_scene"]
