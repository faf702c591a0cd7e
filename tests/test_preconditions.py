"""What can be known before the work is known before it, in one line and with no run directory."""

import os
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training import make_config, never_stop

from pipeline.data.loader import LoaderConfig
from pipeline.training import lifecycle as preconditions
from pipeline.training.lifecycle import check_precision, check_shared_memory
from pipeline.training.run import train
from pipeline.training.trainer import compile_mode, should_compile


def test_a_machine_that_cannot_compile_says_so_first(
    digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(function: Any) -> Any:
        def call(*_: Any) -> None:
            raise RuntimeError("No working C++ compiler found\n\nSet TORCHDYNAMO_VERBOSE=1 ...")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(ValueError, match=r"compile=true cannot.*No working.*compile=false") as told:
        train(make_config(digits_dir, tmp_path / "run", "compile=true"), never_stop())
    assert "VERBOSE" not in str(told.value)
    assert not (tmp_path / "run").exists()


def test_nothing_is_compiled_to_find_out_about_what_is_not_wanted(
    digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch, "compile")
    config = make_config(digits_dir, tmp_path / "run", "compile=false")
    preconditions.check_compiler(config, torch.device("cpu"))


def shared(num_bytes: int) -> Any:
    return lambda _: types.SimpleNamespace(f_bavail=num_bytes, f_frsize=1)


def test_too_little_shared_memory_is_found_before_a_worker_dies_of_it(
    digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", shared(2**20))
    words = ("loader.num_workers=2", "loader.prefetch=2")
    with pytest.raises(ValueError, match=r"/dev/shm, where 1.0 MiB are free.*num_workers=0"):
        train(make_config(digits_dir, tmp_path / "run", *words), never_stop())
    assert not (tmp_path / "run").exists()


def test_no_shared_memory_at_all_matters_to_workers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: str) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "statvfs", missing)
    check_shared_memory(LoaderConfig(num_workers=0), [])
    with pytest.raises(ValueError, match="/dev/shm, which is not here"):
        check_shared_memory(LoaderConfig(num_workers=1), [])


def test_tf32_is_refused_where_it_has_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "an old GPU")
    gpu = torch.device("cuda", 0)
    for capability, is_refused in (((7, 5), True), ((8, 0), False), ((9, 0), False)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        if is_refused:
            with pytest.raises(ValueError, match="no effect on an old GPU"):
                check_precision("tf32", gpu)
        else:
            assert check_precision("tf32", gpu) is None


def test_cuda_graphs_are_refused_where_there_is_no_gpu(digits_dir: Path, tmp_path: Path) -> None:
    """torch would compile without them, in silence: by the key, and by what `auto` found."""
    with pytest.raises(ValueError, match="compile=cuda_graphs has no effect on a CPU; allowed"):
        make_config(digits_dir, tmp_path / "run", "compile=cuda_graphs", "device=cpu")
    config = make_config(digits_dir, tmp_path / "run", "compile=cuda_graphs")
    with pytest.raises(ValueError, match="compile=cuda_graphs has no effect on a CPU; allowed"):
        preconditions.check_compiler(config, torch.device("cpu"))


def test_cuda_graphs_are_refused_with_accumulation(digits_dir: Path, tmp_path: Path) -> None:
    """A part's kernels write where the gradients of the part before still lie."""
    words = ("compile=cuda_graphs", "accumulation=2")
    with pytest.raises(ValueError, match="accumulation=2 cannot go with compile=cuda_graphs"):
        make_config(digits_dir, tmp_path / "run", *words)


@pytest.mark.parametrize(
    ("compile_", "device", "wanted"),
    [
        ("auto", "cpu", (False, None)),
        ("auto", "cuda", (True, None)),
        ("true", "cpu", (True, None)),
        ("false", "cuda", (False, None)),
        ("cuda_graphs", "cuda", (True, "reduce-overhead")),
    ],
)
def test_whether_and_how_a_device_compiles(
    compile_: str, device: str, wanted: tuple[bool, str | None], digits_dir: Path, tmp_path: Path
) -> None:
    config = make_config(digits_dir, tmp_path / "run", f"compile={compile_}")
    chosen = should_compile(config, torch.device(device)), compile_mode(config)
    assert chosen == wanted


@pytest.mark.parametrize("num_threads", [1025, 100_000])
def test_a_number_of_threads_that_would_end_the_process_is_refused(
    num_threads: int, digits_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"num_threads={num_threads} .*allowed: 1 to 1024"):
        train(make_config(digits_dir, tmp_path / "run", f"num_threads={num_threads}"), never_stop())
    assert not (tmp_path / "run").exists()
