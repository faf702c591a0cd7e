"""The laws, as Orbit's own parts keep them."""

from pathlib import Path

import numpy as np
import torch
from mylab.arrays import ArraysConfig, ArraysSource
from mylab.hexagons import d3_hexagonal
from mylab.regular import RegularAction, RegularConfig
from mylab.thirds import ThirdsConfig, make_thirds
from mylab.walk import HexagonWalk, WalkConfig

from orbit.testing import check_action, check_group, check_network, check_source, check_world


def test_group() -> None:
    check_group(d3_hexagonal(), [(1, 5, 5), (3, 9, 9)])


def test_world() -> None:
    check_world(HexagonWalk(WalkConfig("hexagon_walk"), ("left", "up")))


def test_network() -> None:
    check_network(*make_thirds(ThirdsConfig(), (1, 15, 15)), (1, 15, 15))


def test_action() -> None:
    group, shape = d3_hexagonal(), (12, 5, 5)
    action = RegularAction(RegularConfig("regular"), group, (1, 15, 15), shape)
    check_action(action, group, shape)
    latents, (g, h) = (
        torch.randn(36, *shape),
        torch.cartesian_prod(group.elements(), group.elements()).T,
    )
    assert torch.equal(action(action(latents, h), g), action(latents, group.compose(g, h)))


def test_source(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 15, 15), np.uint8)
    np.savez(tmp_path / "images.npz", images=images, labels=np.arange(9))
    check_source(ArraysSource(ArraysConfig("arrays", str(tmp_path / "images.npz")), 0, None))
