"""Groups and their actions on images and latents."""

from functools import lru_cache

from orbit.core import plugins
from orbit.core.groups.cyclic import C4
from orbit.core.groups.interface import (
    MIN_INTERPOLATED_LATENT_SIDE,
    ActionComponent,
    Group,
    Irrep,
)
from orbit.core.groups.lattice import LatticeGroup
from orbit.core.groups.planar_rotations import SO2
from orbit.core.groups.rigid_motions import RigidMotions
from orbit.core.groups.space_rotations import SO3
from orbit.core.groups.torus import Torus
from orbit.core.groups.words import FAMILIES, PLAIN, parse_group

GROUP_NAMES = tuple(PLAIN)
"""The groups whose specification is just a name."""

__all__ = [
    "C4",
    "GROUP_NAMES",
    "MIN_INTERPOLATED_LATENT_SIDE",
    "SO2",
    "SO3",
    "ActionComponent",
    "Group",
    "Irrep",
    "LatticeGroup",
    "RigidMotions",
    "Torus",
    "make_group",
]


@lru_cache
def make_group(spec: str) -> Group:
    """The group of that specification.

    A name of `GROUP_NAMES`; `turns:NUM`; `wrap1d`, `wrap2d`, `wrap3d`, `c4+wrap`, `d4+wrap` or
    `octahedral+wrap` followed by :PERIOD:STEP; `so2+shift` or `so3+shift` followed by :PERIOD:MAX,
    all in pixels; a name that an installed package offers (`orbit.groups`). Raises ValueError with
    what is allowed for anything else.
    """
    added = None if spec.partition(":")[0] in FAMILIES else plugins.load("groups", spec)
    if added is not None:
        group: Group = added.make()
        if group.name != spec:
            raise ValueError(f"the group {spec!r} of a package is named {group.name!r}")
        return group
    parsed = parse_group(spec)
    family = FAMILIES[parsed.family]
    numbers: tuple[str | float, ...] = ()
    if parsed.num:
        numbers = (parsed.num,)
    elif parsed.period:
        numbers = (parsed.name, parsed.period, parsed.size)
    made: Group = family.make(*numbers)
    return made
