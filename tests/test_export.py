"""Protects exported models: without this package they compute what evaluation computes."""

import errno
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.programs import call
from helpers.waiting import PATIENCE_S
from safetensors.torch import load_file

from orbit.core.groups import make_group
from orbit.core.store.manifest import FrameSpec, read_manifest
from orbit.core.store.reader import PairStore
from pipeline.exporting import programs_of
from pipeline.methods.latent_action.pictures.elements import predict
from pipeline.methods.latent_action.programs import latent_action_programs
from pipeline.models.latent_action import LatentActionModel
from pipeline.models.settings import (
    AutoencoderConfig,
    ContextConfig,
    LearnedActionConfig,
    RepresentationActionConfig,
    ResidualConfig,
    SpatialActionConfig,
)
from pipeline.programs import Program, greatest_difference, write_program
from pipeline.runs import load_run

PROGRAM = "pipeline/export.py"

WITHOUT_ORBIT = """
import json, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("orbit", "pipeline", "data_prep", "launch", "configs"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
folder, work = sys.argv[1:]
try:
    import pipeline
    sys.exit("the package is there")
except ModuleNotFoundError:
    pass
import numpy, torch
signature = json.load(open(f"{folder}/signature.json"))
files = {name: program["file"] for name, program in signature["programs"].items()}
load = lambda name: torch.export.load(f"{folder}/{files[name]}").module()
given = numpy.load(f"{work}/given.npz")
frames, action = (torch.from_numpy(given[name]) for name in ("frames", "action"))
with torch.no_grad():
    (images,) = load("transform")(frames, action)
    variant, invariant = load("encode")(frames)
    (again,) = load("decode")(variant, invariant, action)
numpy.savez(f"{work}/found.npz", images=images, again=again, variant=variant)
"""


@pytest.fixture(scope="module")
def exported(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "digits"
    outcome = call(PROGRAM, str(digits_run), f"out={out}")
    assert outcome.code == 0, outcome.err
    return out


def test_it_runs_without_the_package_and_agrees_with_evaluation(
    exported: Path, digits_run: Path, digits_dir: Path, tmp_path: Path
) -> None:
    records = PairStore(digits_dir).split("test").read(np.arange(37))
    np.savez(tmp_path / "given.npz", frames=records.source, action=records.action)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ORBIT, str(exported), str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npz")
    wanted = predict(load_run(digits_run), records.source, records.action)
    assert np.abs(found["images"] - wanted).max() < 1e-5
    assert np.abs(found["again"] - wanted).max() < 1e-5
    assert found["variant"].shape == (37, 16, 4, 4)


def test_the_signature_says_what_goes_in(exported: Path, digits_run: Path) -> None:
    signature = json.loads((exported / "signature.json").read_text())
    transform = signature["programs"]["transform"]
    assert [spec["shape"] for spec in transform["inputs"]] == [["batch", 1, 16, 16], ["batch", 1]]
    assert [spec["dtype"] for spec in transform["inputs"]] == ["uint8", "float32"]
    assert signature["group"]["elements"] == {"0": [0.0], "90": [1.0], "180": [2.0], "270": [3.0]}
    assert {file.name for file in exported.iterdir()} == {
        "model.safetensors",
        "signature.json",
        *(program["file"] for program in signature["programs"].values()),
    }
    weights = load_file(exported / "model.safetensors")
    for name, values in load_run(digits_run).model.state_dict().items():
        assert torch.equal(weights[name], values)


NETWORK = AutoencoderConfig(width=4)
SHALLOW = AutoencoderConfig(width=4, depth=1)
VECTOR = AutoencoderConfig(width=4, vector_size=16)
CASES: dict[str, tuple[str, tuple[int, ...], Any, Any]] = {
    "volume": ("octahedral+wrap:8:4", (1, 8, 8, 8), NETWORK, SpatialActionConfig()),
    "so3": ("so3", (1, 28, 28, 28), SHALLOW, SpatialActionConfig()),
    "motions": ("so2+shift:28:3", (3, 28, 28), SHALLOW, SpatialActionConfig()),
    "learned": ("so3", (3, 8, 8), VECTOR, LearnedActionConfig("learned", hidden=8)),
    "representation": ("d4", (1, 8, 8), VECTOR, RepresentationActionConfig("representation")),
    "context": (
        "c4",
        (1, 8, 8),
        ContextConfig("context", width=8, context_channels=8),
        SpatialActionConfig(),
    ),
    "residual": ("c4", (1, 8, 8), ResidualConfig("residual", width=8), SpatialActionConfig()),
}


@pytest.fixture(scope="module")
def programs(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str, str], tuple[Program, Path]]:
    """A program of a case by its name, and its file, written once for all tests."""
    folder = tmp_path_factory.mktemp("programs")

    @cache
    def programs_of_case(case: str) -> dict[str, Program]:
        spec, shape, network, action = CASES[case]
        frames = FrameSpec(shape, "uint8", (0.0, 255.0), (-1.0, 1.0))
        torch.manual_seed(0)
        model = LatentActionModel(network, 0.5, frames, make_group(spec), action).eval()
        return {program.name: program for program in latent_action_programs(model)}

    @cache
    def write(case: str, name: str) -> tuple[Program, Path]:
        program = programs_of_case(case)[name]
        path = folder / f"{case}_{program.file}"
        write_program(program, path)
        return program, path

    return write


@pytest.mark.parametrize("case", CASES)
def test_every_action_and_network_is_written_for_any_batch(case: str, programs) -> None:
    assert greatest_difference(*programs(case, "transform"), 5) < 1e-5


@pytest.mark.parametrize(
    ("case", "name", "place"),
    [
        ("volume", "transform", 1),
        ("volume", "decode", 2),
        ("volume", "encode", None),
        ("so3", "transform", 1),
        ("motions", "transform", 1),
    ],
)
def test_a_program_refuses_what_is_no_action(
    case: str, name: str, place: int | None, programs
) -> None:
    """Numbers out of range, between elements, or none; and a batch of nothing."""
    program, path = programs(case, name)
    written = torch.export.load(path).module()
    good = program.example(2)
    written(*good)
    for wrong in (4.0, -1.0, 0.3, math.nan) if place is not None else ():
        given = list(good)
        given[place] = good[place].clone()
        given[place][1] = wrong
        with pytest.raises(RuntimeError, match="action: a"):
            written(*given)
    with pytest.raises(RuntimeError, match="at least one record"):
        written(*(values[:0] for values in good))


@pytest.mark.parametrize("wrong", [4.0, -1.0, 0.5, math.nan])
def test_quarter_turns_are_whole_and_at_most_three(
    exported: Path, digits_dir: Path, wrong: float
) -> None:
    transform = torch.export.load(exported / "transform.pt2").module()
    frames = torch.from_numpy(PairStore(digits_dir).split("test").read(np.arange(2)).source)
    with pytest.raises(RuntimeError, match="action: a"):
        transform(frames, torch.tensor([[1.0], [wrong]]))


def test_frames_of_other_ranges_are_normalised_too(tmp_path: Path) -> None:
    """Half floats stored as 0 to 1, loaded as they are."""
    frames = FrameSpec((1, 8, 8), "float16", (0.0, 1.0), (0.0, 1.0))
    model = LatentActionModel(NETWORK, 0.5, frames, make_group("c4")).eval()
    transform = latent_action_programs(model)[0]
    write_program(transform, tmp_path / transform.file)
    assert greatest_difference(transform, tmp_path / transform.file, 5) < 1e-5


def test_mistakes_are_one_line_and_leave_nothing(
    digits_run: Path, exported: Path, tmp_path: Path
) -> None:
    def line(*words: str) -> str:
        return call(PROGRAM, *words).error_line

    assert "missing key run_dir" in line(f"out={tmp_path}/x")
    assert "overwrite=true" in line(str(digits_run), f"out={exported}")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    assert "an earlier export" in line(str(digits_run), f"out={tmp_path}/mine", "overwrite=true")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"
    assert "tolerance=2.0" in line(str(digits_run), f"out={tmp_path}/x", "tolerance=2.0")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("method", ["write_bytes", "read_bytes"])
def test_a_disk_that_fails_is_one_line(
    method: str, digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a program is written, and while it is read back to be compared."""
    sound = getattr(Path, method)

    def failing(path: Path, *content: bytes) -> Any:
        if path.suffix == ".pt2":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return sound(path, *content)

    monkeypatch.setattr(Path, method, failing)
    assert "No space left" in call(PROGRAM, str(digits_run), f"out={tmp_path}/x").error_line
    assert list(tmp_path.iterdir()) == []


def test_it_lies_in_the_run_directory_unless_told_otherwise_and_is_replaced_whole(
    digits_run: Path, exported: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(digits_run, run)
    out = run / "export"
    shutil.copytree(exported, out)
    (out / "old.pt2").write_text("left over")
    outcome = call(PROGRAM, str(run), "overwrite=true")
    assert outcome.code == 0, outcome.err
    assert {path.name for path in out.iterdir()} == {path.name for path in exported.iterdir()}


def test_other_tasks_are_refused(digits_run: Path, digits_dir: Path) -> None:
    class OtherTask:
        name = "decoder"

    run = load_run(digits_run)
    object.__setattr__(run.config, "task", OtherTask())
    with pytest.raises(ValueError, match=r"task\.name=decoder cannot be exported yet"):
        programs_of(run, read_manifest(digits_dir))
