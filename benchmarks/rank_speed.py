"""Part (c): two ranks with one thread each against one rank with one thread.

Beside them stands the ceiling: two processes that share nothing but the machine,
each training on its half of the batch. The speed of one rank is that of the
first while the second waits.

torchrun starts this file on both ranks, with the arguments: dataset, folder for run directories,
file for the results, number of rounds, pairs a lap, and the global batches.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from measuring import Check, PartReport, rate_rows, ratio
from trainer_laps import TrainerLaps, alone
from training_speed import COMMON

from pipeline.training.distributed import World, join_world

NUM_GRADIENTS = 66_753
"""Parameters of the paper's model: what two ranks exchange in a step."""


def measure_together(
    world: World,
    data: Path,
    folder: Path,
    num_rounds: int,
    pairs_per_lap: int,
    batches: Sequence[int],
) -> list[dict[str, float]]:
    """Each round of each global batch: pairs/s of one rank, of two, and of two unconnected."""
    results = []
    for batch in batches:

        def laps(name: str, size: int, where: World, batch: int = batch) -> TrainerLaps:
            run_dir = folder / f"{name}-{batch}-{world.rank}"
            words = [*COMMON, f"global_batch={size}", "num_threads=1", "compile=false"]
            return TrainerLaps(data, run_dir, words, where, max(2, pairs_per_lap // size))

        one = laps("one", batch, alone())
        unconnected = laps("unconnected", batch // world.world_size, alone())
        together = laps("together", batch, world)
        for index in range(num_rounds + 1):
            dist.barrier()
            rates = {"batch": float(batch), "one": one() if world.is_first else 0.0}
            dist.barrier()
            rates["unconnected"] = _sum(unconnected())
            rates["unconnected_step_s"] = unconnected.step_seconds[-1]
            dist.barrier()
            rates["together"] = together()
            rates["together_step_s"] = together.step_seconds[-1]
            rates["gradients_s"] = _exchange_seconds(torch.zeros(NUM_GRADIENTS))
            rates["flag_s"] = _exchange_seconds(torch.zeros(1, dtype=torch.int32))
            if index > 0:
                results.append(rates)
    return results


def _sum(rate: float) -> float:
    total = torch.tensor(rate)
    dist.all_reduce(total)
    return total.item()


def _exchange_seconds(values: torch.Tensor, num_times: int = 50) -> float:
    """Time of one all-reduce of ranks that have nothing else to do."""
    dist.all_reduce(values)
    started = time.perf_counter()
    for _ in range(num_times):
        dist.all_reduce(values)
    return (time.perf_counter() - started) / num_times


def main(data: str, folder: str, out: str, *numbers: str) -> None:
    torch.set_num_threads(1)
    with join_world("cpu") as world:
        num_rounds, pairs_per_lap, *batches = (int(number) for number in numbers)
        results = measure_together(
            world, Path(data), Path(folder), num_rounds, pairs_per_lap, batches
        )
        if world.is_first:
            Path(out).write_text(json.dumps(results))


TIMEOUT_S = 420
REQUIRED_AT_512 = 1.5
ONE, TWO, CEILING = "one rank", "two ranks", "two unconnected processes"


def measure_ranks(
    data: Path,
    num_rounds: int = 4,
    pairs_per_lap: int = 2048,
    batches: Sequence[int] = (64, 128, 512),
) -> PartReport:
    """Training speed on a dataset of 28x28 images, at each global batch."""
    report = PartReport("(c) Ranks, one thread each, eager")
    results = run_two_ranks(data, [num_rounds, pairs_per_lap, *batches])
    for batch in batches:
        rounds = [result for result in results if result["batch"] == batch]
        rates = {
            ONE: [result["one"] for result in rounds],
            TWO: [result["together"] for result in rounds],
            CEILING: [result["unconnected"] for result in rounds],
        }
        label = f"global batch {batch}: "
        report.rows += rate_rows(rates, label)
        gain, ceiling = ratio(rates, TWO, ONE), ratio(rates, CEILING, ONE)
        if batch == 512:
            report.checks.append(Check(f"{label}{TWO} / {ONE}", REQUIRED_AT_512, gain))
        report.notes.append(f"{label}{gain:.2f} times one rank; the ceiling is {ceiling:.2f}.")
        report.notes.append(label + _where_time_goes(rounds, batch))
    return report


def _where_time_goes(rounds: list[dict[str, float]], batch: int) -> str:
    def milliseconds(name: str) -> float:
        return 1000 * statistics.median(result[name] for result in rounds)

    one = 1000 * batch / statistics.median(result["one"] for result in rounds)
    share, two = milliseconds("unconnected_step_s"), milliseconds("together_step_s")
    return (
        f"a step takes {one:.1f} ms on one rank; on two, {two:.1f} ms: {share:.1f} ms for half the"
        f" batch ({2 * share - one:+.1f} ms for both beyond one rank's step: fixed costs and shared"
        f" memory) and {two - share:.1f} ms for working in step (gradients alone:"
        f" {milliseconds('gradients_s'):.2f} ms, stop flag: {milliseconds('flag_s'):.2f} ms)."
    )


def run_two_ranks(data: Path, numbers: Sequence[int]) -> list[dict[str, float]]:
    """Results of this file, called with these numbers; OSError if it fails or hangs."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "results.json"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node=2", __file__]
        command += [str(data), folder, str(out), *map(str, numbers)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=TIMEOUT_S, env=environment
            )
        except subprocess.TimeoutExpired:
            raise OSError(f"two ranks were not done after {TIMEOUT_S} s") from None
        if done.returncode or not out.exists():
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise OSError(f"two ranks failed: {last[0]}")
        results: list[dict[str, float]] = json.loads(out.read_text())
        return results


if __name__ == "__main__":
    main(*sys.argv[1:])
