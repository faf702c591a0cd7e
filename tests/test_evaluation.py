"""Metrics equal their definitions, whatever the batch size, padding or number of ranks."""

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.programs import call
from helpers.training import make_config, never_stop

from orbit.core.store.reader import PairStore
from pipeline.data.batches import EvaluationBatches
from pipeline.data.loader import Loader, LoaderConfig
from pipeline.evaluation import evaluate_run
from pipeline.measuring import Subject
from pipeline.methods.latent_action.evaluation import LatentActionEvaluation
from pipeline.methods.latent_action.objective import latent_losses, run_pairs
from pipeline.methods.latent_action.settings import LatentLosses, LossWeights
from pipeline.metrics.similarity import structural_similarity
from pipeline.runs import load_run
from pipeline.settings import EvaluateConfig
from pipeline.training.distributed import World, evaluate
from pipeline.training.run import train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run_dir(digits_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluated") / "run"
    train(make_config(digits_dir, out), never_stop())
    return out


def metrics_at(run_dir: Path, data: Path, batch: int) -> dict[str, float]:
    run = load_run(run_dir)
    batches = EvaluationBatches(PairStore(data).split("test"), batch, 0, 1)
    loader = Loader(batches, 0, batches.num_steps, CPU, LoaderConfig())
    return evaluate(run.task.evaluation(run.model), loader, World(0, 1, CPU))


def test_batch_size_and_padding_do_not_matter(run_dir: Path, digits_dir: Path) -> None:
    exact, odd = metrics_at(run_dir, digits_dir, 120), metrics_at(run_dir, digits_dir, 77)
    assert exact.keys() == odd.keys()
    for name in exact:
        assert exact[name] == pytest.approx(odd[name], rel=1e-6), name


def test_sums_of_two_ranks_add_up(run_dir: Path, digits_dir: Path) -> None:
    run = load_run(run_dir)
    whole = metrics_at(run_dir, digits_dir, 64)
    total = None
    for rank in (0, 1):
        batches = EvaluationBatches(PairStore(digits_dir).split("test"), 64, rank, 2)
        evaluation = run.task.evaluation(run.model)
        for batch in Loader(batches, 0, batches.num_steps, CPU, LoaderConfig()):
            evaluation.update(batch)
        total = evaluation.sums() if total is None else total + evaluation.sums()
    assert total is not None
    halves = run.task.evaluation(run.model).metrics(total)
    for name in whole:
        assert whole[name] == pytest.approx(halves[name], rel=1e-6), name


def test_metrics_follow_their_definitions(run_dir: Path, digits_dir: Path) -> None:
    metrics = metrics_at(run_dir, digits_dir, 64)
    model = load_run(run_dir).model
    reader = PairStore(digits_dir).split("test")
    records = reader.read(np.arange(reader.num_records))
    x = torch.from_numpy(records.source) / 127.5 - 1
    gx = torch.from_numpy(records.target) / 127.5 - 1
    g = torch.from_numpy(records.action)[:, 0].long()
    with torch.no_grad():
        output, z, zg = model.transform(x, g), model.encode(x), model.encode(gx)
    error = ((output - gx) / 2).double().square()
    assert metrics["psnr"] == pytest.approx(-10 * math.log10(error.mean()), rel=1e-6)
    for k, name in enumerate(("0", "90", "180", "270")):
        wanted = -10 * math.log10(error[g == k].mean())
        assert metrics[f"psnr/{name}"] == pytest.approx(wanted, rel=1e-6)
    assert metrics["loss/recon"] == pytest.approx(4 * float(error.mean()), rel=1e-5)
    turned = torch.stack([v.rot90(int(k), (-2, -1)) for v, k in zip(z.variant, g, strict=True)])
    moved = g != 0
    norm = zg.variant[moved].double().norm()
    wanted = (turned - zg.variant)[moved].double().norm() / norm
    assert metrics["equivariance_error/variant"] == pytest.approx(float(wanted), rel=1e-5)
    centred = zg.variant[moved] - zg.variant[moved].mean(0)
    wanted = (turned - zg.variant)[moved].double().norm() / centred.double().norm()
    assert metrics["equivariance_error/variant_centred"] == pytest.approx(float(wanted), rel=1e-5)
    change = (z.invariant - zg.invariant)[moved].double().norm()
    wanted = change / zg.invariant[moved].double().norm()
    assert metrics["invariance_error/invariant"] == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("kind", ["stop_gradient", "relative"])
def test_latent_losses_are_those_that_training_minimises(
    kind: LatentLosses, run_dir: Path, digits_dir: Path
) -> None:
    """Though validation sums them its own way, a few records at a time."""
    model = load_run(run_dir).model
    batches = EvaluationBatches(PairStore(digits_dir).split("test"), 120, 0, 1)
    (batch,) = Loader(batches, 0, 1, CPU, LoaderConfig())
    found = evaluate(
        LatentActionEvaluation(model, LossWeights(), kind=kind), [batch], World(0, 1, CPU)
    )
    with torch.no_grad():
        pairs = run_pairs(model, batch.source, batch.target, batch.action)
        wanted = latent_losses(pairs, kind)
    valid = batch.valid > 0
    for name, losses in zip(("invariance", "consistency"), wanted, strict=True):
        mean = losses[valid].double().mean().item()
        assert found[f"loss/{name}"] == pytest.approx(mean, rel=1e-5), name


def test_errors_of_parts_without_channels_are_left_out(digits_dir: Path, tmp_path: Path) -> None:
    """Nothing differs there from nothing, which is no merit."""
    for fraction, missing in (("0.0", "equivariance_error/variant"), ("1.0", "invariance_error")):
        mask = ("task.mask.name=fixed", f"task.mask.variant_fraction={fraction}")
        words = (*mask, "epochs=1", "collapse.action=warn")
        config = make_config(digits_dir, tmp_path / fraction, *words)
        metrics = train(config, never_stop())["metrics"]
        assert not any(name.startswith(missing) for name in metrics)
        assert any(name.startswith(("equivariance", "invariance")) for name in metrics)


def test_elements_that_training_did_not_know_are_told_apart(
    run_dir: Path, digits_dir: Path
) -> None:
    run = load_run(run_dir)
    batches = EvaluationBatches(PairStore(digits_dir).split("test"), 64, 0, 1)
    loader = Loader(batches, 0, batches.num_steps, CPU, LoaderConfig())
    evaluation = LatentActionEvaluation(run.model, LossWeights(), "action", ["0", "180"])
    metrics = evaluate(evaluation, loader, World(0, 1, CPU))

    def joint(*names: str) -> float:
        errors = [10 ** (-metrics[f"psnr/{name}"] / 10) for name in names]
        return -10 * math.log10(sum(errors) / len(errors))

    assert metrics["psnr_seen_elements"] == pytest.approx(joint("0", "180"))
    assert metrics["psnr_unseen_elements"] == pytest.approx(joint("90", "270"))


def test_a_perfect_model_has_perfect_metrics(digits_dir: Path) -> None:
    """An evaluation fed outputs equal to the truth: SSIM 1 and the PSNR cap."""
    from pipeline.metrics.images import psnr

    images = torch.rand(4, 1, 16, 16)
    torch.testing.assert_close(structural_similarity(images, images), torch.ones(4).double())
    assert psnr(0.0) == 100.0
    assert psnr(0.01) == pytest.approx(20.0)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 16, 20), (1, 8, 8, 8), (2, 16, 12, 20)])
def test_similarity_is_the_library_s(shape: tuple[int, ...]) -> None:
    from torchmetrics.functional.image import structural_similarity_index_measure

    torch.manual_seed(0)
    wanted = torch.rand(3, *shape)
    output = (wanted + 0.3 * torch.randn(3, *shape)).clamp(0, 1)
    expected = structural_similarity_index_measure(output, wanted, data_range=1.0, reduction="none")
    found = structural_similarity(output, wanted).float()
    torch.testing.assert_close(found, expected.view(3), rtol=1e-4, atol=1e-5)
    assert (found < 0.99).all()


def test_volumes_are_evaluated(volume_dir: Path, tmp_path: Path) -> None:
    words = ("global_batch=4", "epochs=1", "collapse.action=warn", "validation_batch=5")
    result = train(make_config(volume_dir, tmp_path / "run", *words), never_stop())
    assert all(math.isfinite(value) for value in result["metrics"].values())


def test_program_writes_metrics_and_picture(run_dir: Path, digits_dir: Path) -> None:
    done = call("pipeline/evaluate.py", f"run_dir={run_dir}", "json=true")
    result = json.loads(done.out)
    step = result["step"]
    written = json.loads((run_dir / "evaluations" / f"step_{step:08d}-test.json").read_text())
    assert written == result
    assert {"step", "split", "metrics"} <= set(written)
    assert (run_dir / "orbits.png").read_bytes().startswith(b"\x89PNG")
    names = set(written["metrics"])
    validation = json.loads((run_dir / "result.json").read_text())["metrics"]
    assert names > set(validation)
    assert call("pipeline/evaluate.py", f"run_dir={run_dir}", "analyses=false").code == 0
    written = json.loads((run_dir / "evaluations" / f"step_{step:08d}-test.json").read_text())
    assert set(written["metrics"]) == set(validation)


def test_missing_checkpoints_are_one_line(run_dir: Path, tmp_path: Path) -> None:
    done = call("pipeline/evaluate.py", f"run_dir={run_dir}", "checkpoint=12345")
    assert "no checkpoint of step 12345" in done.error_line
    done = call("pipeline/evaluate.py", f"run_dir={run_dir}", "checkpoint=newest")
    assert "allowed: best, last, a step" in done.error_line
    assert "no run at" in call("pipeline/evaluate.py", f"run_dir={tmp_path}").error_line


def test_live_channels_are_counted(run_dir: Path, digits_dir: Path) -> None:
    run = load_run(run_dir)
    with torch.no_grad():
        for parameter in run.model.encoder[2].parameters():
            parameter[0] = 0.0
    evaluation = LatentActionEvaluation(run.model, LossWeights())
    batches = EvaluationBatches(PairStore(digits_dir).split("test"), 120, 0, 1)
    loader = Loader(batches, 0, 1, CPU, LoaderConfig())
    metrics = evaluate(evaluation, loader, World(0, 1, CPU))
    assert metrics["mask/live_channels"] == run.model.latent_shape[0] - 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_metrics_that_are_not_finite_are_refused_and_not_written(
    value: float, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of finite weights too."""
    shutil.rmtree(run_dir / "evaluations", ignore_errors=True)
    monkeypatch.setattr(evaluate_run, "evaluate", lambda *_: {"loss/total": 0.5, "bad": value})
    outcome = call("pipeline/evaluate.py", f"run_dir={run_dir}", "analyses=false")
    assert outcome.code == 1
    assert "bad of" in outcome.error_line
    assert "is not finite: nothing was written" in outcome.error_line
    assert not list(run_dir.glob("evaluations/*"))


def test_the_group_is_left_before_one_rank_analyses(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others that waited for it would lose their patience and take the first rank with them."""
    log: list[str] = []

    @contextmanager
    def join(*_: object) -> Iterator[World]:
        log.append("joined")
        yield World(0, 1, CPU)
        log.append("left")

    def measure(_: Subject) -> SimpleNamespace:
        log.append("measured")
        return SimpleNamespace(metrics={}, curves={})

    analyses = SimpleNamespace(measure=measure, draw=lambda _: log.append("drawn"), metrics=())
    monkeypatch.setattr(evaluate_run, "join_world", join)
    monkeypatch.setattr(evaluate_run, "write_events", lambda *_: None)
    monkeypatch.setattr(evaluate_run, "method_of", lambda _: analyses)
    evaluate_run.evaluate_run(EvaluateConfig(run_dir=str(run_dir), device="cpu"))
    assert log == ["joined", "left", "measured", "drawn"]
    shutil.rmtree(run_dir / "evaluations")
