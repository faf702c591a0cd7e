"""The parts, each run in a process of its own that cannot hang the others."""

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from measuring import PartReport

PART_TIMEOUT_S = 720
EXIT_S = 20


@dataclass(frozen=True)
class Cold:
    """What the part `cold` reads, the MiB of memory that it allows itself, and for how long it
    reads in each way and round."""

    data: Path
    allowed_mib: int
    seconds: float


@dataclass(frozen=True)
class Datasets:
    """`small` holds 28x28 images, `large` 3x64x64, both with their orbits; `cold` is
    what the part of that name needs.

    `mnist_root` holds MNIST's own files, null for noise; `mesh` is an OBJ file to turn, null for
    none. `device` is where the part `gpu` runs: `auto`, `cuda`, or `cpu` for a dry run;
    `minutes` are what it may take.
    """

    small: Path
    large: Path
    mnist_root: Path | None = None
    mesh: Path | None = None
    device: str = "auto"
    minutes: float = 8.0
    cold: Cold | None = None


def _loader(datasets: Datasets) -> PartReport:
    from loader_speed import measure_loader

    return measure_loader(datasets.small, datasets.large)


def _training(datasets: Datasets) -> PartReport:
    from training_speed import measure_training

    return measure_training(datasets.small, multiprocessing.cpu_count())


def _ranks(datasets: Datasets) -> PartReport:
    from rank_speed import measure_ranks

    return measure_ranks(datasets.small)


def _startup(datasets: Datasets) -> PartReport:
    from startup import measure_startup

    return measure_startup(datasets.small)


def _preparation(datasets: Datasets) -> PartReport:
    from preparation_speed import measure_preparation

    return measure_preparation(datasets.mnist_root)


def _worlds(datasets: Datasets) -> PartReport:
    from preparation_speed import measure_worlds

    return measure_worlds(datasets.mesh)


def _world_models(datasets: Datasets) -> PartReport:
    from training_speed import measure_world_models

    return measure_world_models(multiprocessing.cpu_count())


def _validation(datasets: Datasets) -> PartReport:
    from validation_speed import measure_validation

    return measure_validation(datasets.small, datasets.large, multiprocessing.cpu_count())


def _pairs(datasets: Datasets) -> PartReport:
    from loader_speed import measure_pairs

    return measure_pairs()


def _cold(datasets: Datasets) -> PartReport:
    from cold_speed import measure_cold

    cold = datasets.cold
    assert cold is not None
    return measure_cold(cold.data, cold.allowed_mib, seconds=cold.seconds)


def _gpu(datasets: Datasets) -> PartReport:
    from gpu.part import measure_gpu

    return measure_gpu(datasets.device, datasets.minutes)


PARTS: dict[str, Callable[[Datasets], PartReport]] = {
    "loader": _loader,
    "training": _training,
    "ranks": _ranks,
    "startup": _startup,
    "preparation": _preparation,
    "worlds": _worlds,
    "world_models": _world_models,
    "validation": _validation,
    "pairs": _pairs,
    "cold": _cold,
    "gpu": _gpu,
}
BY_DEFAULT = tuple(part for part in PARTS if part != "cold")
NEED_SMALL = frozenset({"loader", "training", "ranks", "startup", "validation"})
NEED_LARGE = frozenset({"loader", "validation"})


def measure_apart(part: str, datasets: Datasets) -> PartReport:
    """One part's report; if it fails or takes too long, a report that says so."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure_into, args=(sender, part, datasets))
    process.start()
    sender.close()
    timeout_s = max(PART_TIMEOUT_S, 60 * datasets.minutes + EXIT_S)
    problem = f"not done after {timeout_s:.0f} s"
    try:
        if receiver.poll(timeout_s):
            answer = receiver.recv()
            if isinstance(answer, PartReport):
                return answer
            problem = str(answer)
    except EOFError:
        problem = "its process ended without a result"
    finally:
        process.join(EXIT_S)
        process.kill()
        process.join()
    return PartReport(f"{part}: not measured", notes=[problem], is_broken=True)


def _measure_into(sender: Connection, part: str, datasets: Datasets) -> None:
    try:
        sender.send(PARTS[part](datasets))
    except (ValueError, OSError) as error:
        sender.send(str(error))
