"""Protects SO(2) x SO(2): the group's laws, both of its actions on images, its datasets, and
D_LSBD of two angles."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.preparing import all_records, column, prepare, recipe_of
from helpers.training import make_config, never_stop
from torch import nn

from data_prep.drawing.planes import hsv_to_rgb
from data_prep.settings.sources import ArrowsSourceConfig, SquaresSourceConfig
from data_prep.sources.drawn_shapes import ArrowsSource, SquaresSource
from data_prep.verification.datasets import verify_dataset
from orbit.core.groups import Torus, make_group
from orbit.core.groups.targets import make_targets
from orbit.core.groups.words import read_element, read_elements
from orbit.core.store.manifest import Manifest
from orbit.core.store.reader import PairStore
from orbit.testing import check_group, check_source
from pipeline.methods.interface import Latents
from pipeline.methods.latent_action.pictures.elements import slider_elements
from pipeline.methods.neural_fourier.task import representations
from pipeline.metrics.disentanglement import (
    MIN_ANGLES,
    d_lsbd_of_misses,
    pair_spectrum,
    torus_misses,
    torus_noise_floor,
    why_no_torus_d_lsbd,
)
from pipeline.models.actions import RepresentationAction
from pipeline.referee import measure as referee
from pipeline.referee.views import common_elements
from pipeline.training.run import train

SPECS = ("torus", "turn_hue")
TORUS, TURN_HUE = (make_group(spec) for spec in SPECS)
HALF_PI = math.pi / 2


def draw(num: int, seed: int = 0) -> torch.Tensor:
    return TORUS.sample(np.random.default_rng(seed), num)


def smooth(num: int, channels: int, side: int) -> torch.Tensor:
    """Periodic images (N, C, S, S) of low frequencies, from 0 to 1, float64."""
    line = torch.arange(side, dtype=torch.float64) * (2 * math.pi / side)
    phase = torch.rand(num, channels, 1, 1, generator=torch.Generator().manual_seed(0)) * 7
    return 0.5 + 0.25 * (line + phase).cos() + 0.25 * (line[:, None] - 2 * phase).sin()


# The group


@pytest.mark.parametrize("spec", SPECS)
def test_laws_but_for_interpolation(spec: str) -> None:
    """Frames are constant where the laws hold exactly; the next tests move them."""
    group = make_group(spec)
    check_group(group, [], num=64)
    g, h = draw(300), draw(300, 1)
    assert torch.allclose(group.distances(g, h), group.distances(h, g))
    assert group.distances(g, h).max() <= math.pi
    assert torch.allclose(group.distance(g, h).square(), group.distances(g, h).square().sum(1))
    assert group.num_elements is None
    for refused in (group.elements, lambda: group.element_index(g)):
        with pytest.raises(ValueError, match="cannot be listed"):
            refused()
    drawn = group.from_uniforms(torch.from_numpy(np.random.default_rng(0).random((36_000, 2))))
    for angles in (*drawn.unbind(1), *draw(36_000).unbind(1)):
        counts = torch.histc(angles, 36, -math.pi, math.pi)
        assert float(((counts - 1000) ** 2 / 1000).sum()) < 66.6  # chi-square, p = 0.001


def test_a_grid_holds_every_pair_once_and_the_identity_first() -> None:
    grid = TORUS.grid(36)
    assert grid.shape == (1296, 2)
    assert grid[0].tolist() == [0, 0]
    assert grid[1].tolist() == pytest.approx([0, math.pi / 18]), "the second angle is the fastest"
    steps = (grid * (18 / math.pi)).round().long() % 36
    assert torch.equal(steps, torch.cartesian_prod(torch.arange(36), torch.arange(36)))
    views, candidates = common_elements(TORUS, 36, 64), common_elements(TORUS, 360, 512)
    assert (len(views), len(candidates)) == (36, 324)
    nearest = torch.cdist(TORUS.encode(views), TORUS.encode(candidates)).min(1).values
    assert nearest.max() < 1e-3, "candidates hold the views"


@pytest.mark.parametrize("spec", SPECS)
def test_words_and_bins(spec: str) -> None:
    group = make_group(spec)
    g = torch.tensor([[HALF_PI, -HALF_PI], [0, 0], [math.radians(33), math.radians(200)]])
    assert group.names(g) == ["(90, 270)", "(0, 0)", "(33, 200)"]
    read = torch.cat([read_element(group, name) for name in group.names(draw(50))])
    assert group.distances(read, draw(50)).max() < math.radians(0.51)
    names, elements = read_elements(group, "[(30, 60), 0]")
    assert names == ["(30, 60)", "0"]
    assert elements.rad2deg().tolist() == [pytest.approx([30, 60]), [0, 0]]
    for text in ("30", "(30)", "(a, b)", "30 + (1, 2)"):
        with pytest.raises(ValueError, match=r"write them like: \(0, 0\)"):
            read_element(group, text)
    bins = group.bin_index(torch.tensor([[0.0, 0], [0, 0.5], [1.5, 0.1], [0.1, -3.1]]))
    assert bins.tolist() == [0, 1, 2, 4]
    examples = group.examples()
    assert len(set(group.names(examples))) == 8
    assert group.bin_index(examples).tolist()[0] == 0
    slider = slider_elements(group, 12)
    assert len(set(group.names(slider))) == 12
    assert not slider[:, 1].any()


@pytest.mark.parametrize("bound", [0, 1, 3])
def test_representations_are_those_of_pairs_of_frequencies(bound: int) -> None:
    irreps = TORUS.irreps(bound)
    g, h = draw(100).double(), draw(100, 1).double()
    for irrep in irreps:
        product = irrep.matrix(g) @ irrep.matrix(h)
        assert (irrep.matrix(TORUS.compose(g, h)) - product).abs().max() < 1e-10
        unit = torch.eye(irrep.size, dtype=torch.float64)
        assert (product @ product.mT - unit).abs().max() < 1e-10
        assert irrep.matrix(g.float()).dtype == torch.float32
    assert len({irrep.name for irrep in irreps}) == len(irreps) == 1 + bound * (bound + 1)
    grid = TORUS.grid(12).double()
    characters = torch.stack([i.matrix(grid).diagonal(dim1=1, dim2=2).sum(1) for i in irreps])
    products = characters @ characters.T / len(grid)
    assert torch.allclose(products, torch.diag(products.diagonal()), atol=1e-6), "all different"
    with pytest.raises(ValueError, match="-1"):
        TORUS.irreps(-1)


def test_the_first_two_turn_by_one_angle_each() -> None:
    _, first, second = TORUS.irreps(1)
    assert (first.name, second.name) == ("frequencies (1, 0)", "frequencies (0, 1)")
    g = draw(20)
    assert torch.allclose(first.matrix(g)[:, 1, 0], g[:, 0].sin(), atol=1e-6)
    assert torch.allclose(second.matrix(g)[:, 1, 0], g[:, 1].sin(), atol=1e-6)
    named = representations(TORUS, (0, 1, 2))
    assert [irrep.size for irrep in named.still] == [1]
    assert len(named.moved) == 6
    only = representations(TURN_HUE, (2,)).moved
    assert {irrep.name for irrep in only} == {
        f"frequencies {pair}" for pair in ((2, 0), (1, 1), (1, -1), (0, 2))
    }
    by_frequency = representations(make_group("so3"), (0, 2))
    assert [irrep.name for irrep in by_frequency.moved] == ["degree 2"]


# Actions on images


def test_shifts_go_round_the_edges_to_the_right_and_up() -> None:
    x = torch.rand(3, 2, 16, 16)
    pixel = 2 * math.pi / 16
    g = torch.tensor([[3 * pixel, 0], [0, 5 * pixel], [-pixel, 2 * pixel]])
    moved = TORUS.act_on_image(x, g)
    wanted = [x[0].roll(3, 2), x[1].roll(-5, 1), x[2].roll((-1, -2), (2, 1))]
    assert torch.allclose(moved, torch.stack(wanted), atol=1e-4)
    half = TORUS.act_on_image(x[:1], torch.tensor([[pixel / 2, 0.0]]))
    assert torch.allclose(half, (x[:1] + x[:1].roll(1, 3)) / 2, atol=1e-4)
    assert torch.allclose(TORUS.act_on_latent(x, g), moved)


@pytest.mark.parametrize(("spec", "channels"), [("torus", 1), ("turn_hue", 3)])
def test_smooth_images_obey_the_laws_nearly(spec: str, channels: int) -> None:
    """Linear interpolation errs by the curvature, which is small here."""
    group, side = make_group(spec), 64
    x, g, h = smooth(8, channels, side), draw(8).double(), draw(8, 1).double()
    in_turn = group.act_on_image(group.act_on_image(x, h), g)
    at_once = group.act_on_image(x, group.compose(g, h))
    line = torch.arange(side) - (side - 1) / 2
    inside = line.square() + line[:, None].square() <= (side / 2 - 2) ** 2
    moves = group.act_on_image(x, g) - x
    assert (in_turn - at_once)[..., inside].abs().max() < 0.01 < moves.abs().amax((1, 2, 3)).min()
    still = group.act_on_image(x, group.identity(8).double())
    assert (still - x).abs().max() < 1e-6
    assert torch.allclose(
        group.act_on_image(2 * x - 1, g), 2 * group.act_on_image(x, g) - 1, atol=1e-6
    ), "frames are loaded on another range"


def test_frames_turn_as_under_so2_and_hues_as_hues() -> None:
    x = torch.rand(5, 3, 15, 15, dtype=torch.float64)
    g = draw(5).double()
    turned = g * torch.tensor([1, 0])
    wanted = make_group("so2").act_on_image(x, g[:, 0])
    assert torch.allclose(TURN_HUE.act_on_image(x, turned), wanted, atol=1e-6)
    hues = np.arange(0, 360, 40)
    angles = torch.deg2rad(torch.from_numpy(hues).float())
    red = torch.tensor([1.0, 0.25, 0.25]).view(1, 3, 1, 1).expand(9, 3, 1, 1)
    moved = TURN_HUE.act_on_image(red, torch.stack((torch.zeros(9), angles), 1)).flatten(1)
    assert moved.min() > -1e-6
    assert moved.max() < 1 + 1e-6
    for row, hue in zip(moved.numpy(), hues, strict=True):
        pure = hsv_to_rgb(*(np.array([v], np.float32) for v in (hue / 360, 1.0, 1.0)))[0]
        assert row.argmax() in np.flatnonzero(pure == pure.max())
        if hue % 120 == 0:
            assert np.allclose(row, np.roll([1, 0.25, 0.25], hue // 120), atol=1e-5)
    grey = torch.full((9, 3, 4, 4), 0.3)
    assert torch.allclose(TURN_HUE.act_on_image(grey, draw(9)), grey, atol=1e-6)


@pytest.mark.parametrize("spec", SPECS)
def test_stored_frames_are_rounded_once_and_made_alike_by_vectors(spec: str) -> None:
    group, g = make_group(spec), draw(6)
    x = torch.from_numpy(np.random.default_rng(0).integers(64, 192, (6, 3, 16, 16), np.uint8))
    moved = group.act_on_image(x, g)
    assert moved.dtype == torch.uint8
    exact = group.act_on_image(x.double(), g.double()).clamp(0, 255)
    assert (moved.double() - exact).abs().max() <= 0.5 + 1e-2
    assert torch.equal(moved, make_targets(group, x, group.encode(g), False))
    alone = torch.cat([group.act_on_image(x[i : i + 1], g[i : i + 1]) for i in range(6)])
    assert torch.equal(alone, moved)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(group.act_on_image(x, g), moved)
    half = group.act_on_image((x / 255).half(), g)
    assert half.dtype == torch.float16
    assert (half.double() * 255 - exact).abs().max() < 1
    with pytest.raises(ValueError, match="int64"):
        group.act_on_image(x.long(), g)


def test_what_cannot_be_moved_is_refused() -> None:
    for group in (TORUS, TURN_HUE):
        with pytest.raises(ValueError, match=group.name):
            group.check_spatial_shape((8, 9))
    with pytest.raises(ValueError, match="3 channels"):
        TURN_HUE.act_on_image(torch.rand(2, 1, 8, 8), draw(2))
    with pytest.raises(ValueError, match="representation or learned"):
        TURN_HUE.check_latent_shape((16, 16))
    with pytest.raises(ValueError, match="at least 14 cells"):
        TORUS.check_latent_shape((8, 8))
    grey = recipe_of("dataset=squares", "dataset.group=turn_hue", "num_samples=9", "out=out")
    with pytest.raises(ValueError, match="3 channels"):
        list(grey.blocks(grey.plans()[0]))


# Datasets


def test_shapes_differ_and_are_functions_of_seed_and_place() -> None:
    arrows = ArrowsSource(ArrowsSourceConfig("arrows"), 0, 40)
    squares = SquaresSource(SquaresSourceConfig("squares"), 0, 40)
    for source in (arrows, squares):
        check_source(source)
        images, labels = source.read("all", np.arange(40))
        assert len(np.unique(images.reshape(40, -1), axis=0)) == 40
        assert labels.tolist() == [0, 1] * 20
        other = type(source)(source_config(source), 1, 40).read("all", np.arange(40))[0]
        assert (other != images).any((1, 2, 3)).all()
    images, labels = squares.read("all", np.arange(40))
    sides = np.sqrt(images.astype(float).sum((1, 2, 3)) / 255)
    assert 7.9 < sides[labels == 0].min() < sides[labels == 0].max() < 16.1
    assert 15.9 < sides[labels == 1].min() < sides[labels == 1].max() < 24.1
    assert np.array_equal(images, images[..., ::-1])
    images, _ = arrows.read("all", np.arange(40))
    line = np.arange(64) - 31.5
    assert not images[:, :, line**2 + line[:, None] ** 2 > 31**2].any(), "inside the disc"
    assert np.array_equal(images, images[:, :, ::-1]), "they point along x"
    across = (images[:, 0] > 127).sum(1)
    tip, tail = across[:, 32:].max(1), across[:, :20].max(1)
    assert (tip > tail).all(), "the head is to the right"


def source_config(source: ArrowsSource | SquaresSource) -> ArrowsSourceConfig | SquaresSourceConfig:
    is_arrow = isinstance(source, ArrowsSource)
    return ArrowsSourceConfig("arrows") if is_arrow else SquaresSourceConfig("squares")


@pytest.fixture(scope="module", params=["arrows", "squares"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    words = (f"dataset={request.param}", "num_samples=40", "source.size=16", "dataset.num_drawn=3")
    return prepare(tmp_path_factory.mktemp("torus") / "data", *words)


def test_targets_are_the_action_and_test_arrows_are_new(store: PairStore) -> None:
    assert len(list(verify_dataset(store.root))) == 3
    assert store.manifest.target_is_action_on_source
    seen = [
        {frame.tobytes() for frame in all_records(store, split).source}
        for split in ("train", "val", "test")
    ]
    if store.manifest.name == "arrows":  # squares have a single number, and few pixels
        assert not seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2]
    assert set(column(store, "train", "label").tolist()) == {0, 1}


# D_LSBD of two angles


ANGLES = torch.arange(MIN_ANGLES, dtype=torch.float64) * (2 * math.pi / MIN_ANGLES)
FIRST, SECOND = torch.meshgrid(ANGLES, ANGLES, indexing="ij")


def turning(a: int, b: int, phase: float = 0.0) -> torch.Tensor:
    angle = a * FIRST + b * SECOND + phase
    return torch.stack((angle.cos(), angle.sin()), 2)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def d_lsbd(*objects: torch.Tensor) -> float:
    return d_lsbd_of_misses(torch.stack([torus_misses(latents) for latents in objects]))


@pytest.mark.parametrize("size", [4, 9])
@pytest.mark.parametrize(("k", "m"), [(1, 1), (2, -3)])
def test_a_torus_scores_0_in_every_basis_and_direction(size: int, k: int, m: int) -> None:
    """Each object has axes, phases and centres of its own, and radii that differ."""
    objects = []
    for number in range(6):
        sign = (-1) ** number
        latents = torch.cat((2 * turning(sign * k, 0, number), 0.3 * turning(0, m, 2.0)), 2)
        basis = torch.linalg.qr(noise(size, 4, seed=number)).Q
        objects.append(latents @ basis.T + noise(1, 1, size, seed=99))
    assert d_lsbd(*objects) == pytest.approx(0, abs=1e-8)
    assert d_lsbd(*(x + 0.001 * noise(*x.shape, seed=7) for x in objects[:2])) < 0.02


def test_long_latents_score_as_short_ones() -> None:
    short = noise(MIN_ANGLES, MIN_ANGLES, 3) + torch.cat((turning(2, 0), turning(0, 1)), 2)[..., :3]
    long = torch.cat((short, torch.zeros(MIN_ANGLES, MIN_ANGLES, 1300)), 2)
    assert torch.allclose(torus_misses(long), torus_misses(short), atol=1e-9)


def test_latents_without_a_torus_score_badly() -> None:
    assert d_lsbd(torch.ones(MIN_ANGLES, MIN_ANGLES, 4)) == 1
    assert d_lsbd(torch.zeros(MIN_ANGLES, MIN_ANGLES, 4)) == 1
    assert d_lsbd(turning(1, 0)) == pytest.approx(0.5), "the second angle moves nothing"
    assert d_lsbd(turning(1, 1)) == pytest.approx(1, abs=1e-9), "both move one circle"
    mixed = torch.cat((turning(1, 1), turning(1, -1)), 2)
    assert d_lsbd(mixed) > 0.7
    line = torch.cat((FIRST.cos()[..., None], turning(0, 1)), 2)
    assert d_lsbd(line) == pytest.approx(0.375), "half of it is a line, which misses 0.75"
    floor = torus_noise_floor(3, MIN_ANGLES, 7)
    assert 0.97 < floor <= 1
    assert d_lsbd(*noise(3, MIN_ANGLES, MIN_ANGLES, 7, seed=3)) == pytest.approx(floor, abs=0.01)
    with pytest.raises(ValueError, match="10 x 10 pairs of angles"):
        torus_misses(noise(10, 10, 4))


def test_the_frequency_of_an_angle_is_the_same_for_all_objects() -> None:
    one, other = (torch.cat((turning(k, 0), turning(0, 1)), 2) for k in (1, 2))
    assert d_lsbd(one) == pytest.approx(0, abs=1e-9)
    assert d_lsbd(other) == pytest.approx(0, abs=1e-9)
    assert d_lsbd(one, other) == pytest.approx(0.25)


def test_actions_of_several_pairs_are_refused_with_their_shares() -> None:
    def why(*latents: torch.Tensor) -> str:
        return str(why_no_torus_d_lsbd(pair_spectrum(torch.cat(latents, 2))))

    assert why(turning(1, 0), turning(0, 2)) == "None"
    assert why(turning(-3, 0), 0.01 * turning(1, 0), turning(0, 2)) == "None"
    assert "the second angle does not change" in why(turning(1, 0))
    assert "does not change any latent" in why(torch.ones(MIN_ANGLES, MIN_ANGLES, 2))
    found = why(turning(1, 0), turning(2, 0), turning(0, 1))
    assert "first angle has several pairs" in found
    assert "(2, 0) (50%)" in found
    found = why(turning(-1, 1), turning(0, 1))
    assert "second angle has several pairs" in found
    assert "(1, -1) (50%)" in found


# Shared measures


def ideal(size: int, max_frequency: int = 1) -> Callable[[nn.Module, Manifest], Latents]:
    """Latents made from the element that a frame shows, and their exact action."""

    def latents(model: nn.Module, manifest: Manifest) -> Latents:
        group = make_group(manifest.group)
        action = RepresentationAction(group, size, max_frequency)
        start = noise(1, size, seed=1).float()

        def encode(frames: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"z": action(start.expand(len(frames), -1), found(manifest, frames))}

        return Latents(encode, "z", action)

    return latents


def found(manifest: Manifest, frames: torch.Tensor) -> torch.Tensor:
    """The shift of each frame of a square, from the phases of its slowest waves."""
    waves = torch.fft.fft2(frames[:, 0].double())
    side = frames.shape[-1]
    centre = math.pi * (side - 1) / side
    right = -waves[:, 0, 1].angle() - centre
    down = -waves[:, 1, 0].angle() - centre
    assert manifest.group == "torus"
    return torch.stack((right, -down), 1).float()


def test_shared_measures_of_a_perfect_latent_of_squares(tmp_path: Path) -> None:
    words = ("dataset=squares", "num_samples=24", "source.size=32", "dataset.num_drawn=2")
    store = prepare(tmp_path / "data", *words)
    models = (nn.Linear(1, 1), nn.Linear(1, 1))
    scores = referee.measure(ideal(8), models, store, "test", 512)
    assert scores.metrics["d_lsbd"] < 0.01
    assert scores.metrics["d_lsbd_noise"] > 0.95
    assert scores.metrics["retrieval/mrr"] == 1
    assert scores.metrics["retrieval/pose_error"] < 0.01
    assert scores.metrics["retrieval/pose_error_chance"] == pytest.approx(0.5, abs=0.02)
    assert scores.metrics["inferred/pose_error"] < 0.01
    assert scores.metrics["pose_r2/gaussian/z"] > 0.9
    assert scores.components["gaussian/z"].keys() == {"cosine", "sine", "cosine_2", "sine_2"}
    scores = referee.measure(ideal(16, 2), models, store, "test", 512)
    assert "several pairs" in scores.refused["d_lsbd"]


@pytest.mark.parametrize("action", ["representation", "learned"])
def test_latent_actions_train_on_both_datasets(
    store: PairStore, action: str, tmp_path: Path
) -> None:
    experiment = "arrows/learned" if action == "learned" else "arrows"
    words = [f"experiment={experiment}", "epochs=1", "global_batch=8", "compile=false"]
    words += ["task.model.width=4", "task.model.vector_size=16", "collapse.action=warn"]
    # A learned mask may find no variant channel in so few steps.
    words += ["task.model.depth=2", "task.mask.name=fixed"]
    result = train(make_config(store.root, tmp_path / "run", *words), never_stop())
    assert all(math.isfinite(value) for value in result["metrics"].values())
    assert result["metrics"]["equivariance_error/variant"] > 0


def test_it_is_one_family() -> None:
    assert isinstance(TURN_HUE, Torus)
