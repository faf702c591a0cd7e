"""One of two ranks that measure scaling together; started by torchrun from rank_speed.py.

Arguments: dataset, folder for run directories, file for the results, number of
rounds, pairs a lap, and the global batches.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
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


if __name__ == "__main__":
    main(*sys.argv[1:])
