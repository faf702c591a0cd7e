"""The programs that faults befall, on the least data that makes them do all they do.

A subject works in one folder, WORK, and on nothing else: what it is given and what it writes
lie there, and calls on paths below it are the ones that count.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

NUM_PICTURES = 4
PREPARE = "data_prep/prepare.py"
TRAIN = "pipeline/train.py"

Maker = Callable[["Subject", Path], None]


@dataclass(frozen=True)
class Step:
    """A program with its words, `WORK` in them standing for the folder, on so many ranks."""

    program: str
    words: tuple[str, ...]
    num_ranks: int = 1

    def words_in(self, work: Path) -> list[str]:
        return [word.replace("WORK", str(work)) for word in self.words]


@dataclass(frozen=True)
class Cut:
    """A step that is killed right after a call: the op, the path and the occurrence."""

    step: Step
    call: tuple[str, str, int]


@dataclass(frozen=True)
class Subject:
    """`before` makes what the program is given. Only calls on paths that begin with one of
    `watched` are points. `is_slow` ones meet the faults of `FAULTS_OF_SLOW` alone."""

    name: str
    step: Step
    before: tuple[Step | Cut, ...] = ()
    watched: tuple[str, ...] = ("",)
    is_slow: bool = False


def _prepare(*words: str) -> Step:
    fixed = ("dataset=image_folder", "source.root=WORK/pictures", "out=WORK/data", "num_workers=1")
    return Step(PREPARE, (*fixed, *words))


def _train(*words: str, num_ranks: int = 1) -> Step:
    return Step(TRAIN, (*TRAINING, "run_dir=WORK/run", *words), num_ranks)


TRAINING = (
    "data=WORK/data",
    "experiment=image_folder",
    "epochs=2",
    "global_batch=8",
    "num_train_items=8",
    "pairs=stored",
    "retention.keep_last=1",
    "task.model.width=2",
    "task.model.depth=1",
    "log_every=1",
    "validation_batch=8",
    "collapse.action=warn",
)
FINISHED = (_prepare(), _train())
SWEEP = (*TRAINING[:2], "epochs=1", *TRAINING[3:], "cluster=inline", "sweep=single")

SUBJECTS = (
    Subject("prepare", _prepare()),
    Subject("prepare, replacing", _prepare("overwrite=true"), (_prepare("seed=1"),)),
    Subject("train", _train(), (_prepare(),)),
    Subject("train, by blocks", _train("order=blocks", "loader.num_readers=1"), (_prepare(),)),
    Subject(
        "train, continuing",
        _train(),
        (
            _prepare(),
            Cut(_train(), ("rename", "run/checkpoints/best.json", 1)),
        ),
    ),
    Subject("train, two ranks", _train(num_ranks=2), (_prepare(),), is_slow=True),
    Subject(
        "evaluate", Step("pipeline/evaluate.py", ("run_dir=WORK/run", "pictures=false")), FINISHED
    ),
    Subject(
        "evaluate, pictures",
        Step("pipeline/evaluate.py", ("run_dir=WORK/run",)),
        FINISHED,
        ("run/orbits", "run/.orbits", "run/pictures"),
        is_slow=True,
    ),
    Subject(
        "export",
        Step("pipeline/export.py", ("WORK/run", "out=WORK/exported", "overwrite=true")),
        FINISHED,
        is_slow=True,
    ),
    Subject(
        "sweep",
        Step("launch/sweep.py", (*SWEEP, "sweep_dir=WORK/sweep", "sweep.seeds=[0,1]")),
        (_prepare(),),
        is_slow=True,
    ),
)


def subject(name: str) -> Subject:
    """The subject of this name."""
    return next(each for each in SUBJECTS if each.name == name)


def draw_pictures(folder: Path) -> None:
    """A few 8x8 pictures of noise."""
    from PIL import Image

    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(NUM_PICTURES):
        values = rng.integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{number:02d}.png")
