"""Checks that groups share, each with its one line of complaint."""

from collections.abc import Iterable

from pipeline.groups.interface import MIN_INTERPOLATED_LATENT_SIDE

LATTICE_NAMES = {
    1: "the rows of images (two spatial axes)",
    2: "square images (two spatial axes)",
    3: "cubic volumes (three spatial axes)",
}


def check_lattice(name: str, spatial_shape: tuple[int, ...], num_axes: int) -> None:
    """Raise ValueError unless there are `num_axes` axes, all of one length.

    One axis are the rows of an image, of any number.
    """
    fits = len(spatial_shape) == max(2, num_axes)
    if not fits or (num_axes > 1 and len(set(spatial_shape)) != 1):
        raise ValueError(
            f"group {name} acts on {LATTICE_NAMES[num_axes]}; the spatial shape here is "
            f"{tuple(spatial_shape)}"
        )


def check_volume(name: str, spatial_shape: tuple[int, ...]) -> None:
    """Raise ValueError unless this is a cubic volume; an image is told what it can have instead."""
    if len(spatial_shape) == 2:
        raise ValueError(
            f"group {name} does not act on the pixels of images: for images of 3D objects use "
            "an action on latent channels (representation or learned)"
        )
    check_lattice(name, spatial_shape, 3)


def check_period(name: str, spatial_shape: tuple[int, ...], num_axes: int, period: int) -> None:
    """Raise ValueError unless there are `num_axes` axes of length `period`, or rows of it."""
    check_lattice(name, spatial_shape, num_axes)
    if spatial_shape[-1] != period:
        raise ValueError(
            f"group {name} acts on frames of side {period}; the side here is {spatial_shape[-1]}"
        )


def check_interpolated_latent(name: str, spatial_shape: tuple[int, ...]) -> None:
    """Raise ValueError if a latent has too few cells a side to be interpolated."""
    if min(spatial_shape) < MIN_INTERPOLATED_LATENT_SIDE:
        raise ValueError(
            f"group {name} interpolates, which needs latents of at least "
            f"{MIN_INTERPOLATED_LATENT_SIDE} cells a side; the spatial shape here is "
            f"{tuple(spatial_shape)}"
        )


def no_irreps(name: str) -> ValueError:
    """The error of a group whose representations are not offered."""
    return ValueError(
        f"group {name} offers no representations; use the spatial or the learned action with it"
    )


def no_elements(name: str) -> ValueError:
    """The error of a continuous group that is asked for its elements."""
    return ValueError(f"group {name} is continuous: its elements cannot be listed or numbered")


def shift_name(shift: Iterable[float]) -> str:
    """A shift in pixels as (x, y) or (x, y, z), with at most one decimal."""
    return f"({', '.join(f'{round(value, 1) + 0.0:g}' for value in shift)})"
