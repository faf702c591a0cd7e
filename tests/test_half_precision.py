"""Protects precision=auto and laptops: what a processor lacks is said, and not taken by itself.

The choice is a run's: made when it begins, written down, and no other machine's to change.
"""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from helpers.programs import call
from helpers.training import StopAfter, make_config, never_stop

from launch.cluster.settings import InlineConfig
from launch.reproduction.plan import Places, PlannedRun, Programs, run_steps
from launch.snapshot import Snapshot
from launch.sweeps import expansion as resolving
from launch.sweeps.plan import SweepDirectory
from launch.sweeps.submission import prepare_runs
from orbit.core.config.program import ExitWithCode
from pipeline import arithmetic as half_precision
from pipeline.arithmetic import (
    complaint,
    formats_of,
    native_formats,
    read_cpu_flags,
)
from pipeline.training import run
from pipeline.training.run_directory import RunDirectory
from pipeline.training.settings import TrainConfig

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
PROCESSORS = {
    "AVX2 alone": ({"avx2", "fma"}, set()),
    "AVX-512 without 16-bit units": ({"avx2", "avx512f", "avx512_vnni", "avx512_bitalg"}, set()),
    "Zen 4": ({"avx512f", "avx512_bf16"}, {"bf16"}),
    "Sapphire Rapids": ({"amx_bf16", "avx512_bf16", "avx512_fp16"}, {"bf16", "fp16"}),
    "Neoverse V1": ({"asimd", "asimdhp", "bf16"}, {"bf16", "fp16"}),
}


def set_processor(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    flags = frozenset(PROCESSORS[name][0])
    monkeypatch.setattr(half_precision, "read_cpu_flags", lambda: flags)


@pytest.mark.parametrize("name", PROCESSORS)
def test_formats_are_those_that_a_processor_has_units_for(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags, formats = PROCESSORS[name]
    assert formats_of(frozenset(flags)) == formats
    set_processor(monkeypatch, name)
    assert native_formats(CPU) == formats
    for precision in ("bf16", "fp16"):
        warning = complaint(precision, CPU)
        assert (warning is None) is (precision in formats)
        assert warning is None or f"precision={precision}" in warning
    assert complaint("fp32", CPU) is None


def test_flags_are_read_from_what_the_kernel_says(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu avx2\nbugs\t: x\n\nflags\t: other\n")
    assert read_cpu_flags(file) == {"fpu", "avx2"}
    file.write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert "bf16" in read_cpu_flags(file)
    file.write_bytes(b"\xff\xfe nothing of the kind\n")
    assert read_cpu_flags(file) == read_cpu_flags(tmp_path / "missing") == frozenset()


@pytest.mark.parametrize(("capability", "has_bf16"), [((7, 5), False), ((8, 0), True)])
def test_a_gpu_is_not_asked_what_the_processor_can_do(
    capability: tuple[int, int], has_bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_processor(monkeypatch, "AVX2 alone" if has_bf16 else "Zen 4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert ("bf16" in native_formats(GPU)) is has_bf16
    assert (complaint("bf16", GPU) is None) is has_bf16
    assert complaint("fp16", GPU) is None


def decided(data: Path, run_dir: Path, *words: str, stop_after: int | None = None) -> str:
    """The precision of a run after a start that asks for `auto`."""
    config = make_config(data, run_dir, "epochs=1", "precision=auto", *words)
    if stop_after is None:
        run.train(config, never_stop())
    else:
        with pytest.raises(ExitWithCode):
            run.train(config, StopAfter(stop_after))
    return RunDirectory(run_dir).read_config().precision


def test_what_was_decided_stays_on_machines_that_would_decide_otherwise(
    digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for first, other, expected in (
        ("AVX2 alone", "Zen 4", "fp32"),
        ("Zen 4", "AVX2 alone", "bf16"),
    ):
        run_dir = tmp_path / expected
        set_processor(monkeypatch, first)
        assert decided(digits_dir, run_dir, stop_after=3) == expected
        assert f"precision=auto: {expected}" in capsys.readouterr().out
        set_processor(monkeypatch, other)
        assert decided(digits_dir, run_dir) == expected
        said = capsys.readouterr().out
        assert "precision=auto" not in said
        assert ("slower than fp32" in said) is (expected == "bf16")
        # A finished run tells its result, on whatever machine it is asked.
        assert decided(digits_dir, run_dir) == expected
        with pytest.raises(ValueError, match=f"precision: {expected} -> fp16"):
            run.train(make_config(digits_dir, run_dir, "epochs=1", "precision=fp16"), never_stop())


def test_one_rank_without_bf16_decides_for_all(
    digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mixed(run.World):
        def all_gather(self, values: torch.Tensor) -> torch.Tensor:
            return torch.stack([values, torch.zeros_like(values)])

    set_processor(monkeypatch, "Zen 4")
    config = make_config(digits_dir, tmp_path / "run", "precision=auto")
    directory = RunDirectory(tmp_path / "run")
    assert run._decided(config, directory, run.World(0, 1, CPU)).precision == "bf16"
    assert run._decided(config, directory, Mixed(0, 1, CPU)).precision == "fp32"


def test_it_is_the_same_run_as_one_that_asked_for_it_by_name(
    digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_processor(monkeypatch, "AVX2 alone")
    assert decided(digits_dir, tmp_path / "auto") == "fp32"
    config = make_config(digits_dir, tmp_path / "named", "epochs=1", "precision=fp32")
    run.train(config, never_stop())
    weights = [
        next((tmp_path / name / "checkpoints").glob("step_*/model.safetensors")).read_bytes()
        for name in ("auto", "named")
    ]
    assert weights[0] == weights[1]


def test_evaluation_and_description_name_what_was_decided(digits_run: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(digits_run, run_dir)
    directory = RunDirectory(run_dir)
    directory.write_config(dataclasses.replace(directory.read_config(), precision="bf16"))
    words = (f"run_dir={run_dir}", "pictures=false", "analyses=false")
    assert "trained in bf16:" in call("pipeline/evaluate.py", *words).out
    (file,) = (run_dir / "evaluations").glob("*-test.json")
    assert '"trained_in": "bf16"' in file.read_text()
    assert "trained in bf16" in " ".join(call("pipeline/describe.py", str(run_dir)).out.split())


def test_submitting_a_sweep_again_leaves_decided_what_its_runs_decided(tmp_path: Path) -> None:
    directory = SweepDirectory(tmp_path)
    config = dataclasses.replace(
        make_config(Path("/data"), tmp_path / "runs" / "a"), precision="auto"
    )
    planned = resolving.PlannedRun("a", {}, config)
    code = Snapshot(tmp_path, "0" * 16)

    def submit(config: TrainConfig) -> str:
        now = dataclasses.replace(planned, config=config)
        prepare_runs([now], directory, InlineConfig("inline"), code, stage=False)
        return RunDirectory(tmp_path / "runs" / "a").read_config().precision

    assert submit(config) == "auto", "the run's first rank decides"
    written = RunDirectory(tmp_path / "runs" / "a")
    written.write_config(dataclasses.replace(config, precision="bf16"))
    assert submit(config) == "bf16"
    with pytest.raises(ValueError, match="precision: bf16 -> fp32"):
        submit(dataclasses.replace(config, precision="fp32"))


def test_runs_for_a_machine_differ_in_precision_and_place_alone() -> None:
    """Each has its own result and place of work: neither can go on with the other's run."""
    words = ("experiment=rotated_mnist", "precision=bf16", "compile=true", "seed=3")
    planned = PlannedRun("digits", "method", 3, ("dataset=x",), words, (), ())
    here = dataclasses.replace(planned, has_bf16=False)
    assert planned.train_here == words
    assert here.train_here == (words[0], "precision=fp32", *words[2:])
    assert here.digest != planned.digest
    assert here.work_name != planned.work_name
    assert here.train_here[1] in run_steps(here, Places(Path("/work")), Programs())[0].command
    asks_for_nothing = dataclasses.replace(planned, train=("precision=fp16", "seed=0"))
    other = dataclasses.replace(asks_for_nothing, has_bf16=False)
    assert other.train_here == other.train
    assert other.work_name == asks_for_nothing.work_name


def test_what_a_launcher_wrote_undecided_is_no_other_configuration(
    digits_dir: Path, tmp_path: Path
) -> None:
    """A search writes the configuration of a trial before it trains."""
    directory = RunDirectory(tmp_path / "run")
    config = make_config(digits_dir, directory.path, "precision=auto", "epochs=1")
    directory.path.mkdir()
    directory.write_config(config)
    run.train(config, never_stop())
    assert directory.read_config().precision in ("fp32", "bf16")
    with pytest.raises(ValueError, match="precision"):
        run.train(dataclasses.replace(config, precision="fp16"), never_stop())
