"""Protects the search for the group that pairs obey when no group element is given."""

import json
import math
from pathlib import Path

import pytest
import torch
from helpers.programs import call
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import discovery
from pipeline.discovery import (
    MAX_SIDE,
    Candidate,
    Elements,
    candidates,
    densities,
    discover,
    infer_elements,
    moved,
    reduced,
)

HIDDEN = {
    "C1": (1, False),
    "C2": (2, False),
    "C4": (4, False),
    "C8": (8, False),
    "SO(2)": (None, False),
    "D1": (1, True),
    "D4": (4, True),
    "O(2)": (None, True),
}


def drawn(name: str, seed: int, num: int, error: float, share: float) -> Elements:
    """Elements of a hidden subgroup with normal errors, and a share of arbitrary ones."""
    num_turns, mirrored = HIDDEN[name]
    rng = torch.Generator().manual_seed(seed)
    anything = 2 * math.pi * torch.rand(num, generator=rng)
    angle = anything
    if num_turns is not None:
        angle = torch.randint(num_turns, (num,), generator=rng) * (2 * math.pi / num_turns)
        angle = angle + error * torch.randn(num, generator=rng)
    reflects = (torch.rand(num, generator=rng) < 0.5) & mirrored
    is_lost = torch.rand(num, generator=rng) < share
    flips = torch.rand(num, generator=rng) < 0.5
    return Elements(torch.where(is_lost, anything, angle), torch.where(is_lost, flips, reflects))


@pytest.mark.parametrize("name", HIDDEN)
@given(seed=st.integers(0, 2**31), share=st.sampled_from([0.0, 0.1]))
@settings(max_examples=8)
def test_a_hidden_group_is_found_and_hardly_doubted(name: str, seed: int, share: float) -> None:
    found = discover(drawn(name, seed, 400, math.radians(1), share), seed=seed)
    assert found.name == name
    assert found.doubt < 1e-3
    assert found.unstable < 0.05


def test_few_and_poor_elements_are_doubted() -> None:
    """Three quarter turns fit C4 and finer groups nearly as well."""
    angle = torch.tensor([0.0, math.pi / 2, math.pi])
    found = discover(Elements(angle, torch.zeros(3, dtype=torch.bool)))
    assert found.name == "C4"
    assert found.doubt > 0.02 or found.unstable > 0.1


@pytest.mark.parametrize("candidate", candidates(6), ids=lambda each: each.name)
def test_densities_have_the_integral_one(candidate: Candidate) -> None:
    angle = torch.linspace(-math.pi, math.pi, 20001)[:-1].double()
    total = sum(
        densities(candidate, Elements(angle, torch.full_like(angle, flip, dtype=torch.bool)), 0.1)
        for flip in (0, 1)
    )
    assert isinstance(total, torch.Tensor)
    assert float(total.mean()) * 2 * math.pi == pytest.approx(1, abs=1e-5)


def blob(num: int) -> torch.Tensor:
    """Images without any symmetry, (N, 1, 24, 24)."""
    rng = torch.Generator().manual_seed(0)
    small = torch.rand(num, 1, 6, 6, generator=rng)
    large = torch.nn.functional.interpolate(small, (24, 24), mode="bilinear")
    y, x = torch.meshgrid(*2 * [torch.linspace(-1, 1, 24)], indexing="ij")
    return large * (x.square() + y.square() < 0.8)


@pytest.mark.parametrize("reflects", [False, True])
def test_the_element_of_a_pair_is_inferred(reflects: bool) -> None:
    images, angles = blob(8), torch.linspace(-3, 3, 8)[:, None]
    found, left = infer_elements(images, moved(images, angles, reflects)[:, 0])
    assert found.reflects.tolist() == [reflects] * 8
    off = (found.angle - angles[:, 0] + math.pi) % (2 * math.pi) - math.pi
    assert off.abs().max() < math.radians(1)
    assert left.max() < 0.01 * images.var()


def test_pairs_of_different_images_are_not_explained(
    digits_dir: Path, episode_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group is named all the same, with a warning: what changes is not a turn."""
    told = "warning: turns and reflections explain little"
    assert told not in call("pipeline/discover.py", str(digits_dir), "pairs=40").out
    assert told in call("pipeline/discover.py", str(episode_dir), "pairs=40").out
    infer = discovery.infer_elements
    monkeypatch.setattr(discovery, "infer_elements", lambda x, y: infer(x, y.roll(len(y) // 2, 0)))
    assert told in call("pipeline/discover.py", str(digits_dir), "pairs=40").out


def test_the_program_finds_the_group_of_a_dataset(digits_dir: Path) -> None:
    done = call("pipeline/discover.py", str(digits_dir), "pairs=60", "json=true")
    assert done.code == 0, done.err
    content = json.loads(done.out)
    assert (content["name"], content["num_pairs"]) == ("C4", 60)
    assert (
        "C4, from 40 pairs of val"
        in call("pipeline/discover.py", str(digits_dir), "pairs=40", "split=val").out
    )


def test_what_cannot_be_searched_is_one_line(volume_dir: Path, digits_dir: Path) -> None:
    line = call("pipeline/discover.py", str(volume_dir)).error_line
    assert "a turn is found for square images only" in line
    line = call("pipeline/discover.py", str(digits_dir), "pairs=0").error_line
    assert "pairs=0 must be an integer of at least 1" in line


@pytest.mark.parametrize("side", [MAX_SIDE + 2, 100, 256])
def test_large_images_are_averaged_down_alike_under_every_element(side: int) -> None:
    """Whether or not the side is a multiple, the average knows no direction."""
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    small = reduced(images)
    assert small.shape == (2, 3, MAX_SIDE, MAX_SIDE)
    for turns in range(4):
        for mirrored in (False, True):
            both = [x.flip(-1) if mirrored else x for x in (images, small)]
            large, wanted = (x.rot90(turns, (2, 3)) for x in both)
            assert torch.allclose(reduced(large), wanted, atol=1e-5)


def test_images_of_the_usual_size_are_left_as_they_are() -> None:
    images = torch.rand(1, 1, MAX_SIDE, MAX_SIDE)
    assert reduced(images) is images
