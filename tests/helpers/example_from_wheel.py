"""What `examples/mylab` does from the wheel: `tests/test_wheel.py` runs a copy of this by pytest,
in an environment that has the wheel and the example installed, where no checkout is found.

Nothing but `orbit` is imported; the laws that the example's own tests hold are not repeated here.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import orbit
from orbit.program import main
from orbit.testing import check_resume, one_rank_against_two

PACKAGES = ("orbit", "pipeline", "data_prep", "launch")
SHORT = ("epochs=2", "log_every=5", "checkpoint_every=10", "global_batch=16")


def program(*words: str, code: int = 0) -> None:
    """`orbit WORD ...` in this process."""
    arguments, sys.argv = sys.argv, ["orbit", *words]
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = arguments
    assert (ended.value.code or 0) == code


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def newest_evaluation(run_dir: Path) -> dict[str, Any]:
    (file,) = run_dir.glob("evaluations/step_*-test.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_it_is_the_wheel_that_runs() -> None:
    assert Path(orbit.__file__).is_relative_to(sys.prefix)


def test_images_go_through_everything(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (24, 5, 5), np.uint8)
    np.savez("images.npz", images=images.repeat(3, 1).repeat(3, 2), labels=np.arange(24) % 3)
    program("prepare", "dataset=hexagons", "source.root=images.npz", "num_workers=1", "out=data")
    program("verify", "data")
    program("show", "data")
    check_resume(["experiment=hexagons", "data=data", *SHORT], folder / "runs", stop_after=7)
    run_dir = folder / "runs" / "whole"
    assert "mylab 0.1.0" in (run_dir / "config.yaml").read_text()
    program("evaluate", f"run_dir={run_dir}")
    assert newest_evaluation(run_dir)["metrics"]["composition_error/latent"] == 0
    capsys.readouterr()
    program("describe", str(run_dir))
    said = capsys.readouterr().out
    assert "d3_hexagonal" in said
    assert "thirds network" in said
    Path("pictures").mkdir()
    Image.fromarray(np.full((15, 15), 99, np.uint8)).save("pictures/a.png")
    program("apply", f"run_dir={run_dir}", "images=pictures", "element=120", "out=turned")
    program("export", f"run_dir={run_dir}", "out=exported")
    program("report", "runs", "out=report")
    assert "psnr" in Path("report/index.html").read_text()


def test_a_world_goes_through_everything(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ["num_episodes=48", "episode_length=5", "dataset.num_test_episodes=4", "num_workers=1"]
    program("prepare", "dataset=hexagon_walk", *few, "out=data")
    program("verify", "data")
    program("show", "data")
    words = ["experiment=hexagon_walk", "data=data", *SHORT]
    check_resume(words, folder / "runs", stop_after=7)
    run_dir = folder / "runs" / "whole"
    program("evaluate", f"run_dir={run_dir}")
    found = newest_evaluation(run_dir)
    directions = {each["name"]: each.get("direction") for each in found["meanings"]}
    assert directions["change_error"] == "lower"
    assert found["metrics"]["change_error"] < 1
    assert (run_dir / "predictions.png").stat().st_size > 1000
    capsys.readouterr()
    program("describe", str(run_dir))
    said = capsys.readouterr().out
    assert "d3_hexagonal" in said
    assert "knows no group" in said
    program("report", "runs", "out=report")
    assert "change_error" in Path("report/index.html").read_text()

    one_rank_against_two([*words, "epochs=1"], folder)
    environment = json.loads(Path("ranks2/environment.json").read_text())
    assert environment["world_size"] == 2
    place = ("sweep=single", "cluster=local", "sweep.seeds=[1]", "sweep_dir=many", "device=cpu")
    started = [str(Path(sys.executable).with_name("orbit")), "sweep", *words, "epochs=1", *place]
    done = subprocess.run(started, check=True, capture_output=True, text=True)
    assert "orbit status" in done.stdout
    program("status", "many", "watch=true", "every=1")
    (result,) = Path("many/runs").glob("*/result.json")
    assert json.loads(result.read_text())["state"] == "finished"
    assert "methods/forward_model: mylab 0.1.0" in (result.parent / "config.yaml").read_text()
    snapshot = json.loads((result.parent / "environment.json").read_text())["git"]
    assert snapshot["commit"] is None
    (code,) = Path("many/code").iterdir()
    assert {path.name for path in code.iterdir()} == {*PACKAGES, "snapshot.json"}
    assert code.name == snapshot["snapshot"][:12]
