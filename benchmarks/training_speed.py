"""Part (b): the trainer against a hand-written loop and against a script in the paper's style."""

import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from hand_loop import hand_lap
from measuring import Check, PartReport, fastest, rate_rows, ratio, take_turns, time_row
from paper_style import paper_lap
from trainer_laps import TrainerLaps, alone

from orbit.core.store.reader import PairStore

BATCH = 64
HAND = {False: "hand-written loop, eager", True: "hand-written loop, compiled"}
TRAINER = {False: "trainer, eager", True: "trainer, compiled"}
PAPER = "paper-style script"
# Whether a collapse shows is no question of speed.
COMMON = ["collapse.action=warn", "collapse.after_steps=1000000000"]
MODES = (False, True)
"""Eager and compiled."""
VARIANTS = {
    "channels-last": ["task.model.memory_format=channels_last"],
    "bf16": ["precision=bf16"],
    "bf16, channels-last": ["precision=bf16", "task.model.memory_format=channels_last"],
}


def measure_training(
    data: Path, num_threads: int, num_rounds: int = 5, num_steps: int = 50
) -> PartReport:
    """`data` is a dataset of 28x28 images with their orbits; a lap has `num_steps` steps."""
    torch.set_num_threads(num_threads)
    store = PairStore(data)
    sources = source_images(store)
    report = PartReport(f"(b) Training, batch {BATCH}, {num_threads} threads")
    with tempfile.TemporaryDirectory() as folder:
        trainers = {
            TRAINER[compiled]: _trainer(
                data, Path(folder), [f"compile={str(compiled).lower()}"], num_steps
            )
            for compiled in MODES
        }
        laps = {
            HAND[compiled]: hand_lap(store.manifest, sources, BATCH, compiled, num_steps)
            for compiled in MODES
        }
        paper = paper_lap(store.manifest, sources, BATCH, max(1, num_steps // 5))
        rates = take_turns({**laps, **trainers, PAPER: paper}, num_rounds)
        report.rows += rate_rows(rates)
        best = fastest(rates, list(trainers))
        hand = fastest(rates, list(laps))
        share = statistics.median(trainers[best].wait_shares)
        report.checks += [
            Check(f"{best} / {hand}", 0.95, ratio(rates, best, hand)),
            Check(f"{best} / {PAPER}", 5.0, ratio(rates, best, PAPER)),
            Check("share of time spent waiting for data", 0.05, share, is_upper_limit=True),
        ]
        if len(MODES) > 1:
            gain = ratio(rates, TRAINER[True], TRAINER[False])
            report.notes.append(f"Compiling the step makes the trainer {gain:.2f} times as fast.")
        variants = {
            f"{name}: {TRAINER[compiled]}": _trainer(
                data,
                Path(folder),
                [f"compile={str(compiled).lower()}", *words],
                max(1, num_steps // 5),
            )
            for name, words in VARIANTS.items()
            for compiled in MODES
        }
        rates = take_turns({**trainers, **variants}, max(1, num_rounds // 2))
        report.rows += rate_rows({name: rates[name] for name in variants})
        for name in VARIANTS:
            names = [f"{name}: {TRAINER[compiled]}" for compiled in MODES]
            gain = ratio(rates, fastest(rates, names), fastest(rates, list(trainers)))
            report.notes.append(f"{name}: {gain:.2f} times the speed of float32, each at its best.")
        report.rows.append(time_row("trainer, step", trainers[best].step_seconds, "s"))
    return report


def source_images(store: PairStore) -> np.ndarray:
    """Every source image of the training split, (F, C, H, W), read into memory."""
    reader = store.split("train")
    per_source = reader.records_per_source or 1
    return reader.read(np.arange(0, reader.num_records, per_source)).source


def _trainer(data: Path, folder: Path, words: list[str], num_steps: int) -> TrainerLaps:
    run_dir = folder / "-".join(word.replace("=", "_") for word in words)
    words = [*COMMON, f"global_batch={BATCH}", f"num_threads={torch.get_num_threads()}", *words]
    return TrainerLaps(data, run_dir, words, alone(), num_steps)
