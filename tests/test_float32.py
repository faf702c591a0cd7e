"""What is measured is measured in float32, and settings of torch come back as they were."""

import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.training import make_config, never_stop

from pipeline import exporting
from pipeline.application import apply_run
from pipeline.arithmetic import (
    CUBLAS_WORKSPACE,
    deterministic_algorithms,
    exact_float32,
    float32_arithmetic,
)
from pipeline.description import facts
from pipeline.evaluation import evaluate_run
from pipeline.methods.latent_action.objective import LatentActionObjective
from pipeline.probing import classify_run
from pipeline.training.distributed import World, evaluate
from pipeline.training.run import train

CPU = World(0, 1, torch.device("cpu"))


def tf32() -> tuple[bool, bool]:
    """Whether matrix products, and convolutions, may use TF32."""
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture(autouse=True, params=[(False, True), (True, True), (False, False)])
def before(request: pytest.FixtureRequest) -> Iterator[tuple[bool, bool]]:
    """Settings from outside: torch's own, and others."""
    own = tf32()
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = request.param
    yield request.param
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = own


def test_contexts_set_and_give_back(before: tuple[bool, bool]) -> None:
    with float32_arithmetic("tf32"):
        assert tf32() == (True, True)
        with exact_float32():
            assert tf32() == (False, False)
        assert tf32() == (True, True)
    assert tf32() == before
    for precision in ("fp32", "bf16", "fp16"):
        with float32_arithmetic(precision):
            assert tf32() == (False, False)
    with pytest.raises(KeyError), exact_float32():
        raise KeyError
    assert tf32() == before


def test_an_evaluation_is_exact_whatever_trains(before: tuple[bool, bool]) -> None:
    seen = []

    class Recording:
        def update(self, batch: Any) -> None:
            seen.append(tf32())

        def sums(self) -> torch.Tensor:
            return torch.zeros(1)

        def metrics(self, sums: torch.Tensor) -> dict[str, float]:
            return {}

    with float32_arithmetic("tf32"):
        evaluate(Recording(), [None], CPU)  # type: ignore[list-item]
        assert tf32() == (True, True)
    assert seen == [(False, False)]


class Reached(Exception):
    """The program has come to where it reads the run."""


PROGRAMS: dict[Any, Callable[[], object]] = {
    apply_run: lambda: apply_run.apply_run(_anything()),
    classify_run: lambda: classify_run.classify_run(_anything()),
    evaluate_run: lambda: evaluate_run.evaluate_run(_anything()),
    exporting: lambda: exporting.export_run(_anything()),
    facts: lambda: facts.describe_run(_anything().run_dir),
}


def _anything() -> Any:
    from pathlib import Path

    return SimpleNamespace(
        run_dir=Path("nowhere"),
        checkpoint="best",
        data=None,
        num_threads=1,
        device="cpu",
        out_dir=Path("out"),
        overwrite=False,
    )


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_every_program_that_uses_a_model_is_exact(
    program: Any, before: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def reached(*_: Any, **__: Any) -> None:
        seen.append(tf32())
        raise Reached

    for name in ("load_run", "RunDirectory"):
        if hasattr(program, name):
            monkeypatch.setattr(program, name, reached)
    with pytest.raises(Reached):
        PROGRAMS[program]()
    assert seen == [(False, False)]
    assert tf32() == before


def test_a_training_step_is_exact_unless_asked_otherwise(
    digits_dir: Any, tmp_path: Any, before: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, seen = LatentActionObjective.forward, set()

    def recording(self: LatentActionObjective, *batch: torch.Tensor) -> object:
        seen.add((tf32(), torch.are_deterministic_algorithms_enabled()))
        return forward(self, *batch)

    monkeypatch.setattr(LatentActionObjective, "forward", recording)
    words = ("epochs=1", "num_train_items=64", "deterministic=true", "collapse.action=warn")
    train(make_config(digits_dir, tmp_path / "run", *words), never_stop())
    assert seen == {((False, False), True)}
    assert tf32() == before
    assert not torch.are_deterministic_algorithms_enabled()


def choices() -> tuple[object, ...]:
    from torch._inductor import config as compiler

    return (
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
        os.environ.get(CUBLAS_WORKSPACE),
        getattr(compiler, "deterministic", None),
    )


@pytest.mark.parametrize("workspace", [None, ":16:8"])
def test_deterministic_algorithms_are_chosen_and_given_back(
    workspace: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workspace that the user has chosen stays."""
    monkeypatch.delenv(CUBLAS_WORKSPACE, raising=False)
    if workspace is not None:
        monkeypatch.setenv(CUBLAS_WORKSPACE, workspace)
    outside = choices()
    with deterministic_algorithms(False):
        assert choices() == outside
    inside: list[tuple[object, ...]] = []

    def fail() -> None:
        inside.append(choices())
        raise KeyError

    with pytest.raises(KeyError), deterministic_algorithms(True):
        fail()
    (found,) = inside
    assert found[:6] == (True, False, True, True, False, workspace or ":4096:8")
    assert found[6] in (None, True)
    assert choices() == outside


@pytest.mark.gpu
def test_convolutions_and_products_are_exact_on_a_gpu() -> None:
    """Their error against float64 is that of float32, a thousandth of TF32's."""
    torch.manual_seed(0)
    image, kernel = torch.randn(8, 64, 32, 32), torch.randn(64, 64, 3, 3)
    wanted = torch.nn.functional.conv2d(image.double(), kernel.double())
    square = torch.randn(512, 512)
    with float32_arithmetic("tf32"), exact_float32():
        found = torch.nn.functional.conv2d(image.cuda(), kernel.cuda()).cpu().double()
        product = (square.cuda() @ square.cuda()).cpu().double()
    assert (found - wanted).abs().max() < 1e-3
    assert (product - square.double() @ square.double()).abs().max() < 1e-3


@pytest.mark.gpu
def test_a_deterministic_run_has_the_same_bits_on_a_gpu(digits_dir: Any, tmp_path: Any) -> None:
    from helpers.training import final_weights

    words = ("epochs=1", "deterministic=true", "device=cuda", "compile=false")
    for name in ("one", "two"):
        train(make_config(digits_dir, tmp_path / name, *words), never_stop())
    assert final_weights(tmp_path / "one") == final_weights(tmp_path / "two")
