"""Sequence labelling is measured as its definitions say."""

import numpy as np
import pytest
import torch
from helpers.preparing import prepare
from sklearn.metrics import accuracy_score, f1_score

from orbit.core.groups import make_group
from orbit.core.store.reader import PairStore
from pipeline.methods.sequence_labelling.settings import ConvolutionalConfig, FullyConnectedConfig
from pipeline.methods.sequence_labelling.task import SequenceLabeller, labelling_metrics, shifted


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    words = ("num_samples=8", "dataset.num_val_samples=2", "dataset.num_test_samples=30")
    return prepare(tmp_path_factory.mktemp("toy") / "data", "dataset=sequence_labelling", *words)


def labeller(
    store: PairStore, config: ConvolutionalConfig | FullyConnectedConfig
) -> SequenceLabeller:
    torch.manual_seed(0)
    group = make_group(store.manifest.group)
    return SequenceLabeller(config, group, store.manifest.frames).eval()


def test_scores_are_those_of_scikit_learn(store: PairStore) -> None:
    model, reader = labeller(store, FullyConnectedConfig("fc_only")), store.split("test")
    records = reader.read(np.arange(30))
    with torch.no_grad():
        said = model(model.normalise(torch.from_numpy(records.source))).numpy() > 0
    true = records.target.reshape(30, -1) > 0.5
    for batch in (7, 100):
        metrics = labelling_metrics(model, reader, None, batch)
        assert metrics["accuracy"] == pytest.approx(accuracy_score(true.ravel(), said.ravel()))
        assert metrics["f1"] == pytest.approx(f1_score(true.ravel(), said.ravel()))


def test_what_commutes_with_shifts_has_no_error(store: PairStore) -> None:
    model, reader = labeller(store, ConvolutionalConfig("fc_conv")), store.split("test")
    before = labelling_metrics(model, reader, None, 16)
    assert before["equivariance_error/first_layer"] > 0.5
    assert before["circulant_share"] < 0.05
    kernel = torch.randn(100)
    with torch.no_grad():
        model.first.weight.copy_(torch.stack([kernel.roll(row) for row in range(100)]))
        model.first.bias.fill_(0.3)
    after = labelling_metrics(model, reader, None, 16)
    assert after["circulant_share"] == pytest.approx(1)
    assert after["equivariance_error/first_layer"] < 1e-5
    assert after["equivariance_error/logits"] < 1e-4
    assert after["equivariance_error_centred/first_layer"] < 1e-4


def test_a_constant_hides_no_error(store: PairStore) -> None:
    """The bias adds the same to all outputs; only the form by the norm becomes small."""
    model, reader = labeller(store, ConvolutionalConfig("fc_conv")), store.split("test")
    plain, shifted_up = {}, {}
    for bias, found in ((0.0, plain), (100.0, shifted_up)):
        with torch.no_grad():
            model.first.bias.fill_(bias)
        found |= labelling_metrics(model, reader, None, 16)
    name = "equivariance_error_centred/first_layer"
    assert shifted_up[name] == pytest.approx(plain[name], rel=1e-3)
    assert plain[name] > 0.5
    assert shifted_up["equivariance_error/first_layer"] < 0.05 * plain[name]


def test_each_sequence_has_its_own_shift() -> None:
    sequences = torch.arange(24.0).view(3, 1, 1, 8)
    moved = shifted(sequences, torch.tensor([0, 3, 7]))
    for row, shift in enumerate((0, 3, 7)):
        assert torch.equal(moved[row], sequences[row].roll(shift, -1))
