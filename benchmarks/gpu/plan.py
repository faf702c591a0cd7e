"""What is done on a GPU, in which order, and what of it fits in the time that there is."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

MINUTES = 8.0
"""For all of it, from start to end. What is still at work then is cut off and said so."""

RESERVE_S = 30.0
"""Of those, for starting and for writing down what was found."""

State = Literal["passed", "failed", "measured", "not run"]
Kind = Literal["tests", "data", "values", "compiled", "scaling", "resume", "loading", "speed"]


def as_folder(name: str) -> str:
    """A name without blanks and signs."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)


@dataclass(frozen=True)
class Workload:
    """A dataset and the training on it.

    `frame` is the shape of generated frames; null where `prepare` says how to make a world.
    """

    name: str
    batch: int
    train: tuple[str, ...]
    frame: tuple[int, ...] | None = None
    num_sources: int = 0
    prepare: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """One thing to do, about `expected_s` seconds of work, given up after `limit_s`.

    `words` are configuration words on top of the workload's.
    """

    kind: Kind
    name: str
    workload: Workload | None = None
    precision: str = "fp32"
    compile: str = "false"
    words: tuple[str, ...] = ()
    expected_s: float = 10.0
    limit_s: float = 60.0

    @property
    def folder(self) -> str:
        """A name for its files."""
        return as_folder(self.name)


QUIET = (
    "collapse.action=warn",
    "collapse.after_steps=1000000000",
    "log_every=1000000000",
    "retention.keep_last=1",
)
"""Whether a model collapses is no question here."""


def words_of(job: Job, device: str) -> list[str]:
    """Configuration words of a job's training; later words win."""
    assert job.workload is not None
    return [
        *job.workload.train,
        *QUIET,
        f"global_batch={job.workload.batch}",
        f"precision={job.precision}",
        f"compile={job.compile}",
        f"device={device}",
        *job.words,
    ]


@dataclass(frozen=True)
class Outcome:
    """What became of a job. `values` are numbers by name, `note` says why it is not a success."""

    job: Job
    state: State
    seconds: float = 0.0
    values: dict[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Sizes:
    """How large a measurement is: seconds of a lap, rounds, records of a comparison, and the
    numbers of workers with which loading is checked. Of large frames fewer are compared, for
    the CPU's sake."""

    lap_s: float
    num_rounds: int
    num_compared: int
    workers: tuple[int, ...]

    def compared(self, workload: Workload) -> int:
        """Records of a workload that are compared: two at least, for they are held together."""
        return min(self.num_compared, max(2, COMPARED_VALUES // math.prod(workload.frame or (1,))))


COMPARED_VALUES = 2**21

FEW_WORLDS = ("dataset.num_test_episodes=2", "dataset.num_val_episodes=2")
RESIDUAL = "task.model.name=residual"
WORKLOADS = (
    Workload("rotated MNIST 1x28x28", 64, ("experiment=rotated_mnist",), (1, 28, 28), 8192),
    Workload("images 3x64x64", 256, ("experiment=planes",), (3, 64, 64), 2048),
    Workload(
        "images 3x256x256",
        32,
        ("experiment=image_folder", RESIDUAL, "task.model.depth=4"),
        (3, 256, 256),
        256,
    ),
    Workload(
        "volumes 1x104x104x104",
        4,
        ("experiment=brain_mri", RESIDUAL, "task.model.depth=3"),
        (1, 104, 104, 104),
        48,
    ),
    Workload(
        "3D Blocks",
        1024,
        ("experiment=blocks_3d",),
        prepare=("dataset=blocks_3d", "num_episodes=40", "episode_length=100", *FEW_WORLDS),
    ),
    Workload(
        "Reacher 129 pixels",
        256,
        ("experiment=reacher",),
        prepare=("dataset=reacher_planar", "num_episodes=60", *FEW_WORLDS),
    ),
)
SIZES = Sizes(lap_s=0.8, num_rounds=2, num_compared=8, workers=(0, 1))

DRY_WORKLOADS = (
    Workload(
        "rotated MNIST 1x28x28",
        4,
        ("experiment=rotated_mnist", "task.model.width=8"),
        (1, 28, 28),
        32,
    ),
    Workload(
        "volumes 1x16x16x16",
        2,
        ("experiment=brain_mri", RESIDUAL, "task.model.width=8", "task.model.max_width=16"),
        (1, 16, 16, 16),
        16,
    ),
    Workload(
        "3D Blocks",
        8,
        ("experiment=blocks_3d_small",),
        prepare=("dataset=blocks_3d", "num_episodes=3", "episode_length=20", *FEW_WORLDS),
    ),
)
DRY_SIZES = Sizes(lap_s=0.0, num_rounds=1, num_compared=2, workers=(0,))
DRY_PATIENCE = 5.0
"""Times as long may a job take on a CPU."""

PRECISIONS = ("fp32", "tf32", "bf16")
SPEED_TIERS = (
    (("fp32", "false"), ("bf16", "true")),
    (("tf32", "false"), ("bf16", "false"), ("bf16", "cuda_graphs")),
    (("tf32", "true"),),
    (("fp32", "true"),),
    (("fp32", "cuda_graphs"), ("tf32", "cuda_graphs")),
)
"""What is measured of all workloads before anything of the next tier; the last is dropped first."""

EXPECTED_S = {"false": 5.0, "true": 16.0, "cuda_graphs": 14.0}
LIMIT_S = {"false": 40.0, "true": 90.0, "cuda_graphs": 90.0}


def check_lanes(workloads: Sequence[Workload]) -> tuple[list[Job], list[Job]]:
    """The checks, which come before any measurement: two lists that may run side by side.

    The tests of the suite that need a GPU; and everything else, data first.
    """
    tests = [Job("tests", "tests marked gpu", expected_s=90, limit_s=200)]
    others = []
    for workload in workloads:
        others += [
            Job("data", f"data: {workload.name}", workload, expected_s=5, limit_s=90),
            Job("values", f"{workload.name}: CPU against GPU", workload, limit_s=90),
        ]
    first, last = workloads[0], workloads[-1]
    # With the largest frames every read is a buffer of its own, which is used again soon.
    largest = max(workloads, key=lambda workload: math.prod(workload.frame or (0,)))
    others += [
        Job("loading", "DALI hands over what was stored", largest, expected_s=8, limit_s=90),
        Job("scaling", "fp16 gradients are scaled", first, expected_s=4),
    ]
    for workload, compiled in ((first, "false"), (last, "false"), (first, "true")):
        others.append(_resume(workload, compiled))
    for compiled in ("true", "cuda_graphs"):
        others.append(_compiled(first, compiled))
    others.append(_resume(first, "cuda_graphs"))
    return tests, list(dict.fromkeys(others))


def speed_jobs(workloads: Sequence[Workload]) -> list[Job]:
    """The measurements, the most telling ones of every workload first."""
    return [
        Job(
            "speed",
            f"{workload.name}, {precision}, {COMPILED_WORDS[compiled]}",
            workload,
            precision,
            compiled,
            expected_s=EXPECTED_S[compiled],
            limit_s=LIMIT_S[compiled],
        )
        for tier in SPEED_TIERS
        for workload in workloads
        for precision, compiled in tier
    ]


COMPILED_WORDS = {"false": "eager", "true": "compiled", "cuda_graphs": "CUDA graphs"}


def _resume(workload: Workload, compiled: str) -> Job:
    name = f"{workload.name}: same bits after a restart, {COMPILED_WORDS[compiled]}"
    expected = 2 * EXPECTED_S[compiled]
    return Job(
        "resume",
        name,
        workload,
        compile=compiled,
        words=("deterministic=true",),
        expected_s=expected,
        limit_s=120,
    )


def _compiled(workload: Workload, compiled: str) -> Job:
    name = f"{workload.name}: {COMPILED_WORDS[compiled]} against eager"
    expected = EXPECTED_S[compiled]
    return Job("compiled", name, workload, compile=compiled, expected_s=expected, limit_s=90)


class Budget:
    """Seconds that are left of `total_s`; `clock` gives seconds that only grow."""

    def __init__(self, total_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + total_s

    def left_s(self) -> float:
        return max(0.0, self._end - self._clock())


def expected_seconds(job: Job, done: Sequence[Outcome]) -> float:
    """What a job will take: as the plan says, or as one like it took just now.

    Alike are jobs of one kind, workload and way to compile.
    """
    alike = [
        outcome.seconds
        for outcome in done
        if outcome.state in ("passed", "measured", "failed")
        and (outcome.job.kind, outcome.job.workload, outcome.job.compile)
        == (job.kind, job.workload, job.compile)
    ]
    return alike[-1] if alike else job.expected_s


def run_jobs(
    jobs: Sequence[Job],
    budget: Budget,
    perform: Callable[[Job, float], Outcome],
    earlier: Sequence[Outcome] = (),
) -> list[Outcome]:
    """An outcome for every job, in order; `perform(job, limit_s)` does one.

    What does not fit in the time left, or misses its data, is not run and says so. A shorter
    job after it may still fit. `earlier` is what was done before these.
    """
    done: list[Outcome] = []
    for job in jobs:
        needed, left = expected_seconds(job, done), budget.left_s()
        if job.workload in _without_data([*earlier, *done]):
            done.append(Outcome(job, "not run", note="its data could not be made"))
        elif needed > left:
            why = f"no time: it takes about {needed:.0f} s, {left:.0f} s were left"
            done.append(Outcome(job, "not run", note=why))
        else:
            done.append(perform(job, min(job.limit_s, left)))
    return done


def _without_data(done: Sequence[Outcome]) -> set[Workload | None]:
    return {
        outcome.job.workload
        for outcome in done
        if outcome.job.kind == "data" and outcome.state != "passed"
    }
