"""Part (g): what a transition costs in training world models at the paper's layer sizes."""

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from measuring import Check, PartReport, prepare, say, take_turns, time_row
from trainer_laps import TrainerLaps, alone

COMMON = ["collapse.action=warn", "collapse.after_steps=1000000000", "log_every=1000000"]
FEW = ["dataset.num_test_episodes=2", "dataset.num_val_episodes=2"]
MODES = {
    "fp32, eager": ["precision=fp32", "compile=false"],
    "fp32, compiled": ["precision=fp32", "compile=true"],
    "bf16, eager": ["precision=bf16", "compile=false"],
    "bf16, compiled": ["precision=bf16", "compile=true"],
}


@dataclass(frozen=True)
class Contest:
    """A model, the words of its data, its batch, and the most milliseconds a transition may take.

    Small batches stand for large ones where those take minutes a step.
    """

    experiment: str
    prepare: tuple[str, ...]
    batch: int
    limit_ms: float


CONTESTS = {
    "2D Shapes Ours": Contest(
        "shapes_2d/ours", ("dataset=shapes_2d", "num_episodes=20", "episode_length=100"), 1024, 3.0
    ),
    "3D Blocks Ours": Contest(
        "blocks_3d/ours", ("dataset=blocks_3d", "num_episodes=20", "episode_length=100"), 128, 20.0
    ),
    "Reacher Ours, 129 pixels": Contest(
        "reacher/ours", ("dataset=reacher_planar", "num_episodes=20"), 16, 250.0
    ),
}


def measure_world_models(
    num_threads: int,
    num_rounds: int = 2,
    num_steps: int = 3,
    contests: dict[str, Contest] = CONTESTS,
) -> PartReport:
    """Forward, backward and optimiser step of each model in each mode, loader included."""
    torch.set_num_threads(num_threads)
    report = PartReport(f"(g) Training world models, {num_threads} threads, ms a transition")
    for title, contest in contests.items():
        # Shapes seen before would make the compiler write code for any shape.
        torch.compiler.reset()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            prepare(folder / "data", [*contest.prepare, *FEW])
            laps = {
                mode: TrainerLaps(
                    folder / "data",
                    folder / str(index),
                    [
                        f"experiment={contest.experiment}",
                        f"global_batch={contest.batch}",
                        f"num_threads={num_threads}",
                        *COMMON,
                        *words,
                    ],
                    alone(),
                    num_steps,
                )
                for index, (mode, words) in enumerate(MODES.items())
            }
            rates = take_turns(laps, num_rounds)
        costs = {mode: [1000 / rate for rate in values] for mode, values in rates.items()}
        for mode, values in costs.items():
            row = time_row(f"{title}, batch {contest.batch}: {mode}", values, "ms")
            report.rows.append(row)
        best = min(statistics.median(values) for values in costs.values())
        report.checks.append(
            Check(f"{title}, best mode, ms", contest.limit_ms, best, is_upper_limit=True)
        )
    say("")
    return report
