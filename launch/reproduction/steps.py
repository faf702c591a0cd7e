"""The programs of a run as commands. Pure functions."""

import sys
from dataclasses import dataclass
from pathlib import Path

from launch.reproduction.plan import PlannedRun, data_name
from launch.reproduction.request import REPOSITORY


@dataclass(frozen=True)
class Programs:
    """The files that are run, with the interpreter that runs them."""

    python: str = sys.executable
    prepare: Path = REPOSITORY / "data_prep" / "prepare.py"
    train: Path = REPOSITORY / "pipeline" / "train.py"
    evaluate: Path = REPOSITORY / "pipeline" / "evaluate.py"
    classify: Path = REPOSITORY / "pipeline" / "classify.py"


@dataclass(frozen=True)
class Step:
    """One program of a run. Where `product` is there already, the step is left out."""

    name: str
    command: tuple[str, ...]
    product: Path | None = None


@dataclass(frozen=True)
class Places:
    """Folders below the `work` of the command.

    work/data/DATASET-DIGEST, work/runs/DATASET-VARIANT_seedK-DIGEST, work/logs/NAME.txt
    """

    work: Path

    def data(self, prepare: tuple[str, ...]) -> Path:
        """The dataset that is prepared by these words."""
        return self.work / "data" / data_name(prepare)

    def run_dir(self, run: PlannedRun) -> Path:
        """The run directory."""
        return self.work / "runs" / run.work_name

    def log(self, name: str) -> Path:
        """Output of the programs; `NAME.json` beside it holds how long they took."""
        return self.work / "logs" / f"{name}.txt"


def preparation_steps(
    prepare: tuple[str, ...], places: Places, programs: Programs, root: str | None
) -> list[Step]:
    """Preparing a dataset of a run; `root` is where its images lie."""
    words = [*prepare, *([] if root is None else [f"source.root={root}"])]
    out = places.data(prepare)
    command = (programs.python, str(programs.prepare), *words, "num_workers=1", f"out={out}")
    return [Step("prepare", command, out / "manifest.json")]


def run_steps(run: PlannedRun, places: Places, programs: Programs) -> list[Step]:
    """Training, evaluation (also on further datasets) and classification of a run."""
    run_dir = places.run_dir(run)
    where = f"run_dir={run_dir}"
    train = [*run.train_here, f"data={places.data(run.prepare)}", where]
    python = programs.python
    steps = [
        Step("train", (python, str(programs.train), *train), run_dir / "result.json"),
        Step("evaluate", (python, str(programs.evaluate), *run.evaluate, where)),
    ]
    for name, prepare in run.tests:
        # Pictures are of the run's own dataset.
        words = (*run.evaluate, "pictures=false", f"data={places.data(prepare)}", where)
        steps.append(Step(f"evaluate_{name}", (python, str(programs.evaluate), *words)))
    if run.classify:
        # The words may be new where the run is not.
        classify = (python, str(programs.classify), *run.classify, "overwrite=true", where)
        steps.append(Step("classify", classify))
    return steps
