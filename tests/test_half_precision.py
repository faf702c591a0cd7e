"""Protects laptops: a precision that their processor lacks is said, and not taken by itself."""

import dataclasses
from pathlib import Path

import pytest
import torch

from launch.reproduction.plan import PlannedRun
from launch.reproduction.steps import Places, Programs, run_steps
from pipeline.training.half_precision import complaint, has_bf16


@pytest.fixture(params=["AVX2", "AVX512"])
def capability(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: request.param)
    return str(request.param)


def test_what_a_processor_lacks_is_said(capability: str) -> None:
    lacks = capability == "AVX2"
    assert has_bf16("cpu") is not lacks
    for precision in ("bf16", "fp16"):
        warning = complaint(precision, "cpu")
        assert (warning is not None) is lacks
        assert warning is None or f"precision={precision}" in warning
    assert complaint("fp32", "cpu") is None


def test_a_gpu_is_not_asked_what_the_processor_can_do(capability: str) -> None:
    assert has_bf16("cuda")
    assert complaint("bf16", "cuda") is None


def test_runs_for_a_machine_differ_in_precision_and_place_alone() -> None:
    """One result for both, and two places of work, for neither can go on with the other's run."""
    words = ("experiment=rotated_mnist", "precision=bf16", "compile=true", "seed=3")
    planned = PlannedRun("digits", "method", 3, ("dataset=x",), words, (), ())
    here = dataclasses.replace(planned, has_bf16=False)
    assert planned.train_here == words
    assert here.train_here == (words[0], "precision=fp32", *words[2:])
    assert here.digest == planned.digest
    assert here.work_name != planned.work_name
    assert here.train_here[1] in run_steps(here, Places(Path("/work")), Programs())[0].command
    asks_for_nothing = dataclasses.replace(planned, train=("precision=fp16", "seed=0"))
    other = dataclasses.replace(asks_for_nothing, has_bf16=False)
    assert other.train_here == other.train
    assert other.work_name == asks_for_nothing.work_name
