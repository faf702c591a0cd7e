"""Show that a run killed again and again ends bit-identical to one left alone.

Example:
  python tests/acceptance/kill_and_resume.py data=DIR work=DIR num_kills=4 \\
      experiment=rotated_mnist epochs=2

Trains once without interruption, then once more with `kill -9` (or, with signal=TERM, a polite
stop) at random moments, on num_ranks processes each. Then compares the weights of the last and
the best checkpoint, metrics.jsonl (wall-clock fields aside) and result.json byte by byte.
Other words go to pipeline/train.py as they are.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from orbit.core.config.program import EXIT_STOPPED, run_program, take_value
from pipeline.run_files.reading import read_metrics, without_wall_clock

ROOT = Path(__file__).resolve().parents[2]


def main(words: list[str]) -> None:
    work = Path(take_value(words, "work", "kill_and_resume"))
    num_kills = int(take_value(words, "num_kills", "3"))
    num_ranks = int(take_value(words, "num_ranks", "1"))
    chosen = signal.Signals[f"SIG{take_value(words, 'signal', 'KILL')}"]
    rng = random.Random(int(take_value(words, "kill_seed", "0")))
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)

    command = train_command(words, num_ranks)
    started = time.monotonic()
    run_to_end([*command, f"run_dir={work / 'undisturbed'}"])
    num_lines = len(read_metrics(work / "undisturbed" / "metrics.jsonl"))
    print(f"undisturbed run: {time.monotonic() - started:.0f} s, {num_lines} lines of metrics")
    interrupted = [*command, f"run_dir={work / 'interrupted'}"]
    for number in range(num_kills):
        # Somewhere in this share of the run, and then at any moment of a step.
        line = int(num_lines * (number + rng.random()) / num_kills)
        code, seen = run_and_stop(
            interrupted, work / "interrupted", line, rng.uniform(0, 0.3), chosen
        )
        print(f"stop {number + 1}: {chosen.name} after line {seen}, exit code {code}")
    run_to_end(interrupted)
    for line in compare_runs(work / "undisturbed", work / "interrupted"):
        print(line)


def train_command(words: list[str], num_ranks: int) -> list[str]:
    """The training program under this interpreter, by torchrun if there are several ranks."""
    program = [str(ROOT / "pipeline" / "train.py"), *words]
    if num_ranks == 1:
        return [sys.executable, *program]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]
    return [sys.executable, *launcher, *program]


def run_to_end(command: list[str]) -> None:
    """Run a command; ValueError with its last lines if it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise ValueError(f"training failed: {(done.stdout + done.stderr)[-2000:]}")


def run_and_stop(
    command: list[str], run_dir: Path, line: int, delay_s: float, chosen: signal.Signals
) -> tuple[int, int]:
    """Signal a run `delay_s` after it logged more than `line` lines; its exit code and lines then.

    ValueError if the run ends before it could be stopped.
    """
    metrics = run_dir / "metrics.jsonl"
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None and len(read_metrics(metrics)) <= line:
        time.sleep(0.01)
    time.sleep(delay_s)
    seen = len(read_metrics(metrics))
    if process.poll() is None:
        os.killpg(process.pid, chosen)
    code = process.wait()
    if code == 0:
        raise ValueError("the run ended before it could be stopped: give it more epochs")
    if chosen is not signal.SIGKILL and code not in (1, EXIT_STOPPED):
        raise ValueError(f"a stopped run exited with {code}")
    return code, seen


def compare_runs(first: Path, second: Path) -> list[str]:
    """A line for each thing that is identical; ValueError naming the first that is not."""
    lines = []
    for name in ("last", "best"):
        steps = [
            json.loads((run / "checkpoints" / f"{name}.json").read_text())["step"]
            for run in (first, second)
        ]
        weights = [
            (run / "checkpoints" / f"step_{step:08d}" / "model.safetensors").read_bytes()
            for run, step in zip((first, second), steps, strict=True)
        ]
        if steps[0] != steps[1] or weights[0] != weights[1]:
            raise ValueError(f"the {name} checkpoints differ (steps {steps[0]} and {steps[1]})")
        lines.append(f"identical: weights of the {name} checkpoint, step {steps[0]}")
    metrics = [
        [without_wall_clock(line) for line in read_metrics(run / "metrics.jsonl")]
        for run in (first, second)
    ]
    if metrics[0] != metrics[1]:
        raise ValueError("metrics.jsonl differs")
    lines.append(f"identical: metrics.jsonl, {len(metrics[0])} lines")
    if (first / "result.json").read_bytes() != (second / "result.json").read_bytes():
        raise ValueError("result.json differs")
    lines.append("identical: result.json")
    return lines


if __name__ == "__main__":
    run_program(main, __doc__)
