"""What is measured beyond single records follows its definition, written out slowly here.

Protects the choice of records, the errors of equivariance and composition, the block's
share of the latent and the swap test: against loops over records, and against models
that are made to do everything right, or to know nothing.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.idx import write_mnist
from helpers.preparing import all_records, column, prepare
from helpers.programs import call
from hypothesis import given
from hypothesis import strategies as st

from orbit.core.groups import make_group
from orbit.core.store.reader import PairStore
from pipeline.measuring import partners, spread, spread_records, spread_sources
from pipeline.methods.latent_action.measures import (
    baseline_metrics,
    composition_metrics,
    equivariance_metrics,
)
from pipeline.methods.latent_action.parts import (
    block_metrics,
    can_swap,
    swap_metrics,
    swap_truth,
    touched_cells,
)
from pipeline.models.latent_action import LatentActionModel, LatentParts
from pipeline.models.settings import (
    AutoencoderConfig,
    LatentActionSettings,
    LearnedActionConfig,
    RepresentationActionConfig,
    SpatialActionConfig,
)

SIDE = 7


@pytest.fixture(scope="module")
def blocked(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    folder = tmp_path_factory.mktemp("blocked")
    write_mnist(folder / "mnist")
    words = ("dataset=rotated_blocked_mnist", f"source.root={folder / 'mnist'}")
    return prepare(folder / "data", *words)


@pytest.fixture(scope="module")
def planes(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    out = tmp_path_factory.mktemp("planes") / "data"
    words = ("source.size=16", "num_samples=40", "dataset.val_fraction=0.1")
    return prepare(out, "dataset=planes", *words, "dataset.test_fraction=0.5")


def make_model(
    store: PairStore, group: str | None = None, action: LatentActionSettings | None = None
) -> LatentActionModel:
    torch.manual_seed(0)
    manifest = store.manifest
    is_spatial = isinstance(action or SpatialActionConfig(), SpatialActionConfig)
    return LatentActionModel(
        AutoencoderConfig(width=8, vector_size=None if is_spatial else 16),
        0.5,
        manifest.frames,
        make_group(group or manifest.group),
        action or SpatialActionConfig(),
    ).eval()


def all_numbers(store: PairStore) -> np.ndarray:
    return np.arange(store.split("test").num_records)


@given(total=st.integers(1, 5000), num=st.integers(1, 300))
def test_chosen_positions_are_spread(total: int, num: int) -> None:
    chosen = spread(total, num)
    assert len(chosen) == min(num, total)
    edges = np.arange(len(chosen) + 1) * total // len(chosen)
    assert (chosen >= edges[:-1]).all()
    assert (chosen < edges[1:]).all()


def test_chosen_records_meet_every_element(planes: PairStore) -> None:
    """An even step of four records would meet one element of an orbit of four."""
    reader = planes.split("test")
    assert reader.num_records == 80
    actions = reader.read_column("action", spread_records(reader, 20))
    assert len(np.unique(actions)) == 4
    sources = spread_sources(reader)
    rows = reader.read_column("source", sources)
    assert len(np.unique(rows)) == len(rows) == reader.num_sources


@given(num=st.integers(2, 200))
def test_no_one_is_their_own_partner(num: int) -> None:
    partner = partners(num)
    assert sorted(partner.tolist()) == list(range(num))
    assert (partner != np.arange(num)).all()


def test_equivariance_error_follows_its_definition(digits_dir: Path) -> None:
    store = PairStore(digits_dir)
    model, records = make_model(store), all_records(store, "test")
    difference = norm = 0.0
    for source, target, action in zip(*records[:3], strict=True):
        turns = int(action[0])
        with torch.no_grad():
            z, wanted = (
                model.encoder(torch.from_numpy(x[None]) / 127.5 - 1) for x in (source, target)
            )
        if turns:
            difference += float((z.rot90(turns, (2, 3)) - wanted).double().square().sum())
            norm += float(wanted.double().square().sum())
    found = equivariance_metrics(model, store.split("test"), all_numbers(store), 7)
    expected = math.sqrt(difference / norm)
    assert expected > 0.01
    assert found == {"equivariance_error/latent": pytest.approx(expected, rel=1e-5)}


def test_baselines_follow_their_definition(digits_dir: Path) -> None:
    """Also that no constant image is better than the mean."""
    store = PairStore(digits_dir)
    model, records = make_model(store), all_records(store, "test")
    source, target = (x.astype(np.float64) / 255 for x in (records.source, records.target))
    expected = {
        "baseline/psnr_black": (target**2).mean(),
        "baseline/psnr_copy": ((target - source) ** 2).mean(),
        "baseline/psnr_mean": ((target - target.mean(0)) ** 2).mean(),
    }
    found = baseline_metrics(model, store.split("test"), all_numbers(store), 7)
    assert found == pytest.approx(
        {name: -10 * math.log10(error) for name, error in expected.items()}, rel=1e-5
    )
    assert found["baseline/psnr_mean"] > max(found["baseline/psnr_black"], 0)
    seen = np.isin(records.action[:, 0], (0, 2))
    parts = baseline_metrics(model, store.split("test"), all_numbers(store), 7, ["0", "180"])
    assert {name: parts[name] for name in found} == pytest.approx(found)
    for which, chosen in (("seen", seen), ("unseen", ~seen)):
        error = ((target - target[chosen].mean(0)) ** 2)[chosen].mean()
        assert parts[f"baseline/psnr_mean/{which}_elements"] == pytest.approx(
            -10 * math.log10(error), rel=1e-5
        )


def test_composition_follows_its_definition(digits_dir: Path) -> None:
    store = PairStore(digits_dir)
    model, numbers = make_model(store), spread_records(store.split("test"), 30)
    rng = np.random.default_rng([0, 1])
    g, h = (model.group.sample(rng, len(numbers)) for _ in range(2))
    assert len(set(zip(g.tolist(), h.tolist(), strict=True))) > 8
    image, error = [], []
    for n, source in enumerate(store.split("test").read(numbers).source):
        x = torch.from_numpy(source[None]) / 127.5 - 1
        with torch.no_grad():
            twice = model.transform(model.transform(x, h[n : n + 1]), g[n : n + 1])
            once = model.transform(x, (g[n : n + 1] + h[n : n + 1]) % 4)
        truth = x.rot90(int(g[n] + h[n]), (2, 3))
        image.append(((twice - once) / 2).double().square().mean())
        error.append(((twice - truth) / 2).double().square().mean())
    found = composition_metrics(model, store.split("test"), numbers, 8, True)
    assert found["composition_error/image"] == pytest.approx(float(np.mean(image)) ** 0.5, rel=1e-5)
    assert found["psnr/composed"] == pytest.approx(-10 * math.log10(np.mean(error)), rel=1e-5)
    assert "psnr/composed" not in composition_metrics(model, store.split("test"), numbers, 8, False)


@pytest.mark.parametrize(
    ("group", "action", "low", "high"),
    [
        ("c4", SpatialActionConfig(), 0.0, 0.0),
        ("d4", SpatialActionConfig(), 0.0, 0.0),
        ("c4", RepresentationActionConfig("representation"), 0.0, 1e-5),
        ("c4", LearnedActionConfig("learned"), 1e-3, 2.0),
    ],
)
def test_actions_that_are_the_group_s_compose(
    digits_dir: Path, group: str, action: LatentActionSettings, low: float, high: float
) -> None:
    store = PairStore(digits_dir)
    model = make_model(store, group, action)
    found = composition_metrics(model, store.split("test"), all_numbers(store), 50, True)
    assert low <= found["composition_error/latent"] <= high


def test_composition_of_volumes_is_exact(volume_dir: Path) -> None:
    store = PairStore(volume_dir)
    model = make_model(store, "octahedral")
    found = composition_metrics(model, store.split("test"), all_numbers(store), 5, True)
    assert found["composition_error/latent"] == 0.0
    assert math.isfinite(found["psnr/composed"])


@given(
    cells=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    scale=st.integers(1, 5),
    side=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_touched_cells_hold_a_pixel_of_the_block(
    cells: tuple[int, int], scale: int, side: int, seed: int
) -> None:
    frame = (cells[0] * scale, cells[1] * scale)
    side = min(side, *frame)
    high = [frame[0] - side + 1, frame[1] - side + 1]
    corners = np.random.default_rng(seed).integers(0, high, (4, 2))
    found = touched_cells(corners, side, frame, cells)
    for (row, column_), touched in zip(corners, found, strict=True):
        image = np.zeros(frame, bool)
        image[row : row + side, column_ : column_ + side] = True
        blocks = image.reshape(cells[0], scale, cells[1], scale)
        assert (blocks.any((1, 3)) == touched).all()


def number_of(store: PairStore) -> Callable[[torch.Tensor], list[int]]:
    """Finds the record of each normalised source frame."""
    frames = all_records(store, "test").source
    numbers = {frame.tobytes(): number for number, frame in reversed(list(enumerate(frames)))}
    return lambda images: [
        numbers[frame.tobytes()] for frame in ((images + 1) * 127.5).round().to(torch.uint8).numpy()
    ]


def test_block_shares_of_parts_that_know_the_block_or_nothing(blocked: PairStore) -> None:
    """z_i that lights up at the block has share 1; a z_v alike everywhere has the area's."""
    model, reader, find = make_model(blocked), blocked.split("test"), number_of(blocked)
    corners = column(blocked, "test", "block")

    def encode(images: torch.Tensor) -> LatentParts:
        variant, invariant = (torch.zeros(len(images), 2, 7, 7) for _ in range(2))
        for place, number in enumerate(find(images)):
            row, left = corners[number]
            invariant[place, 0, row // 4 : (row + 6) // 4 + 1, left // 4 : (left + 6) // 4 + 1] = -3
            variant[place] = 1.0 + number // 4 % 2
        return LatentParts(variant, invariant)

    model.encode = encode  # type: ignore[method-assign]
    found = block_metrics(model, reader, SIDE, 6)
    assert found["block/share_invariant"] == found["block/share_absolute_invariant"] == 1.0
    assert 4 / 49 < found["block/area_fraction"] < 9 / 49
    for form in ("", "absolute_"):
        assert found[f"block/share_{form}variant"] == pytest.approx(found["block/area_fraction"])


def test_block_shares_follow_their_definition(blocked: PairStore) -> None:
    model, reader = make_model(blocked), blocked.split("test")
    first = np.arange(0, reader.num_records, 4)
    with torch.no_grad():
        parts = model.encode(model.normalise(torch.from_numpy(reader.read(first).source)))
    corners = reader.read_column("block", first)
    found = block_metrics(model, reader, SIDE, 9)
    for name, part in (("invariant", parts.invariant), ("variant", parts.variant)):
        maps = part.abs().mean(1).numpy()
        inside = inside_absolute = total = total_absolute = 0.0
        for n in range(len(first)):
            for row in range(7):
                for left in range(7):
                    d = float(maps[n, row, left] - np.median(maps[:, row, left]))
                    total, total_absolute = total + d * d, total_absolute + abs(d)
                    rows = set(range(4 * row, 4 * row + 4))
                    columns = set(range(4 * left, 4 * left + 4))
                    if rows & set(range(corners[n, 0], corners[n, 0] + SIDE)) and columns & set(
                        range(corners[n, 1], corners[n, 1] + SIDE)
                    ):
                        inside, inside_absolute = inside + d * d, inside_absolute + abs(d)
        assert found[f"block/share_{name}"] == pytest.approx(inside / total, rel=1e-4)
        expected = pytest.approx(inside_absolute / total_absolute, rel=1e-4)
        assert found[f"block/share_absolute_{name}"] == expected


def composited(store: PairStore, i: int, j: int) -> np.ndarray:
    """Object of record i before the background of j, (3, H, W) on [0, 255], pixel by pixel."""
    frame = all_records(store, "test").source[i].astype(float)
    mask = column(store, "test", "source_mask")[i, 0] / 255
    behind = column(store, "test", "background").astype(float)
    out = np.empty_like(frame)
    for row, left in np.ndindex(mask.shape):
        clear = 1 - mask[row, left]
        colour = frame[:, row, left] - clear * behind[i, :, row, left]
        out[:, row, left] = colour + clear * behind[j, :, row, left]
    return out


def test_swap_truth_of_objects(planes: PairStore) -> None:
    reader, records = planes.split("test"), all_records(planes, "test")
    first, second = np.array([0, 8, 21]), np.array([40, 3, 0])
    truth = swap_truth(planes.manifest, reader, records.source[first], first, second)
    for image, i, j in zip(truth.images, first, second, strict=True):
        expected = composited(planes, int(i), int(j)).clip(0, 255) / 255
        np.testing.assert_allclose(image, expected, atol=1e-6)
    behind = np.broadcast_to(truth.background, truth.images.shape)
    other = column(planes, "test", "background")[second] / np.float32(255)
    np.testing.assert_allclose(truth.images[behind], other[behind], atol=1e-6)
    assert (truth.foreground ^ truth.background).all()
    same = swap_truth(planes.manifest, reader, records.source[first], first, first)
    np.testing.assert_allclose(same.images * 255, records.source[first], atol=1e-4)


Draw = Callable[[int, int], np.ndarray]


def drawing_model(store: PairStore, draw: Draw) -> LatentActionModel:
    """A model whose parts are the numbers of records, and whose decoder draws i and j."""
    model, find = make_model(store), number_of(store)

    def encode(images: torch.Tensor) -> LatentParts:
        numbers = torch.tensor(find(images))
        return LatentParts(numbers, numbers)

    def decode(parts: LatentParts) -> torch.Tensor:
        pairs = zip(parts.variant.tolist(), parts.invariant.tolist(), strict=True)
        return torch.from_numpy(np.stack([draw(i, j) for i, j in pairs]) / 127.5 - 1)

    model.encode, model.decode = encode, decode  # type: ignore[method-assign]
    return model


def swap_of(store: PairStore, draw: Draw) -> dict[str, float]:
    reader = store.split("test")
    model = drawing_model(store, draw)
    return swap_metrics(model, store.manifest, reader, spread_sources(reader, 12), 5)


def test_swapping_objects_rightly_has_no_error(planes: PairStore) -> None:
    found = swap_of(planes, lambda i, j: composited(planes, i, j).clip(0, 255))
    assert found["swap/foreground_rmse"] == pytest.approx(0, abs=1e-6)
    assert found["swap/background_rmse"] == pytest.approx(0, abs=1e-6)
    assert found["swap/unswapped_background_rmse"] > 0.05
    assert found["swap/unswapped_foreground_rmse"] > 0


def test_swapping_the_wrong_part_shows_in_the_foreground(planes: PairStore) -> None:
    """A model that keeps everything in z_i draws j: the background is right, but for j's object."""
    frames = all_records(planes, "test").source
    found = swap_of(planes, lambda i, j: frames[j])
    assert found["swap/foreground_rmse"] > 0.1
    assert found["swap/background_rmse"] < found["swap/unswapped_background_rmse"]
    deaf = swap_of(planes, lambda i, j: frames[i])
    for part in ("foreground_rmse", "background_rmse"):
        assert deaf[f"swap/{part}"] == deaf[f"swap/unswapped_{part}"]


def test_swapping_blocks_rightly_has_no_error(blocked: PairStore) -> None:
    """What the block of i hides is left out: a model may draw anything there."""
    frames, corners = all_records(blocked, "test").source, column(blocked, "test", "block")

    def draw(i: int, j: int) -> np.ndarray:
        image = frames[i].copy()
        (row, left), (other_row, other_left) = corners[i], corners[j]
        image[0, other_row : other_row + SIDE, other_left : other_left + SIDE] = 255
        if i != j:
            image[0, row : row + SIDE, left : left + SIDE] = 77
        return image

    found = swap_of(blocked, draw)
    assert found["swap/foreground_rmse"] == pytest.approx(0, abs=1e-6)
    assert found["swap/background_rmse"] == pytest.approx(0, abs=1e-6)
    assert found["swap/unswapped_foreground_rmse"] == pytest.approx(0, abs=1e-6)
    assert found["swap/unswapped_background_rmse"] > 0.3


def test_only_datasets_that_know_their_parts_can_swap(
    planes: PairStore, blocked: PairStore, digits_dir: Path
) -> None:
    stores = (planes, blocked, PairStore(digits_dir))
    assert [can_swap(store.manifest, store.split("test")) for store in stores] == [
        True,
        True,
        False,
    ]
    alone = planes.split("test")
    alone.num_records = 4
    assert alone.num_sources == 1
    assert not can_swap(planes.manifest, alone)


def test_records_without_effect_are_refused(tmp_path: Path) -> None:
    words = (f"run_dir={tmp_path}", "analyses=false", "analysis_records=5")
    assert "no effect" in call("pipeline/evaluate.py", *words).error_line
    done = call("pipeline/evaluate.py", f"run_dir={tmp_path}", "analysis_records=0")
    assert "analysis_records=0 must be at least 1" in done.error_line
