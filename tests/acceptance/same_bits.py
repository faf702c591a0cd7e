"""Record what small runs of every family come to, or show that they still come to the same bits.

Examples:
  python tests/acceptance/same_bits.py work=DIR out=before.json
  python tests/acceptance/same_bits.py work=DIR against=before.json

Prepares, trains and evaluates: digits (on one rank and on two, and with precision=bf16), a world
of each family, the homeomorphic VAE, labelled sequences. What is compared: the sha256 of every
shard, of the weights of the last checkpoint, and of all numbers in metrics.jsonl and in the
evaluation that do not come from the clock. Bits hold on one machine with one set of packages.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orbit.core.config.program import run_program, take_value

ROOT = Path(__file__).resolve().parents[2]
CLOCK = ("speed/", "memory/", "time/")
TRAIN = (
    *("epochs=2", "num_threads=1", "log_every=1", "compile=false", "collapse.action=warn"),
    "device=cpu",
)
EPISODES = ("num_episodes=8", "dataset.num_test_episodes=2", "dataset.num_val_episodes=2")


@dataclass(frozen=True)
class Case:
    """A dataset and a run on it, by the words of the programs."""

    prepare: tuple[str, ...]
    train: tuple[str, ...]
    num_ranks: int = 1


DIGITS = (
    ("dataset=rotated_digits", "num_samples=200"),
    ("experiment=rotated_digits", "task.model.width=8", "global_batch=32", "precision=fp32"),
)
WORLD = ("global_batch=16", "precision=fp32")
CASES = {
    "digits": Case(*DIGITS),
    "digits on two ranks": Case(*DIGITS, 2),
    "digits in bf16": Case(DIGITS[0], (*DIGITS[1], "precision=bf16")),
    "shapes": Case(
        ("dataset=shapes_2d", *EPISODES),
        ("experiment=shapes_2d", "task.model.channels=4", "task.model.hidden=16", *WORLD),
    ),
    "reacher": Case(
        ("dataset=reacher_planar", *EPISODES),
        (
            *("experiment=reacher", "task.model.channels=8", "task.model.hidden=16"),
            *WORLD,
        ),
    ),
    "teapot": Case(
        ("dataset=teapot_small", "num_episodes=40", *EPISODES[1:]),
        ("experiment=teapot", "task.model.channels=[4,8]", "task.model.hidden=16", *WORLD),
    ),
    "homeomorphic VAE": Case(
        ("dataset=teapot_small", "num_episodes=40", *EPISODES[1:]),
        (
            *("experiment=homeomorphic_vae/teapot", "task.model.channels=[4,8]"),
            *("task.model.decoder_channels=8", "task.model.max_degree=2", *WORLD),
        ),
    ),
    "sequences": Case(
        ("dataset=sequence_labelling", "num_samples=200"),
        ("experiment=sequence_labelling", *WORLD),
    ),
}


def main(words: list[str]) -> int:
    work = Path(take_value(words, "work", "same_bits"))
    out, against = take_value(words, "out", ""), take_value(words, "against", "")
    only = [name for name in take_value(words, "only", "").split(",") if name]
    if words or not (out or against):
        raise ValueError("say out=FILE or against=FILE; allowed besides: work=DIR, only=NAMES")
    found = {}
    for name in only or CASES:
        found[name] = carry_out(CASES[name], work / name.replace(" ", "_"))
        print(f"{name}: {', '.join(f'{key} {value[:12]}' for key, value in found[name].items())}")
    if out:
        Path(out).write_text(json.dumps(found, indent=2) + "\n")
    if not against:
        return 0
    before = json.loads(Path(against).read_text())
    other = [
        f"{name}: {key}"
        for name, values in found.items()
        for key, value in values.items()
        if before[name][key] != value
    ]
    for line in other:
        print(f"NOT THE SAME: {line}")
    print(f"{len(found)} cases, {len(other)} differences")
    return 1 if other else 0


def carry_out(case: Case, work: Path) -> dict[str, str]:
    """Prepare, train and evaluate afresh; the sha256 of what came of it."""
    shutil.rmtree(work, ignore_errors=True)
    data, run = work / "data", work / "run"
    call("data_prep/prepare.py", *case.prepare, f"out={data}", "num_workers=1")
    words = (*case.train, *TRAIN, f"data={data}", f"run_dir={run}")
    call("pipeline/train.py", *words, num_ranks=case.num_ranks)
    call("pipeline/evaluate.py", f"run_dir={run}", "pictures=false", "num_threads=1", "device=cpu")
    shards = sorted(data.rglob("*.h5"))
    newest = max((run / "checkpoints").glob("step_????????"))
    (evaluation,) = (run / "evaluations").glob("step_*-test.json")
    lines = (run / "metrics.jsonl").read_text().splitlines()
    numbers = [json.loads(line) for line in lines]
    numbers.append(json.loads(evaluation.read_text())["metrics"])
    return {
        "shards": digest(b"".join(file.read_bytes() for file in shards)),
        "weights": digest((newest / "model.safetensors").read_bytes()),
        "numbers": digest(json.dumps([timeless(line) for line in numbers]).encode()),
    }


def timeless(line: dict[str, Any]) -> dict[str, Any]:
    """Numbers that do not come from the clock, in the order of their names."""
    return {key: line[key] for key in sorted(line) if not key.startswith(CLOCK)}


def digest(content: bytes) -> str:
    """The sha256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def call(program: str, *words: str, num_ranks: int = 1) -> None:
    """Run a program by path; ValueError with its last lines if it fails."""
    torchrun = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}")
    starter = torchrun if num_ranks > 1 else ()
    command = [sys.executable, *starter, str(ROOT / program), *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise ValueError(f"{program} {' '.join(words)}: {(done.stdout + done.stderr)[-2000:]}")


if __name__ == "__main__":
    run_program(main, __doc__)
