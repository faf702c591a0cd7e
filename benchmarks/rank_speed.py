"""Part (c): two ranks with one thread each against one rank with one thread.

Beside them stands the ceiling: two processes that share nothing but the machine,
each training on its half of the batch. The speed of one rank is that of the
first while the second waits.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measuring import Check, PartReport, rate_rows, ratio

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
    """Results of rank_worker.py, called with these numbers; OSError if it fails or hangs."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "results.json"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node=2", str(Path(__file__).with_name("rank_worker.py"))]
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
