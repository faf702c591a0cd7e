"""Part (h): validation against the bare forward pass that it cannot do without."""

import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
from measuring import Check, Lap, PartReport, counted, rate_rows, ratio, take_turns
from synthetic import make_dataset

from orbit.core.config.compose import compose
from orbit.core.config.schema import build
from orbit.core.store.reader import PairStore
from pipeline.data.batches import EvaluationBatches
from pipeline.data.loader import Loader, LoaderConfig
from pipeline.data.packing import (
    Batch,
    global_places,
    local_batch_of,
    parts_of_pass,
    places_at_once,
)
from pipeline.methods.latent_action.objective import run_pairs
from pipeline.methods.table import make_task
from pipeline.models.latent_action import LatentActionModel
from pipeline.training.distributed import World, evaluate
from pipeline.training.settings import TrainConfig

FORWARD, IN_PARTS, VALIDATION = "forward pass", "forward pass in parts", "validation"
MOST = 1.3
LARGE, SOLID = (3, 200, 200), (1, 48, 48, 48)
PATHS = frozenset({"data", "run_dir"})


def measure_validation(
    small: Path,
    medium: Path,
    num_threads: int,
    num_rounds: int = 5,
    num_large: int = 48,
    num_solid: int = 16,
) -> PartReport:
    """`small` is a dataset of 28x28 images, `medium` of 3x64x64; a lap is a pass over its
    validation split."""
    torch.set_num_threads(num_threads)
    report = PartReport(f"(h) Validation beside a bare forward pass, fp32, {num_threads} threads")
    with tempfile.TemporaryDirectory() as folder:
        large = make_dataset(Path(folder) / "large", LARGE, num_large, num_large)
        solid = make_dataset(Path(folder) / "solid", SOLID, num_solid, num_solid)
        for label, data, words in (
            ("1x28x28, ", small, ["global_batch=64"]),
            ("3x64x64, ", medium, ["global_batch=64"]),
            ("3x200x200, ", large, ["global_batch=16"]),
            ("1x48x48x48, ", solid, ["global_batch=4"]),
        ):
            laps = validation_laps(data, words)
            rates = take_turns(laps, num_rounds)
            report.rows += rate_rows(rates, label)
            taken = ratio(rates, FORWARD, VALIDATION)
            name = f"{label}time of validation / time of the forward pass"
            report.checks.append(Check(name, MOST, taken, is_upper_limit=True))
    report.notes.append(
        "All go over the whole split at the same batch; validation reads it through the loader,"
        " the forward pass finds it in memory. On a processor validation puts a batch through the"
        " model in a few parts; in the same parts, the forward pass shows what is added to it."
    )
    return report


def validation_laps(data: Path, words: Sequence[str]) -> dict[str, Lap]:
    """A pass over the validation split: both branches of the model alone, a batch at once or in
    parts, and all that the trainer does."""
    words = ["experiment=rotated_mnist", *words, f"data={data}", "run_dir=-"]
    config = build(TrainConfig, compose("train", words, PATHS))
    store, world = PairStore(data), World(0, 1, torch.device("cpu"))
    reader = store.split("val")
    task = make_task(config.task, store.manifest, 0, world.device)
    model = task.model.eval()
    assert isinstance(model, LatentActionModel)
    local_batch = local_batch_of(config.global_batch, config.accumulation, 1)
    places = places_at_once(reader.frames.shape, local_batch)
    batches = EvaluationBatches(reader, global_places(reader.num_records, places, 1), 0, 1)
    loader = Loader(batches, 0, None, world.device, LoaderConfig())
    kept = [Batch(*(x.clone() for x in batch)) for batch in islice(loader, batches.num_steps)]

    @torch.no_grad()
    def forward(in_parts: bool) -> int:
        for batch in kept:
            for part in parts_of_pass(batch.source) if in_parts else [slice(None)]:
                run_pairs(model, batch.source[part], batch.target[part], batch.action[part])
        return reader.num_records

    def validate() -> int:
        evaluate(task.evaluation(model), islice(loader, batches.num_steps), world)
        return reader.num_records

    return {
        FORWARD: counted(lambda: forward(False), 1),
        IN_PARTS: counted(lambda: forward(True), 1),
        VALIDATION: counted(validate, 1),
    }
