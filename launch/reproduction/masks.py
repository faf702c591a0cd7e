"""The masks of a variant's runs compared: over seeds, and from the start to the end of training.

RESULTS/<dataset>/masks.json, by variant

Whether two masks over the channels of two networks say the same: up to the order of channels.

Channels are matched by what they do: the pairs of channels, one of each network, whose values on
the same images and cells have the largest sum of absolute correlations. Masks agree in a matched
pair if both channels are variant, or none is. If a of n matched channels of one network and b of
the other are variant, and the pairs are drawn at random, the expected share of agreement is

    chance = (a b + (n - a)(n - b)) / n^2

and the number of pairs that are variant in both is hypergeometric, which gives the p-value.
"""

import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from launch.reproduction.plan import NOT_RUN, Places, PlannedRun, markdown, shown_seeds
from launch.reproduction.results import flips_by_epoch, is_done
from launch.reproduction.settings import Preset, ReproductionSettings
from orbit.core.files.atomic import write_json

SMALLEST_DEVIATION = 1e-3


class Matching(NamedTuple):
    """Channels of two networks, pair by pair: their numbers (n,) each, and the absolute correlation
    of their values, (n,) in [0, 1]."""

    first: np.ndarray
    second: np.ndarray
    correlation: np.ndarray


def match_channels(first: np.ndarray, second: np.ndarray) -> Matching:
    """Match channels by their values (M, C) and (M, D) on the same M images and cells.

    Channels that hardly vary are left out; of the others as many are matched as both have.
    """
    from scipy.optimize import linear_sum_assignment

    numbers, columns = [], []
    for values in (first.astype(np.float64), second.astype(np.float64)):
        deviation = values.std(0)
        live = np.flatnonzero(deviation > SMALLEST_DEVIATION)
        numbers.append(live)
        columns.append((values[:, live] - values[:, live].mean(0)) / deviation[live])
    correlation = np.abs(columns[0].T @ columns[1]) / len(first)
    rows, others = linear_sum_assignment(correlation, maximize=True)
    found = correlation[rows, others].clip(max=1.0)
    return Matching(numbers[0][rows], numbers[1][others], found)


class Agreement(NamedTuple):
    """Shares in [0, 1]: of matched channels that are variant in both networks or in none, what
    pairs at random would have, and the probability that these agree at least as often."""

    share: float
    chance: float
    p_value: float


def mask_agreement(first: np.ndarray, second: np.ndarray) -> Agreement:
    """The agreement of two masks (n,) bool over matched channels, n at least 1."""
    from scipy.stats import hypergeom

    num, a, b = len(first), int(first.sum()), int(second.sum())
    both = int((first & second).sum())
    chance = (a * b + (num - a) * (num - b)) / num**2
    p_value = float(hypergeom.sf(both - 1, num, a, b))
    return Agreement(float((first == second).mean()), chance, min(1.0, p_value))


FILE = "masks.json"
NUM_IMAGES = 500
HEADINGS = (
    "variant",
    "seeds",
    "correlation of matched channels",
    "masks agree",
    "by chance",
    "p, median of pairs",
    "mask at the start and at the end agree",
    "by chance",
    "flips",
    "flips in the last epoch",
)


def compared_variants(settings: ReproductionSettings, preset: Preset, dataset: str) -> list[str]:
    """The variants of a dataset whose masks are compared: those that have several seeds."""
    return [
        name
        for name in settings.masks
        if settings.has(dataset, name) and len(shown_seeds(settings, preset, dataset, name)) > 1
    ]


def compare_masks(runs: Sequence[PlannedRun], places: Places, results: Path) -> list[Path]:
    """Compare the masks of the runs of each dataset and variant; returns the files written.

    Only finished runs whose directories are there count; an earlier comparison of more runs stays.
    """
    groups: dict[tuple[str, str], list[PlannedRun]] = {}
    for run in runs:
        if is_done(results, run) and (places.run_dir(run) / "result.json").exists():
            groups.setdefault((run.dataset, run.variant), []).append(run)
    written = []
    for (dataset, variant), members in groups.items():
        file, members = results / dataset / FILE, sorted(members, key=lambda run: run.seed)
        known, digests = read_masks(results, dataset), {str(r.seed): r.digest for r in members}
        earlier = known.get(variant, {}).get("digests", {})
        is_new = digests != earlier and digests.keys() >= earlier.keys()
        if len(members) > 1 and is_new:
            content = comparison([places.run_dir(run) for run in members])
            write_json(file, {**known, variant: {"digests": digests, **content}})
            written.append(file)
    return written


def read_masks(results: Path, dataset: str) -> dict[str, Any]:
    """The comparisons of a dataset by variant; none if there is no such file."""
    try:
        content = json.loads((results / dataset / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"{results / dataset / FILE} cannot be read; delete it")
    return content


def comparison(run_dirs: Sequence[Path]) -> dict[str, Any]:
    """Agreement over all pairs of runs of one dataset, and of each run with its own start.

    Channels are matched by their values on upright test images, up to `NUM_IMAGES`. Within a run
    they keep their numbers.
    """

    runs = [_values_and_masks(run_dir) for run_dir in run_dirs]
    pairs = []
    for (values, mask, _), (other_values, other_mask, _) in itertools.combinations(runs, 2):
        matched = match_channels(values, other_values)
        found = mask_agreement(mask[matched.first], other_mask[matched.second])
        correlation = float(matched.correlation.mean())
        pairs.append({"correlation": correlation, "num": len(matched.first), **found._asdict()})
    starts = [mask_agreement(mask, start)._asdict() for _, mask, start in runs]
    flips = [flips_by_epoch(run_dir / "metrics.jsonl") for run_dir in run_dirs]
    return {"pairs": pairs, "starts": starts, "flips": flips}


def _values_and_masks(run_dir: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A run's latents (images times cells, C), its mask and that of its start, (C,) bool both."""
    import torch

    from orbit.core.store.reader import PairStore
    from pipeline.measuring import batches, spread_sources
    from pipeline.probing.features import load_networks
    from pipeline.runs import latent_action_model, load_run

    run = load_run(run_dir)
    model, start = load_networks(run, run.manifest, torch.device("cpu"))
    latent_action_model(run)
    reader = PairStore(Path(run.config.data)).split("test")
    parts = []
    with torch.no_grad():
        for _, read in batches(reader, spread_sources(reader, NUM_IMAGES), run.places()):
            latent = model.encoder(model.normalise(torch.from_numpy(read.source)))
            parts.append(latent.flatten(2).transpose(1, 2).flatten(0, 1).numpy())
    mask, first = model.mask.is_variant().numpy(), start.mask.is_variant().numpy()
    return np.concatenate(parts), mask, first


def masks_table(found: Mapping[str, Any], variants: Sequence[str]) -> str:
    """A row for each variant, in Markdown; means over pairs and runs, and the range of flips."""
    lines = []
    for name in variants:
        if name not in found:
            lines.append([f"`{name}`", NOT_RUN, *[""] * (len(HEADINGS) - 2)])
            continue
        pairs, starts, flips = (found[name][key] for key in ("pairs", "starts", "flips"))
        lines.append(
            [
                f"`{name}`",
                ", ".join(found[name]["digests"]),
                *(_mean(pairs, key, 2) for key in ("correlation", "share", "chance")),
                f"{statistics.median(pair['p_value'] for pair in pairs):.2g}",
                *(_mean(starts, key, 2) for key in ("share", "chance")),
                _range([sum(each) for each in flips]),
                _range([each[-1] for each in flips if each]),
            ]
        )
    return "\n".join(markdown(HEADINGS, lines))


def _mean(rows: Sequence[Mapping[str, float]], key: str, digits: int) -> str:
    return f"{statistics.fmean(row[key] for row in rows):.{digits}f}"


def _range(values: Sequence[float]) -> str:
    return f"{min(values):,.0f} to {max(values):,.0f}" if values else ""
