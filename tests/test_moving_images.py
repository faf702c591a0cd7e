"""Protects how preparation moves many images: by views of arrays the same bits as by the group,
whatever the blocks, and sums that count moved frames without looking at them.
"""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helpers.preparing import prepare, recipe_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_prep.building import builder
from data_prep.building.shard_writer import FrameSums
from data_prep.recipes import orbits
from data_prep.scenes.acting import axis_motions, move_images
from orbit.core.groups import make_group
from orbit.core.store.manifest import SPLITS

LATTICES = [("c4", 2), ("c4", 3), ("d4", 2), ("octahedral", 3)]


@pytest.mark.parametrize(("group", "num_axes"), LATTICES)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_views_move_as_the_group_does(group: str, num_axes: int, seed: int) -> None:
    """For orbits, where a column holds one element, and for drawn elements, where it does not."""
    rng = np.random.default_rng(seed)
    acting = make_group(group)
    side = int(rng.integers(1, 8))
    images = rng.integers(0, 256, (5, 2, *(side,) * num_axes), np.uint8)
    orbit = acting.elements().expand(5, -1)
    drawn = acting.sample(rng, 15).view(5, 3)
    assert axis_motions(group, num_axes) is not None
    for g in (orbit, drawn):
        out = np.empty((5, g.shape[1], *images.shape[1:]), np.uint8)
        move_images(acting, images, g, out)
        for column in range(g.shape[1]):
            expected = acting.act_on_image(torch.from_numpy(images), g[:, column])
            np.testing.assert_array_equal(out[:, column], expected.numpy())


@pytest.mark.parametrize("group", ["so2", "wrap2d:8:2", "c4+wrap:8:4"])
def test_groups_that_move_otherwise_move_themselves(group: str) -> None:
    acting = make_group(group)
    assert axis_motions(group, 2) is None
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 8, 8), np.uint8)
    g = acting.sample(np.random.default_rng(1), 8)
    g = g.view(4, 2, *g.shape[1:])
    out = np.empty((4, 2, 1, 8, 8), np.uint8)
    move_images(acting, images, g, out)
    for column in range(2):
        expected = acting.act_on_image(torch.from_numpy(images), g[:, column])
        np.testing.assert_array_equal(out[:, column], expected.numpy())


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 70_000), num=st.integers(1, 4))
@settings(max_examples=30)
def test_sums_are_those_of_all_values(seed: int, size: int, num: int) -> None:
    """Of the largest values, too, in frames larger than what is summed at a time; and a weight
    counts as that many copies."""
    rng = np.random.default_rng(seed)
    channels = int(rng.integers(1, 4))
    low = int(rng.choice([0, 250, 255]))
    frames = rng.integers(low, 256, (num, channels, 1, size), np.uint8)
    weights = rng.integers(0, 4, num)
    weighted, repeated = FrameSums.zero(channels), FrameSums.zero(channels)
    weighted.add_frames(frames, weights)
    copies = np.repeat(frames, weights, axis=0)
    repeated.add_frames(copies)
    wide = copies.swapaxes(0, 1).reshape(channels, -1).astype(np.int64)
    for sums in (weighted, repeated):
        assert sums.total.tolist() == wide.sum(1).tolist()
        assert sums.total_squared.tolist() == (wide**2).sum(1).tolist()
        assert sums.num_values == wide.shape[1]


WORDS = {
    "orbit": ["dataset.group=d4"],
    "drawn": ["dataset.group=so2", "dataset.num_drawn=3"]
    + [f"dataset.{split}_pairs=drawn" for split in SPLITS],
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(20):
        pixels = rng.integers(0, 256, (24, 24, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
    return root


@pytest.mark.parametrize("case", list(WORDS))
def test_records_do_not_depend_on_blocks(
    case: str, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("dataset=image_folder", f"source.root={pictures}", "out=out", *WORDS[case])
    found = []
    for num_bytes in (1, 40_000, 2**25):
        monkeypatch.setattr(orbits, "BLOCK_BYTES", num_bytes)
        recipe = recipe_of(*words)
        blocks = [block for plan in recipe.plans() for block in recipe.blocks(plan)]
        found.append(
            [
                np.concatenate([getattr(block, name) for block in blocks]).tobytes()
                for name in ("frames", "source", "target", "action", "label")
            ]
        )
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("case", list(WORDS))
def test_statistics_are_those_of_the_frames(case: str, pictures: Path, tmp_path: Path) -> None:
    words = ("dataset=image_folder", f"source.root={pictures}", *WORDS[case])
    store = prepare(tmp_path / "out", *words)
    for name, split in store.manifest.splits.items():
        frames = np.concatenate([shard["frames"] for shard in store.split(name)._open()])
        loaded = frames.swapaxes(0, 1).reshape(3, -1) / 255 * 2 - 1
        np.testing.assert_allclose(split.statistics.mean, loaded.mean(1), atol=1e-9)
        np.testing.assert_allclose(split.statistics.std, loaded.std(1), atol=1e-9)


def test_shards_name_few_files(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards of a folder of a million pictures are not made of their names; the manifest is."""
    monkeypatch.setattr(builder, "MAX_CHECKSUMS", 19)
    store = prepare(tmp_path / "out", "dataset=image_folder", f"source.root={pictures}")
    with h5py.File(store.root / "test" / "shard_00000.h5") as shard:
        named = json.loads(shard.attrs["source_checksums"])
    assert named["num_files"] == len(store.manifest.source_checksums) == 20
    assert len(named["sha256"]) == 64
