"""Protects the comparison of masks: it finds what two networks share, and no more than chance.

Channels that were matched by their masks, or a chance level that forgot how many channels are
variant, would make any two masks look alike.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from helpers.training import make_config, never_stop
from hypothesis import given
from hypothesis import strategies as st

from launch.reproduction.masks import comparison, mask_agreement, masks_table, match_channels
from launch.reproduction.results import flips, flips_by_epoch
from pipeline.training.run import train


@given(st.integers(0, 10**6))
def test_the_same_channels_in_another_order_are_found(seed: int) -> None:
    """Signs, scales and constants do not matter, and channels without variation are left out."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((60, 7))
    values[:, 2] = 5.0
    order = rng.permutation(7)
    other = values[:, order] * rng.choice([-3.0, 0.5], 7) + rng.standard_normal(7)
    found = match_channels(values, other)
    assert sorted(found.first.tolist()) == [0, 1, 3, 4, 5, 6]
    assert np.array_equal(order[found.second], found.first)
    np.testing.assert_allclose(found.correlation, 1.0)
    mask = rng.random(7) < 0.5
    agreement = mask_agreement(mask[found.first], mask[order][found.second])
    assert agreement.share == 1.0


def test_the_best_matching_is_of_all_pairs_together() -> None:
    """In closed form: channel 0 fits both others, but alone the second needs it."""
    base = np.eye(4)[:, :3] - 0.25
    first = np.stack([base[:, 0], base[:, 1]], 1)
    second = np.stack([base[:, 0] + 0.9 * base[:, 1], base[:, 0]], 1)
    found = match_channels(first, second)
    assert dict(zip(found.first.tolist(), found.second.tolist(), strict=True)) == {0: 1, 1: 0}
    assert match_channels(first, second[:, :1]).correlation.shape == (1,)


@given(st.lists(st.booleans(), min_size=2, max_size=6), st.data())
def test_chance_and_p_are_those_of_all_orders(first: list[bool], data: st.DataObject) -> None:
    """Enumerated: the mean agreement of all permutations, and the share that agree as often."""
    second = data.draw(st.lists(st.booleans(), min_size=len(first), max_size=len(first)))
    mask, other = np.array(first), np.array(second)
    found = mask_agreement(mask, other)
    shares = [(mask == other[list(o)]).mean() for o in itertools.permutations(range(len(first)))]
    assert found.share == pytest.approx((mask == other).mean())
    assert found.chance == pytest.approx(np.mean(shares))
    assert found.p_value == pytest.approx(np.mean([s >= found.share - 1e-9 for s in shares]))


def test_flips_are_counted_once(tmp_path: Path) -> None:
    """The last line of an epoch names the next one and holds the flips of the old one."""
    lines = [(0, 2.0), (0, 5.0), (1, 6.0), (1, 1.0), (2, 4.0), (2, 0.0), (3, 3.0)]
    text = [json.dumps({"epoch": e, "mask/flips_in_epoch": n}) for e, n in lines]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*text, '{"epoch": 3, "psnr": 20.0}']))
    assert flips_by_epoch(tmp_path / "metrics.jsonl") == [6.0, 4.0, 3.0]
    found = flips(tmp_path / "metrics.jsonl")
    assert found == {"mask/flips": 13.0, "mask/flips_in_last_epoch": 3.0}


def test_runs_are_compared_with_each_other_and_with_their_start(
    digits_dir: Path, tmp_path: Path
) -> None:
    """The same run twice is one network; other seeds have other masks."""
    for seed in (0, 1):
        words = ("epochs=1", "collapse.action=warn", f"seed={seed}", "optimizer.learning_rate=1e-9")
        train(make_config(digits_dir, tmp_path / str(seed), *words), never_stop())
    found = comparison([tmp_path / name for name in ("0", "0", "1")])
    shares = [pair["share"] for pair in found["pairs"]]
    assert shares[0] == 1.0
    assert shares[1] == shares[2] < 1.0
    assert found["pairs"][0]["correlation"] == pytest.approx(1.0)
    assert [start["share"] for start in found["starts"]] == [1.0] * 3, "it has hardly learned"
    assert [len(flips) for flips in found["flips"]] == [1, 1, 1]
    text = masks_table({"method": {"digests": {"0": "a", "1": "b"}, **found}}, ["method", "half"])
    rows = text.splitlines()[2:]
    assert rows[0].startswith("| `method` | 0, 1 | ")
    assert rows[1].startswith("| `half` | not run |")
