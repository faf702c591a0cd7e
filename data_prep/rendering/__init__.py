"""Pictures of triangle meshes without a display or a graphics card."""

from data_prep.rendering.meshes import Mesh, make_mesh, read_obj
from data_prep.rendering.rasteriser import Pictures, render
from data_prep.rendering.solid import asymmetric_plane

__all__ = ["Mesh", "Pictures", "asymmetric_plane", "make_mesh", "read_obj", "render"]
