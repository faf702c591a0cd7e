"""All pictures of a latent action model, including swapped parts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from orbit.core.pictures import save_figure
from orbit.core.progress import Progress
from orbit.core.store.manifest import Manifest
from orbit.core.store.reader import SplitReader
from pipeline.data.packing import slices
from pipeline.measuring import Row, TrainedModel, partners, picture_grid, spread_sources
from pipeline.methods.latent_action.measures import is_spatial
from pipeline.methods.latent_action.parts import can_swap, swap_truth, swapped
from pipeline.methods.latent_action.pictures.elements import (
    unit_range,
    write_elements,
    write_orbits,
)
from pipeline.methods.latent_action.pictures.latents import (
    write_errors,
    write_latent_maps,
    write_mask,
)
from pipeline.methods.latent_action.pictures.volumes import write_surface
from pipeline.models.latent_action import LatentActionModel

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
