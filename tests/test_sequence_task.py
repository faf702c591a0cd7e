"""Sequence labelling: a loss by places, a network that commutes with shifts behind a free layer."""

import math
from pathlib import Path

import pytest
import torch
from helpers.preparing import prepare
from helpers.training import (
    PATH_KEYS,
    StopAfter,
    final_weights,
    never_stop,
    reproducible_lines,
)

from orbit.core.config.compose import compose
from orbit.core.config.program import ExitWithCode
from orbit.core.config.schema import build
from orbit.core.groups import make_group
from orbit.core.store.manifest import FrameSpec
from pipeline.data.packing import Batch
from pipeline.methods.sequence_labelling.settings import (
    ConvolutionalConfig,
    FullyConnectedConfig,
)
from pipeline.methods.sequence_labelling.task import (
    SequenceEvaluation,
    SequenceLabeller,
    label_losses,
)
from pipeline.training.run import train
from pipeline.training.settings import TrainConfig

LENGTH = 20
SEQUENCES = FrameSpec((1, 1, LENGTH), "float16", (-2.0, 2.0), (-2.0, 2.0))


def make_model(config: ConvolutionalConfig | FullyConnectedConfig) -> SequenceLabeller:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SequenceLabeller(config, make_group(f"wrap1d:{LENGTH}:1"), SEQUENCES)


def test_the_loss_weighs_peaks() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.0]])
    labels = torch.tensor([[1.0, 0.0, 0.0]])
    wanted = (7 * math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1)) + math.log(2)) / 3
    assert label_losses(logits, labels, 7.0).tolist() == pytest.approx([wanted])


@torch.no_grad()
def test_what_follows_the_first_layer_commutes_with_shifts() -> None:
    x = torch.randn(4, LENGTH)
    convolutional = make_model(ConvolutionalConfig("fc_conv")).rest
    linear = make_model(FullyConnectedConfig("fc_only")).rest
    for shift in (1, 7):
        torch.testing.assert_close(convolutional(x.roll(shift, 1)), convolutional(x).roll(shift, 1))
        assert (linear(x.roll(shift, 1)) - linear(x).roll(shift, 1)).abs().max() > 1e-2


def test_evaluation_counts_places_and_leaves_padding_out() -> None:
    model = make_model(ConvolutionalConfig("fc_conv"))
    source = torch.randn(6, 1, 1, LENGTH).half()
    logits = model(model.normalise(source))
    target = (logits > 0).half().view_as(source)
    target[0, 0, 0, int(logits[0].argmax())] = 0  # one place that is called a peak and is none
    batch = Batch(
        source, target, torch.zeros(6, 1), torch.zeros(6, dtype=torch.int64), torch.ones(6)
    )
    valid = torch.tensor([1.0, 1, 1, 0, 0, 0])
    evaluation = SequenceEvaluation(model, 3.0)
    evaluation.update(batch._replace(valid=valid))
    metrics = evaluation.metrics(evaluation.sums())
    called = float((logits[:3] > 0).sum())
    assert metrics["precision"] == pytest.approx((called - 1) / called)
    assert metrics["recall"] == 1
    assert metrics["exact_sequences"] == pytest.approx(2 / 3)
    losses = label_losses(logits, target.flatten(1), 3.0)[:3]
    assert metrics["loss/total"] == pytest.approx(losses.mean().item())


@pytest.mark.parametrize("model", ["fc_conv", "fc_only"])
def test_a_stop_leaves_no_trace_and_peaks_are_learned(tmp_path: Path, model: str) -> None:
    words = ("num_samples=256", "dataset.num_val_samples=32", "dataset.num_test_samples=8")
    prepare(tmp_path / "data", "dataset=sequence_labelling", *words)
    configs = {
        name: build(
            TrainConfig,
            compose(
                "train",
                [
                    "experiment=sequence_labelling",
                    f"task.model.name={model}",
                    f"data={tmp_path / 'data'}",
                    f"run_dir={tmp_path / name}",
                    "epochs=20",
                    "accumulation=2",
                ],
                PATH_KEYS,
            ),
        )
        for name in ("whole", "cut")
    }
    train(configs["whole"], never_stop())
    with pytest.raises(ExitWithCode):
        train(configs["cut"], StopAfter(33))
    train(configs["cut"], never_stop())
    assert final_weights(tmp_path / "whole") == final_weights(tmp_path / "cut")
    lines = reproducible_lines(tmp_path / "whole")
    assert lines == reproducible_lines(tmp_path / "cut")
    found = [line for line in lines if line["split"] == "val"]
    assert found[-1]["loss/total"] < 0.7 * found[0]["loss/total"]
    assert 0 < found[-1]["circulant_share"] < 1


def test_pictures_are_refused() -> None:
    pictures = FrameSpec((1, 8, 8), "uint8", (0.0, 255.0), (0.0, 1.0))
    with pytest.raises(ValueError, match=r"needs sequences \(1, 1, L\), not \(1, 8, 8\)"):
        SequenceLabeller(FullyConnectedConfig("fc_only"), make_group("c4"), pictures)
