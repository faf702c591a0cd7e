"""A small reproduction, and programs that stand in for the real ones."""

import json
import sys
from pathlib import Path
from typing import Any

from launch.reproduction.command import ReproductionRequest
from launch.reproduction.plan import Programs
from launch.reproduction.settings import (
    DatasetSettings,
    PresetOverrides,
    ReproductionSettings,
    VariantSettings,
)

STAND_IN = """
import json, pathlib, sys, time
words = dict(word.split("=", 1) for word in sys.argv[1:])
program = pathlib.Path(__file__).stem
if program == "prepare":
    if "broken" in words.get("dataset", ""):
        print("prepare.py: no images there", file=sys.stderr)
        sys.exit(1)
    out = pathlib.Path(words["out"])
    out.mkdir(parents=True)
    (out / "manifest.json").write_text(json.dumps({"fingerprint": out.name[::-1]}))
    sys.exit()
run = pathlib.Path(words["run_dir"])
with open(run.parents[1] / "calls.txt", "a") as calls:
    calls.write(f"{program} {run.name}\\n")
if program == "train":
    run.mkdir(parents=True, exist_ok=True)
    (run / "environment.json").write_text(json.dumps({"processor": "Loom", "num_cores": 2}))
    end = words.get("task.tau")
    if end == "0.1":
        print("train.py: step 7: not a number in the code", file=sys.stderr)
        sys.exit(1)
    if end == "0.2":
        print("train.py: the outputs are constant", file=sys.stderr)
        sys.exit(77)
    if end == "0.9":
        import signal
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
        (run / "began").touch()
        time.sleep(3000)
    step = run / "checkpoints" / "step_00000007"
    step.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"a": {"shape": [3, 4]}, "b": {"shape": [5]}}).encode()
    (step / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (run / "metrics.jsonl").write_text('{"epoch": 0, "mask/flips_in_epoch": 3.0}\\n')
    (run / "result.json").write_text(json.dumps({"best_step": 7, "step": 9}))
elif program == "evaluate":
    (run / "evaluations").mkdir(exist_ok=True)
    metrics = {"psnr": 20.0 + int(run.name.split("seed")[1][0]), "mask/fraction_variant": 0.5}
    psnr = {"name": "psnr", "meaning": "In dB.", "is_headline": True, "column": {"heading": "PSNR"}}
    text = json.dumps({"metrics": metrics, "meanings": [psnr]})
    data = words.get("data")
    end = f"-{pathlib.Path(data).name[::-1][:8]}" if data else ""
    (run / "evaluations" / f"step_00000007-test{end}.json").write_text(text)
"""


def small_settings(**changes: Any) -> ReproductionSettings:
    """Two datasets of digits, four variants, a table of the first two of them."""
    values: dict[str, Any] = {
        "name": "small",
        "seeds": (0, 1),
        "datasets": {
            "digits": DatasetSettings(
                experiment="rotated_digits",
                prepare=("dataset=rotated_digits",),
                small=PresetOverrides(prepare=("num_samples=200",), train=("epochs=1",)),
            ),
            "others": DatasetSettings(
                experiment="rotated_digits",
                prepare=("dataset=rotated_digits", "seed_of_split=1"),
            ),
        },
        "variants": {
            "method": VariantSettings(train=("control=learned_mask",)),
            "half": VariantSettings(train=("control=half_mask",)),
            "broken": VariantSettings(train=("task.tau=0.1",), datasets=("digits",)),
            "constant": VariantSettings(
                train=("task.tau=0.2",), datasets=("digits",), small_seeds=(0,)
            ),
        },
        "method": "latent_action",
        "tables": {"controls": ("method", "half", "constant")},
        "train": ("num_threads=1",),
    }
    return ReproductionSettings(**{**values, **changes})


def stand_ins(folder: Path) -> Programs:
    """Programs that write what the real ones leave behind, in no time.

    task.tau=0.1 fails, 0.2 collapses, 0.9 trains until it is told to stop.
    """
    folder.mkdir(exist_ok=True)
    files = {name: folder / f"{name}.py" for name in ("prepare", "train", "evaluate", "classify")}
    for file in files.values():
        file.write_text(STAND_IN)
    return Programs(sys.executable, **files)


def request_in(folder: Path, settings: ReproductionSettings, **keys: Any) -> ReproductionRequest:
    """A request that writes below a folder only."""
    return ReproductionRequest(
        reproduction=settings,
        work=str(folder / "work"),
        results=str(folder / "results"),
        **{"dirty": True, **keys},
    )


def calls(folder: Path) -> list[str]:
    """The stand-in programs that ran on runs, `train digits-method_seed0` and so on, sorted."""
    file = folder / "work" / "calls.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return sorted(line.rpartition("-")[0] for line in lines)


def a_result(
    dataset: str, variant: str, seed: int, digest: str, metrics: dict[str, float], **more: Any
) -> dict[str, Any]:
    """The content of a result file."""
    return {
        "dataset": dataset,
        "variant": variant,
        "seed": seed,
        "preset": "small",
        "digest": digest,
        "state": "finished",
        "message": "",
        "date": "2025-12-03",
        "commit": "abc",
        "machine": {"processor": "Loom", "num_cores": 2, "num_threads": 1},
        "seconds": {"train": 60.0, "evaluate": 30.0},
        "metrics": metrics,
        "mask": {},
        "classification": [],
        **more,
    }


def read_result(folder: Path, name: str) -> dict[str, Any]:
    """A result file below `folder/results`."""
    content: dict[str, Any] = json.loads((folder / "results" / f"{name}.json").read_text())
    return content
