"""Protects generated brains: keyed draws, classes that differ, a shape that every turn changes."""

import itertools

import numpy as np
import pytest
from helpers.volumes import assert_reads_alike

from data_prep.settings.sources import PhantomSourceConfig
from data_prep.sources.phantom import FLUID, PhantomSource

NUM = 60


def source_of(seed: int = 0, num_samples: int | None = NUM, **settings) -> PhantomSource:
    return PhantomSource(PhantomSourceConfig("phantom", **settings), seed, num_samples)


def read_all(source: PhantomSource) -> np.ndarray:
    return source.read("all", np.arange(source.num_images["all"]))[0][:, 0]


def rotations(volume: np.ndarray) -> list[np.ndarray]:
    """The 24 turns of a cube."""
    turned = []
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            matrix = np.eye(3)[list(order)] * flips
            if np.linalg.det(matrix) > 0:
                turned.append(volume.transpose(order)[tuple(slice(None, None, f) for f in flips)])
    return turned


def test_reads_alike() -> None:
    source = source_of(num_samples=8)
    assert_reads_alike(source)
    assert source.read("all", np.arange(8))[1].tolist() == [0, 1] * 4
    assert source.checksums() == {}
    assert source.subjects("all") is None


def test_draws_are_keyed_by_seed_and_position() -> None:
    frames = read_all(source_of())
    assert (read_all(source_of(num_samples=NUM // 2)) == frames[: NUM // 2]).all()
    assert len({frame.tobytes() for frame in frames}) == NUM
    assert not (read_all(source_of(seed=1)) == frames).all((1, 2, 3)).any()
    assert source_of(num_samples=None).num_images == {"all": 600}


@pytest.mark.parametrize("side", [16, 31, 32, 48])
def test_brains_fill_the_ball_and_stay_within(side: int) -> None:
    """No voxel nearer than one to the inscribed ball, so that no rotation cuts anything off."""
    frames = read_all(source_of(num_samples=12, side=side, noise=0.2, bias=1.0))
    axis = np.arange(side) - (side - 1) / 2
    radius = np.sqrt(sum(part**2 for part in np.meshgrid(axis, axis, axis)))
    assert (frames[:, radius > (side - 1) / 2 - 1] == 0).all()
    assert (frames[:, radius < side / 8] > 0).mean() > 0.95
    assert 0.1 < (frames > 0).mean() < 0.3


def test_brains_are_lopsided() -> None:
    """Every turn of a brain, and its mirror image, differ from it more than it from noise."""
    for frame in read_all(source_of(num_samples=6, bias=0.0)).astype(float):
        inside = (frame > 0).mean()
        identity, *others = (np.abs(turned - frame).mean() for turned in rotations(frame))
        assert identity == 0
        assert min(others) > 10 * inside
        assert np.abs(frame[:, :, ::-1] - frame).mean() > 10 * inside


def ventricle_sizes(side: int) -> np.ndarray:
    """Dark voxels around the centre, in thousandths of the lattice, of each of NUM brains."""
    frames = read_all(source_of(side=side, noise=0.0, bias=0.0))
    low, high = round(0.36 * side), round(0.64 * side)
    centre = frames[:, round(0.46 * side) : round(0.64 * side), low:high, low:high]
    return (centre < 255 * (FLUID + 0.25)).sum((1, 2, 3)) / side**3 * 1000


def test_classes_differ_in_the_volume_of_the_ventricles() -> None:
    sizes = ventricle_sizes(48)
    usual, enlarged = sizes[::2], sizes[1::2]
    assert enlarged.mean() > 1.5 * usual.mean()
    threshold = np.sqrt(np.median(usual) * np.median(enlarged))
    assert ((usual < threshold).mean() + (enlarged > threshold).mean()) / 2 > 0.85


def test_noise_and_bias_have_their_strength() -> None:
    plain = read_all(source_of(num_samples=8, noise=0.0, bias=0.0)).astype(float)
    assert plain.max() > 250
    noisy = read_all(source_of(num_samples=8, noise=0.05, bias=0.0)).astype(float)
    is_middle = (plain > 60) & (plain < 200)
    assert (noisy - plain)[is_middle].std() == pytest.approx(0.05 * 255, rel=0.1)
    assert (noisy[plain == 0] == 0).mean() > 0.99
    biased = read_all(source_of(num_samples=8, noise=0.0, bias=0.5)).astype(float)
    ratio = biased[plain > 100] * 1.5 / plain[plain > 100]
    assert 0.5 <= ratio.min() + 0.02 < 0.9
    assert 1.1 < ratio.max() - 0.02 <= 1.5


def test_impossible_settings_are_refused() -> None:
    for settings in ({"side": 15}, {"noise": -0.1}, {"bias": 1.1}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            source_of(**settings)
