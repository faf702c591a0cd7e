"""Protects the labelled sinusoids: shifts lead to other sinusoids, labels stand at the maxima."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helpers.preparing import all_records, column, prepare, recipe_of
from helpers.programs import call
from helpers.spoiling import edit, refit_manifest

from data_prep.drawing.backgrounds import first_maximum, labels_of_maxima, sinusoids
from orbit.core.groups import make_group
from orbit.core.store.manifest import SPLITS
from orbit.core.store.reader import PairStore

pytestmark = pytest.mark.usefixtures("starts_are_warm")

DATASET = "dataset=sequence_labelling"
WORDS = (DATASET, "num_samples=300", "dataset.num_val_samples=40", "dataset.num_test_samples=50")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    out = tmp_path_factory.mktemp("sequences") / "dataset"
    return prepare(out, *WORDS, "dataset.shard_mib=0.05")


@pytest.mark.parametrize("split", SPLITS)
def test_labels_stand_at_the_largest_points(split: str, store: PairStore) -> None:
    records = all_records(store, split)
    num = {"train": 300, "val": 40, "test": 50}[split]
    assert records.source.shape == records.target.shape == (num, 1, 1, 100)
    values, labels = (part.reshape(num, 100) for part in (records.source, records.target))
    assert set(np.unique(labels)) == {0.0, 1.0}
    assert (labels.sum(1) == 2).all()
    assert np.array_equal(labels[:, :50].argmax(1), records.label)
    # Neighbours may be equal where the maximum lies between them, in half precision.
    for shift in (-1, 1):
        assert (np.roll(values, shift, 1)[labels > 0] <= values[labels > 0]).all()
    peak = values.max(1, keepdims=True)
    assert (values[labels > 0].reshape(num, 2) >= 0.998 * peak).all()
    assert not records.action.any()


def test_amplitude_and_phase_are_spread_and_are_the_columns(store: PairStore) -> None:
    amplitude, phase = (column(store, "train", name) for name in ("amplitude", "phase"))
    assert 0.5 <= amplitude.min() < 0.51
    assert 1.49 < amplitude.max() <= 1.5
    assert 0 <= phase.min() < 0.1
    assert 6.18 < phase.max() < 2 * np.pi
    values = all_records(store, "train").source.reshape(-1, 100)
    place = np.linspace(-2 * np.pi, 2 * np.pi, 101)[:-1]
    expected = amplitude[:, None] * np.sin(place + phase[:, None])
    assert np.allclose(values, expected, atol=1e-3)


def test_the_group_shifts_sequence_and_labels_alike() -> None:
    """A shift is a change of phase: of the sinusoid, and of where its maxima are."""
    group = make_group("wrap1d:100:1")
    shifts = np.array([0, 1, 7, 50, 99])
    phase, amplitude = np.full(5, 1.234), np.ones(5)
    moved_phase = phase - 2 * np.pi * 2 * shifts / 100
    g = torch.from_numpy(shifts)
    for draw in (
        lambda phase: sinusoids(amplitude, phase, 100, 2),
        lambda phase: labels_of_maxima(first_maximum(phase, 100, 2), 100, 2),
    ):
        frames = torch.from_numpy(draw(phase))[:, None, None]
        acted = group.act_on_image(frames, g)[:, 0, 0].numpy()
        assert np.allclose(acted, draw(moved_phase), atol=1e-12)


def test_the_bytes_do_not_depend_on_workers(store: PairStore, tmp_path: Path) -> None:
    again = prepare(tmp_path / "two", *WORDS, "dataset.shard_mib=0.05", num_workers=2)
    assert len(again.manifest.splits["train"].shards) > 1
    assert again.manifest == store.manifest
    whole = prepare(tmp_path / "whole", *WORDS)
    for split in SPLITS:
        for one, other in zip(all_records(store, split), all_records(whole, split), strict=True):
            assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("dataset.num_periods=3",), "num_periods=3 must divide num_points=100"),
        (("dataset.num_periods=50",), "at least four for each period"),
        (("dataset.amplitude=[1,0.5]",), "must ascend"),
        (("dataset.amplitude=[0,1]",), "must ascend between 0 and 100"),
        (("dataset.num_val_samples=0",), "num_val_samples=0 must be at least 1"),
        (("num_episodes=3",), "which holds no episodes"),
        (("source.name=sklearn",), "source=sklearn has no effect: sequence_labelling is drawn"),
    ],
)
def test_impossible_settings_are_one_line(words: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as error:
        recipe_of("out=x", DATASET, *words)
    assert "\n" not in str(error.value)


def test_verification_and_pictures(store: PairStore, tmp_path: Path) -> None:
    root = Path(shutil.copytree(store.root, tmp_path / "copy"))
    outcome = call("data_prep/verify.py", str(root))
    assert outcome.out.count("drawn again") == 3
    shown = call("data_prep/show.py", str(root))
    assert "pairs (sequence, labels of its maxima) under wrap1d:100:1" in shown.out
    assert (root / "contact_sheet.png").is_file()
    assert not (root / "episodes.gif").exists()

    def spoil(file: h5py.File) -> None:
        file["frames"][7, 0, 0, 3] = 0.5

    edit(root / "train/shard_00000.h5", spoil)
    refit_manifest(root)
    line = call("data_prep/verify.py", str(root)).error_line
    assert "train/shard_00000.h5: dataset target, row 3 shows other values" in line
