"""Analyses of a latent action model: equivariance, composition, baselines, all together.

    equivariance_error/latent    ||g z(x) - z(g x)|| / ||z(g x)||,  g not the identity

with norms over all records. `equivariance_error/variant` is the same for z_v alone; they differ by
the channels that the mask excludes from the action (paper, "Group action").

For elements g, h drawn uniformly, one pair for each record, by a fixed seed:

    composition_error/image     root mean square of g(h x) - (g h) x, model outputs on [0, 1]
    composition_error/latent    ||g(h z_v) - (g h) z_v|| / ||z_v||
    psnr/composed               of g(h x) against the true (g h) x

The latent error is exactly 0 if an exact group moves latent cells; otherwise it measures how far an
interpolating or learned action is from a group action.

baseline/psnr_black   PSNR of a frame of zeros
baseline/psnr_copy    PSNR of the source as it is, as if no element moved anything
baseline/psnr_mean    PSNR of the mean target of these records, the best constant image
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from orbit.core.progress import Progress
from orbit.core.store.manifest import Manifest
from orbit.core.store.origin import Orbits
from orbit.core.store.reader import SplitReader
from pipeline.measuring import (
    ELEMENT_STREAM,
    SEED,
    TrainedModel,
    batches,
    device_of,
    spread_records,
    spread_sources,
)
from pipeline.methods.latent_action.parts import (
    block_metrics,
    block_side,
    can_swap,
    relative,
    square_sum,
    swap_metrics,
)
from pipeline.metrics.images import psnr
from pipeline.models.latent_action import LatentActionModel


@torch.no_grad()
def equivariance_metrics(
    model: LatentActionModel, reader: SplitReader, records: np.ndarray, batch: int
) -> dict[str, float]:
    """`equivariance_error/latent` over these records."""
    device = device_of(model)
    difference = norm = 0.0
    for _, read in batches(reader, records, batch):
        g = model.group.decode(torch.from_numpy(read.action).to(device))
        is_moved = model.group.bin_index(g) != 0
        frames = (torch.from_numpy(x).to(device) for x in (read.source, read.target))
        source, target = (model.encode(model.normalise(x)) for x in frames)
        wanted = target.variant + target.invariant
        moved = model.act(source.variant + source.invariant, g)
        difference += square_sum((moved - wanted)[is_moved])
        norm += square_sum(wanted[is_moved])
    return {"equivariance_error/latent": relative(difference, norm)}


@torch.no_grad()
def composition_metrics(
    model: LatentActionModel,
    reader: SplitReader,
    records: np.ndarray,
    batch: int,
    group_acts_on_frames: bool,
) -> dict[str, float]:
    """The metrics above on these records' sources.

    `psnr/composed` is measured only if `group_acts_on_frames`, because the truth is known then.
    """
    device, group = device_of(model), model.group
    rng = np.random.default_rng([SEED, ELEMENT_STREAM])
    all_g, all_h = (group.sample(rng, len(records)).to(device) for _ in range(2))
    image = latent = norm = error = 0.0
    for places, read in batches(reader, records, batch):
        g, h = all_g[places], all_h[places]
        both = group.compose(g, h)
        frames = torch.from_numpy(read.source).to(device)
        images = model.normalise(frames)
        twice = model.to_unit_range(model.transform(model.transform(images, h), g))
        once = model.to_unit_range(model.transform(images, both))
        image += square_sum(twice - once)
        variant = model.encode(images).variant
        latent += square_sum(model.act(model.act(variant, h), g) - model.act(variant, both))
        norm += square_sum(variant)
        if group_acts_on_frames:
            truth = group.act_on_image(frames if group.is_exact else frames.float(), both)
            error += square_sum(twice - model.to_unit_range(model.normalise(truth)))
    num_values = len(records) * math.prod(reader.frames.shape)
    metrics = {
        "composition_error/image": math.sqrt(image / num_values),
        "composition_error/latent": relative(latent, norm),
    }
    if group_acts_on_frames:
        metrics["psnr/composed"] = psnr(error / num_values)
    return metrics


@torch.no_grad()
def baseline_metrics(
    model: LatentActionModel,
    reader: SplitReader,
    records: np.ndarray,
    batch: int,
    seen_bins: Sequence[str] | None = None,
) -> dict[str, float]:
    """The metrics `baseline/...`, which need no model's output, on [0, 1].

    With the `seen_bins` of a training that did not see all elements, also for both kinds apart.
    """
    device, shape = device_of(model), reader.frames.shape
    sets = ("",) if seen_bins is None else ("", "/seen_elements", "/unseen_elements")
    is_seen = torch.tensor([name in (seen_bins or ()) for name in model.group.bin_names])
    totals = torch.zeros(len(sets), *shape, dtype=torch.float64, device=device)
    counts, copied, squares = np.zeros((3, len(sets)))
    for _, read in batches(reader, records, batch):
        source, target = (
            model.to_unit_range(model.normalise(torch.from_numpy(frames).to(device)))
            for frames in (read.source, read.target)
        )
        known = is_seen[model.group.bin_index(model.group.decode(torch.from_numpy(read.action)))]
        for place, chosen in enumerate((torch.ones_like(known), known, ~known)[: len(sets)]):
            some, moved = target[chosen.to(device)], source[chosen.to(device)]
            counts[place] += len(some)
            copied[place] += square_sum(some - moved)
            squares[place] += square_sum(some)
            totals[place] += some.sum(0, dtype=torch.float64)
    metrics: dict[str, float] = {}
    for place, name in enumerate(sets):
        if not counts[place]:
            continue
        num_values = counts[place] * math.prod(shape)
        # In float64, because the square of the mean is subtracted from the mean square.
        constant = squares[place] - totals[place].square().sum().item() / counts[place]
        metrics |= {
            f"baseline/psnr_black{name}": psnr(squares[place] / num_values),
            f"baseline/psnr_copy{name}": psnr(copied[place] / num_values),
            f"baseline/psnr_mean{name}": psnr(max(0.0, constant) / num_values),
        }
    return metrics


def analyse(
    run: TrainedModel, manifest: Manifest, reader: SplitReader, max_records: int, batch: int
) -> dict[str, float]:
    """Finite metrics by name, which do not depend on `batch` except by rounding.

    Each reads up to `max_records` records spread over the split; `block/` reads all.
    """
    model = run.model
    assert isinstance(model, LatentActionModel)
    records, sources = spread_records(reader, max_records), spread_sources(reader, max_records)
    acts, origin = manifest.target_is_action_on_source, manifest.origin
    seen = origin.train_bins if isinstance(origin, Orbits) else None
    parts: dict[str, Callable[[], dict[str, float]]] = {
        "equivariance": lambda: equivariance_metrics(model, reader, records, batch),
        "composition": lambda: composition_metrics(model, reader, records, batch, acts),
        "baselines": lambda: baseline_metrics(model, reader, records, batch, seen),
    }
    side = block_side(manifest)
    if side is not None and is_spatial(model):
        parts["blocks"] = lambda: block_metrics(model, reader, side, batch)
    if can_swap(manifest, reader) and len(sources) > 1:
        parts["swaps"] = lambda: swap_metrics(model, manifest, reader, sources, batch)
    metrics: dict[str, float] = {}
    with Progress(len(parts), "analyses", "analysing", lines=False) as progress:
        for found in progress.through(parts):
            metrics |= found
    return metrics


def is_spatial(model: LatentActionModel) -> bool:
    """Whether the latent has spatial cells, and is not one vector."""
    return math.prod(model.latent_shape[1:]) > 1
