"""Pictures of triangle meshes without a display or a graphics card."""

from orbit.core.rendering.meshes import Mesh, asymmetric_pot, is_closed, make_mesh
from orbit.core.rendering.rasteriser import Pictures, render
from orbit.core.rendering.solid import asymmetric_plane, render_grey

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
