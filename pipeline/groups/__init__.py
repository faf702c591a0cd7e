"""Groups and their actions on images and latents."""

from pipeline.groups.cyclic import C4
from pipeline.groups.interface import ActionComponent, Group

GROUP_NAMES = ("c4",)

__all__ = ["C4", "GROUP_NAMES", "ActionComponent", "Group", "make_group"]


def make_group(name: str) -> Group:
    """The group of that name; ValueError with the list of known names otherwise."""
    if name == "c4":
        return C4()
    raise ValueError(f"unknown group {name!r}; known groups: {', '.join(GROUP_NAMES)}")
