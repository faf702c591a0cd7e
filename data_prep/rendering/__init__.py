"""Pictures of triangle meshes without a display or a graphics card."""

from data_prep.rendering.grey import render_grey
from data_prep.rendering.meshes import Mesh, is_closed, make_mesh
from data_prep.rendering.pot import asymmetric_pot
from data_prep.rendering.rasteriser import Pictures, render
from data_prep.rendering.solid import asymmetric_plane

__all__ = [
    "Mesh",
    "Pictures",
    "asymmetric_plane",
    "asymmetric_pot",
    "is_closed",
    "make_mesh",
    "render",
    "render_grey",
]
