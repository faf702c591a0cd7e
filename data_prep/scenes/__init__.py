"""Scenes: the part of an image on which the group acts."""

from data_prep.scenes.interface import Scene, Views
from data_prep.scenes.kinds import make_scene

__all__ = ["Scene", "Views", "make_scene"]
