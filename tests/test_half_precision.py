"""Protects laptops: a precision that their processor lacks is said, and not taken by itself."""

import pytest
import torch

from launch.reproduction.plan import words_here
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


def test_words_for_a_machine_differ_in_precision_alone() -> None:
    words = ("experiment=rotated_mnist", "precision=bf16", "compile=true", "seed=3")
    assert words_here(words, True) == words
    assert words_here(words, False) == (words[0], "precision=fp32", *words[2:])
    other = ("precision=fp16", "seed=0")
    assert words_here(other, False) == other
