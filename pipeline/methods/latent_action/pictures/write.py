"""All pictures of a latent action model, including swapped parts, and volumes as solid objects.

surface.png is drawn by ray marching.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import grid_sample, normalize

from orbit.core.pictures import AMBIENT, LIGHT, save_figure
from orbit.core.progress import Progress
from orbit.core.store.manifest import Manifest
from orbit.core.store.reader import SplitReader
from pipeline.data.packing import slices
from pipeline.measuring import (
    Row,
    TrainedModel,
    label_row,
    name_columns,
    new_figure,
    partners,
    picture_grid,
    show,
    spread_sources,
)
from pipeline.methods.latent_action.measures import is_spatial
from pipeline.methods.latent_action.parts import can_swap, swap_truth, swapped
from pipeline.methods.latent_action.pictures.elements import (
    element_names,
    predict,
    unit_range,
    varied_records,
    write_elements,
    write_orbits,
)
from pipeline.methods.latent_action.pictures.latents import (
    write_errors,
    write_latent_maps,
    write_mask,
)
from pipeline.models.latent_action import LatentActionModel

REACH = 1.75
"""Rays start and end beyond the corners of the cube [-1, 1]^3."""

STEPS_PER_VOXEL = 2
COLOUR = (0.93, 0.80, 0.66)


def content_radius(volumes: np.ndarray, level: float = 0.5) -> float:
    """Distance from the centre to the farthest voxel inside any of the volumes (N, D, H, W), which
    fill the cube [-1, 1]^3; 1 if there is none."""
    axes = [(2 * np.arange(num) + 1) / num - 1 for num in volumes.shape[1:]]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    inside = (volumes >= level).any(0)
    return float(np.sqrt(x**2 + y**2 + z**2)[inside].max()) if inside.any() else 1.0


def surface_picture(
    volume: np.ndarray, view: np.ndarray, size: int, radius: float, level: float = 0.5
) -> np.ndarray:
    """An orthographic picture (size, size, 3) on [0, 1], white where there is no surface.

    `volume` (D, H, W), the cube [-1, 1]^3, has x along W, y up along H, z along D; values from
    `level` on are inside. `view` (3, 3) rotates it about its centre; the camera looks along -z and
    sees up to `radius` to either side.
    """
    blank = torch.ones(size, size, 3)
    field = torch.from_numpy(np.ascontiguousarray(volume)).float()
    if not (field >= level).any():
        return np.asarray(blank.numpy())
    side = torch.linspace(-radius, radius, size)
    depth = torch.linspace(REACH, -REACH, round(REACH * STEPS_PER_VOXEL * max(field.shape)))
    y, x = torch.meshgrid(-side, side, indexing="ij")
    # Points are rows: multiplied by `view` from the right, they turn by its inverse.
    to_volume = torch.from_numpy(np.asarray(view, np.float32))
    places = torch.stack([x, y, torch.zeros_like(x)], -1) @ to_volume
    values = torch.stack([_sample(field, places + z * to_volume[2]) for z in depth])
    inside = values >= level
    hit = inside.any(0)
    after = inside.to(torch.uint8).argmax(0).clamp_min(1)
    v1 = values.gather(0, after[None])[0]
    v0 = values.gather(0, after[None] - 1)[0]
    share = ((level - v0) / (v1 - v0).clamp_min(1e-6)).clamp(0, 1)
    z = depth[after - 1] + share * (depth[after] - depth[after - 1])
    surface = places + z[..., None] * to_volume[2]
    normal = _outward(field, surface) @ to_volume.T
    lit = (normal @ torch.from_numpy(LIGHT)).clamp_min(0)
    shade = AMBIENT + (1 - AMBIENT) * lit
    colour = shade[..., None] * torch.tensor(COLOUR)
    return np.asarray(torch.where(hit[..., None], colour, blank).numpy())


def _sample(field: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Trilinear values at points (..., 3) as x, y up, z; 0 outside the cube."""
    grid = points * torch.tensor([1.0, -1.0, 1.0])
    shape = grid.shape[:-1]
    places = grid.reshape(1, 1, 1, -1, 3)
    values: torch.Tensor = grid_sample(field[None, None], places, align_corners=False)
    return values.reshape(shape)


def _outward(field: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Unit normals that point to lower values, by differences over one and a half voxels."""
    steps = 3.0 / torch.tensor([field.shape[2], field.shape[1], field.shape[0]])
    slope = [
        _sample(field, places - step) - _sample(field, places + step) for step in torch.diag(steps)
    ]
    return normalize(torch.stack(slope, -1) / steps, dim=-1, eps=1e-6)


NUM_SURFACES = 5
SURFACE_SIZE = 176
SURFACE_MARGIN = 1.04


def slanted_view(elevation: float = 25.0, azimuth: float = 30.0) -> np.ndarray:
    """The rotation (3, 3) that shows an object from its left and from above, in degrees."""
    tilt, turn = np.radians([elevation, azimuth])
    about_y = [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    about_x = [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
    return np.array(about_x) @ np.array(about_y)


def write_surface(path: Path, run: TrainedModel, reader: SplitReader) -> None:
    """Surfaces of sources, outputs and truths at one half of the range, as a PNG.

    If there are several channels, the first is shown.
    """
    records = reader.read(varied_records(run, reader, NUM_SURFACES))
    source, truth = (unit_range(x, reader.frames)[:, 0] for x in records[:2])
    output = predict(run, records.source, records.action)[:, 0]
    radius = SURFACE_MARGIN * content_radius(np.concatenate([source, truth]))
    view, num = slanted_view(), len(source)
    title = f"Surfaces at one half of the range, step {run.step}"
    figure, axes = new_figure(3, num, (1.6 * num + 0.8, 5.2), title)
    rows = (("source", source), ("output", output), ("truth", truth))
    for line, (label, volumes) in zip(axes, rows, strict=True):
        for axis, volume in zip(line, volumes, strict=True):
            show(
                axis,
                surface_picture(volume, view, SURFACE_SIZE, radius),
                interpolation="antialiased",
            )
            axis.spines[:].set_visible(False)
        label_row(line, label)
    name_columns(axes[0], element_names(run, records.action))
    save_figure(figure, path)


NUM_COLUMNS = 8
LEFT_OUT = 0.5


def write_swap(path: Path, run: TrainedModel, manifest: Manifest, reader: SplitReader) -> None:
    """Write pairs of inputs, the decoded mixture of their latents, and its truth, as a PNG."""
    model = run.model
    assert isinstance(model, LatentActionModel)
    first = spread_sources(reader, NUM_COLUMNS)
    second = first[partners(len(first))]
    one, other = reader.read(first), reader.read(second)
    truth = swap_truth(manifest, reader, one.source, first, second)
    output = np.concatenate(
        [
            swapped(model, one.source[part], other.source[part])[0]
            for part in slices(len(first), run.places())
        ]
    )
    is_counted = truth.foreground | truth.background
    rows: list[Row] = [
        ("input i", unit_range(one.source, reader.frames), []),
        ("input j", unit_range(other.source, reader.frames), []),
        ("D(z_v(i) + z_i(j))", output.clip(0, 1), []),
        (
            "truth" if is_counted.all() else "truth\n(grey: left out)",
            np.where(is_counted, truth.images, LEFT_OUT),
            [],
        ),
    ]
    save_figure(picture_grid(rows, f"Swapped latent parts, step {run.step}"), path)


def write_pictures(
    run_dir: Path, run: TrainedModel, manifest: Manifest, reader: SplitReader
) -> None:
    """Write orbits.png, and all other pictures below pictures/."""
    assert isinstance(run.model, LatentActionModel)
    folder = run_dir / "pictures"
    folder.mkdir(exist_ok=True)
    parts: dict[str, Callable[[], object]] = {
        "orbits": lambda: write_orbits(run_dir / "orbits.png", run, reader),
        "errors": lambda: write_errors(folder / "errors.png", run, reader),
        "elements": lambda: write_elements(folder / "elements", run, manifest, reader),
        "mask": lambda: write_mask(folder / "mask.png", run_dir / "metrics.jsonl"),
    }
    if is_spatial(run.model):
        maps = folder / "latent_maps.png"
        parts["latent maps"] = lambda: write_latent_maps(maps, run, reader)
    if can_swap(manifest, reader):
        parts["swaps"] = lambda: write_swap(folder / "swap.png", run, manifest, reader)
    if len(reader.frames.shape) == 4:
        parts["surface"] = lambda: write_surface(folder / "surface.png", run, reader)
    with Progress(len(parts), "pictures", "drawing", lines=False) as progress:
        for _ in progress.through(parts):
            pass
