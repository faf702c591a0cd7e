"""All pictures that a dataset and a model allow."""

from collections.abc import Callable
from pathlib import Path

from data_prep.store.manifest import Manifest
from data_prep.store.reader import SplitReader
from pipeline.analysis.analyse import is_spatial
from pipeline.analysis.swap_truth import can_swap
from pipeline.evaluation.pictures.elements import write_elements
from pipeline.evaluation.pictures.errors import write_errors
from pipeline.evaluation.pictures.latent_maps import write_latent_maps
from pipeline.evaluation.pictures.mask import write_mask
from pipeline.evaluation.pictures.orbits import write_orbits
from pipeline.evaluation.pictures.surface import write_surface
from pipeline.evaluation.pictures.swap import write_swap
from pipeline.models.latent_action import LatentActionModel
from pipeline.progress import Progress
from pipeline.runs import Run


def write_pictures(run_dir: Path, run: Run, manifest: Manifest, reader: SplitReader) -> None:
    """orbits.png and what follows from it, below pictures/."""
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
