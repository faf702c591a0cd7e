"""Show that every world prepares, verifies, trains, on one process and on two, and is evaluated,
with every kind of model.

Example:
  python tests/acceptance/every_world.py work=DIR
  python tests/acceptance/every_world.py work=DIR only=shapes_2d/ours,teapot/ours epochs=20

Keys: work, epochs, only (names of cases), num_episodes (for training and as many for the test;
where they have a single step, ten times as many for training), scale (tiny or paper: the networks'
sizes). Datasets are shared by the cases of a world. A case fails unless all its metrics are
finite, and unless two processes have the losses of one, to 1e-5, in the first three steps. A line
of results is printed for each, and its pictures are below work/WORLD/MODEL/run/pictures.
"""

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from orbit.core.config.program import run_program, take_value

ROOT = Path(__file__).resolve().parents[2]

GRID = ("task.model.channels=8", "task.model.hidden=32")
REACHER = ("task.model.channels=4", "task.model.hidden=8", "task.model.dilations=[2,4]")
CASES = {
    "sequence_labelling": {"fc_conv": (), "fc_only": ()},
    "shapes_2d": {"ours": GRID, "none": GRID, "none_matched": GRID, "masked": GRID},
    "blocks_3d": {
        "ours": (*GRID, "task.model.pool=2"),
        "full": ("task.model.channels=2", "task.model.hidden=32", "task.model.pool=2"),
        "none": (*GRID, "task.model.pool=2"),
    },
    "rush_hour": {"ours": GRID, "full": ("task.model.channels=4", GRID[1]), "none": GRID},
    "reacher": {"ours": REACHER, "full": REACHER, "none": REACHER},
    "reacher_planar": {"ours": REACHER, "full": REACHER, "none": REACHER},
    "teapot": {
        "ours": ("task.model.channels=[8,16,32]", "task.model.hidden=32"),
        "none": (
            "task.model.channels=[8,16,32]",
            "task.model.hidden=32",
            "task.model.transition_hidden=32",
        ),
        "homeomorphic_vae": (
            "task.model.channels=[8,16,32,32]",
            "task.model.decoder_channels=16",
            "task.model.max_degree=2",
            "task.model.num_copies=4",
        ),
    },
}
"""Worlds, their models, and the words that make these small."""
KINDS = {
    **{kind: (f"task.model.kind={kind}",) for kind in ("ours", "full", "none")},
    "none_matched": ("task.model.kind=none", "task.model.latent_size=8"),  # of boards
    "masked": ("control=masked_latent",),
    "fc_only": ("task.model.name=fc_only",),
}
"""What chooses a model of its world's experiment; the others are the experiment's own."""
COMMON = ("global_batch=64", "precision=fp32", "collapse.action=warn", "log_every=1")
NUM_COMPARED, ALLOWED_DIFFERENCE = 3, 1e-5
"""Steps, and the relative difference of losses. Rounding grows with every step, on the reacher by
a factor of a thousand in the fourth."""
SMALL_FRAMES = {
    "reacher": ("dataset.world.size=65",),
    "reacher_planar": ("dataset.world.size=65",),
    "teapot": ("dataset.world.size=32",),
}


class Case(NamedTuple):
    """`name` is WORLD/MODEL; both reachers have the same experiments."""

    world: str
    model: str
    small: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.world}/{self.model}"

    @property
    def words(self) -> tuple[str, ...]:
        """The experiment, and what chooses the model."""
        world = self.world.replace("reacher_planar", "reacher")
        if self.model == "homeomorphic_vae":
            return (f"experiment={self.model}/{world}",)
        return f"experiment={world}", *KINDS.get(self.model, ())


def main(words: list[str]) -> None:
    work = Path(take_value(words, "work", "every_world")).absolute()
    epochs = take_value(words, "epochs", "5")
    num_episodes = int(take_value(words, "num_episodes", "50"))
    scale = take_value(words, "scale", "tiny")
    only = [name for name in take_value(words, "only", "").split(",") if name]
    if words:
        raise ValueError(f"cannot use {words[0]!r}: see --help")
    if scale not in ("tiny", "paper"):
        raise ValueError(f"scale={scale} is not allowed; allowed: tiny, paper")
    for case in cases():
        if not only or case.name in only:
            small = case.small if scale == "tiny" else ()
            line = run_case(work, case, num_episodes, (f"epochs={epochs}", *small))
            print(f"{case.name:28}", line, flush=True)


def cases() -> Iterator[Case]:
    """Every world with every model."""
    for world, models in CASES.items():
        for model, small in models.items():
            yield Case(world, model, small)


def preparation(world: str, num_episodes: int) -> list[str]:
    """Words of `prepare.py` for a small dataset."""
    words = [f"dataset={world}", *SMALL_FRAMES.get(world, ())]
    if world == "sequence_labelling":
        return [*words, f"num_samples={10 * num_episodes}"]
    words.append(f"dataset.num_test_episodes={num_episodes}")
    if world == "teapot":
        return [*words, f"num_episodes={10 * num_episodes}"]
    return [*words, f"num_episodes={num_episodes}", "episode_length=10"]


def run_case(work: Path, case: Case, num_episodes: int, training: tuple[str, ...]) -> str:
    """Prepare, verify and show the world unless it is there; train and evaluate."""
    data, run = work / case.world / "data", work / case.world / case.model / "run"
    started = time.monotonic()
    if not data.exists():
        data.parent.mkdir(parents=True, exist_ok=True)
        program("data_prep/prepare.py", *preparation(case.world, num_episodes), f"out={data}")
        program("data_prep/verify.py", str(data))
        program("data_prep/show.py", str(data))
    prepared = time.monotonic()
    words = [*case.words, f"data={data}", f"run_dir={run}", *training]
    program("pipeline/train.py", *words, *COMMON)
    trained = time.monotonic()
    difference = compare_with_two_processes(case, run, words)
    compared = time.monotonic()
    program("pipeline/evaluate.py", f"run_dir={run}")
    (evaluation,) = (run / "evaluations").glob("*-test.json")
    metrics = json.loads(evaluation.read_text())["metrics"]
    check(case, metrics)
    return (
        f"prepared {prepared - started:5.1f} s  trained {trained - prepared:6.1f} s"
        f"  on two {difference:.0e}  evaluated {time.monotonic() - compared:5.1f} s"
        f"  {summary(metrics)}"
    )


def compare_with_two_processes(case: Case, run: Path, words: list[str]) -> float:
    """Train for an epoch on two processes; the largest relative difference of the first losses.

    ValueError if it is more than rounding.
    """
    beside = run.with_name("run_on_two")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    own = [word for word in words if not word.startswith(("run_dir=", "epochs="))]
    program(*launcher, "pipeline/train.py", *own, f"run_dir={beside}", "epochs=1", *COMMON)
    one, two = first_losses(run), first_losses(beside)
    difference = max(abs(a - b) / abs(a) for a, b in zip(one, two, strict=True))
    if not difference <= ALLOWED_DIFFERENCE:
        raise ValueError(f"{case.name}: losses {one} on one process, {two} on two")
    return difference


def first_losses(run: Path) -> list[float]:
    """Training losses of the first steps."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    losses = [line["loss/total"] for line in lines if line["split"] == "train"]
    return losses[:NUM_COMPARED]


def check(case: Case, metrics: dict[str, float]) -> None:
    """ValueError unless all metrics are finite and those of the task are there."""
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    wanted = "circulant_share" if case.world == "sequence_labelling" else "hits_at_1/horizon_1"
    if bad or wanted not in metrics:
        raise ValueError(f"{case.name}: not finite: {bad}; {wanted} must be there")


def summary(metrics: dict[str, float]) -> str:
    """What of the metrics one looks at first."""
    longest = max((name for name in metrics if name.startswith("mrr/")), key=len, default="")
    horizon = longest.partition("/")[2]
    names = [
        f"hits_at_1/{horizon}",
        longest,
        "equivariance_error/embedding",
        f"distance_invariance_error/model/{horizon}",
        "f1",
        "circulant_share",
    ]
    return "  ".join(f"{name} {metrics[name]:.3f}" for name in names if name in metrics)


def program(*words: str) -> None:
    """Run one of the programs; ValueError with its last line if it fails."""
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise ValueError(f"{' '.join(words[:3])} ended with {done.returncode}: {said[-1]}")


if __name__ == "__main__":
    run_program(main, __doc__)
