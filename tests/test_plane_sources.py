"""Protects objects before backgrounds: generated planes and a user's cut-outs.

The identity leaves an object as it is and a quarter turn turns it bit for bit; objects stay
in the inscribed disc, colours do not bleed at outlines; pictures are a function of seed
and position alone; faulty files are one line that names them.
"""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_prep.drawing.planes import hsv_to_rgb, move_sprites
from data_prep.settings.sources import CutOutsSourceConfig, GeneratedPlanesSourceConfig
from data_prep.sources.cut_outs import CutOutsSource, GeneratedPlanesSource
from data_prep.sources.interface import ObjectSource
from orbit.core.groups import make_group

NUM_OBJECTS, NUM_BACKGROUNDS = 5, 3


def write_cut_outs(root: Path) -> Path:
    """Five objects in two classes, off centre on wide canvases, and three backgrounds."""
    rng = np.random.default_rng(0)
    for number in range(NUM_OBJECTS):
        folder = root / "objects" / ("birds" if number < 2 else "planes")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((50, 90, 4), np.uint8)
        pixels[8:28, 30 + number : 60] = (40 * number + 20, 200, 90, 255)
        Image.fromarray(pixels).save(folder / f"object{number}.png")
    (root / "backgrounds").mkdir()
    for number in range(NUM_BACKGROUNDS):
        grey = Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8))
        grey.save(root / "backgrounds" / f"sky{number}.{'png' if number else 'jpg'}")
    return root


def generated(group: str = "c4", seed: int = 0, size: int = 32) -> GeneratedPlanesSource:
    return GeneratedPlanesSource(GeneratedPlanesSourceConfig("generated", size), seed, 60, group)


def cut_outs(root: Path, group: str = "c4", seed: int = 0) -> CutOutsSource:
    return CutOutsSource(CutOutsSourceConfig("folders", str(root), 32), seed, 60, group)


@pytest.fixture(params=["generated", "folders"])
def open_source(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., ObjectSource]:
    if request.param == "generated":
        return generated
    root = write_cut_outs(tmp_path)
    return lambda group="c4", seed=0: cut_outs(root, group, seed)


def test_quarter_turns_turn_objects_bit_for_bit(open_source: Callable[..., ObjectSource]) -> None:
    source, indices = open_source("c4"), np.repeat(np.arange(12), 4)
    moved = source.objects("all", indices, make_group("c4").elements().repeat(12))
    for array in moved:
        views = array.reshape(12, 4, *array.shape[1:])
        for turns in range(4):
            np.testing.assert_array_equal(views[:, turns], np.rot90(views[:, 0], turns, (2, 3)))


@pytest.mark.parametrize("group", ["d4", "so2", "wrap2d:32:4", "so2+shift:32:2"])
def test_the_identity_leaves_objects_as_they_are(
    open_source: Callable[..., ObjectSource], group: str
) -> None:
    indices = np.arange(9)
    base = open_source("c4").objects("all", indices, make_group("c4").identity(9))
    same = open_source(group).objects("all", indices, make_group(group).identity(9))
    np.testing.assert_array_equal(base.colour, same.colour)
    np.testing.assert_array_equal(base.alpha, same.alpha)


def test_so2_by_quarter_turns_is_c4(open_source: Callable[..., ObjectSource]) -> None:
    angles = torch.arange(4) * (torch.pi / 2)
    g = make_group("so2").decode(torch.stack([angles.cos(), angles.sin()], 1))
    lattice = open_source("c4").objects("all", np.zeros(4, int), make_group("c4").elements())
    plane = open_source("so2").objects("all", np.zeros(4, int), g)
    assert np.abs(lattice.alpha.astype(int) - plane.alpha).max() <= 1


def test_pictures_are_functions_of_seed_and_position(
    open_source: Callable[..., ObjectSource],
) -> None:
    source = open_source(seed=5)
    order = np.random.default_rng(0).permutation(60)
    g = make_group("c4").sample(np.random.default_rng(1), 60)
    all_objects = source.objects("all", np.arange(60), g)
    all_skies = source.backgrounds("all", np.arange(60))
    copy: ObjectSource = pickle.loads(pickle.dumps(source))
    for chosen in (order[:1], order[:17], order):
        objects = copy.objects("all", chosen, g[torch.from_numpy(chosen)])
        np.testing.assert_array_equal(objects.colour, all_objects.colour[chosen])
        np.testing.assert_array_equal(objects.alpha, all_objects.alpha[chosen])
        np.testing.assert_array_equal(copy.backgrounds("all", chosen), all_skies[chosen])
    assert (open_source(seed=6).backgrounds("all", np.arange(60)) != all_skies).any()


def test_objects_stay_within_the_inscribed_disc(open_source: Callable[..., ObjectSource]) -> None:
    """So that no rotation cuts them; they fill it well, too."""
    alpha = open_source().objects("all", np.arange(60), make_group("c4").identity(60)).alpha
    place = np.arange(32) - 15.5
    distance = np.sqrt(place**2 + place[:, None] ** 2)
    assert (alpha[:, 0, distance > 16] == 0).all()
    reach = (distance * (alpha[:, 0] > 64)).max((1, 2))
    assert reach.min() > 9


def test_rotation_neither_bleeds_nor_loses_an_object(
    open_source: Callable[..., ObjectSource],
) -> None:
    """Opaque area stays, and colours remain among those of the object, up to rounding."""
    source, num = open_source("so2"), 30
    g = make_group("so2").sample(np.random.default_rng(0), num)
    base = source.objects("all", np.arange(num), make_group("so2").identity(num))
    moved = source.objects("all", np.arange(num), g)
    area, moved_area = (s.alpha.astype(float).sum((1, 2, 3)) for s in (base, moved))
    assert np.abs(moved_area / area - 1).max() < 0.02
    for row in range(num):
        seen, before = moved.alpha[row, 0] > 8, base.alpha[row, 0] > 0
        for channel in range(3):
            darkest = int(base.colour[row, channel][before].min())
            assert moved.colour[row, channel][seen].min() >= darkest - 18


def test_generated_planes_are_three_classes_in_turn() -> None:
    source = generated()
    assert source.labels("all", np.arange(7)).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert source.label_meaning == "0 airliner, 1 jet, 2 propeller plane"
    assert source.subjects("all") is None
    assert source.num_images == {"all": 60}
    config = GeneratedPlanesSourceConfig("generated")
    assert GeneratedPlanesSource(config, 0, None, "c4").num_images == {"all": 2000}


def test_generated_planes_have_smooth_outlines_and_headings_all_round() -> None:
    alpha = generated(size=64).objects("all", np.arange(60), make_group("c4").identity(60)).alpha
    share = ((alpha > 0) & (alpha < 255)).sum((1, 2, 3)) / (alpha > 0).sum((1, 2, 3))
    assert share.min() > 0.05
    place = np.arange(64) - 31.5
    # The longest axis of each silhouette, from its second moments.
    xx, yy, xy = (
        (alpha[:, 0] * w).sum((1, 2))
        for w in np.broadcast_arrays(
            place**2 + 0 * place[:, None], place[:, None] ** 2, place * place[:, None]
        )
    )
    axis = np.arctan2(2 * xy, xx - yy) / 2
    assert set(np.floor((axis + np.pi / 2) / np.pi * 6).astype(int).clip(0, 5)) == set(range(6))


@pytest.mark.parametrize("size", [6, 7, 16, 31, 100, 512])
def test_generated_pictures_of_any_size(size: int) -> None:
    source = GeneratedPlanesSource(GeneratedPlanesSourceConfig("generated", size), 0, 6, "c4")
    g = make_group("c4").identity(3)
    assert source.objects("all", np.arange(3), g).alpha.max() > 0
    assert source.backgrounds("all", np.arange(3)).shape == (3, 3, size, size)


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=4))
def test_hsv_is_that_of_the_standard_library(colours: list[tuple[float, ...]]) -> None:
    import colorsys

    expected = [colorsys.hsv_to_rgb(*colour) for colour in colours]
    np.testing.assert_allclose(hsv_to_rgb(*np.array(colours).T), expected, atol=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_moving_sprites_back_and_forth_by_an_exact_group(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sprites = rng.integers(0, 256, (3, 4, 8, 8), np.uint8)
    sprites[:, :3] *= sprites[:, 3:] > 0
    group = make_group("d4")
    g = group.sample(rng, 3)
    there = np.concatenate(move_sprites(sprites, "d4", g), 1)
    np.testing.assert_array_equal(
        np.concatenate(move_sprites(there, "d4", group.inverse(g)), 1), sprites
    )


def test_cut_outs_subjects_labels_and_fit(tmp_path: Path) -> None:
    source = cut_outs(write_cut_outs(tmp_path))
    np.testing.assert_array_equal(source.subjects("all"), np.arange(60) % NUM_OBJECTS)
    assert source.labels("all", np.arange(6)).tolist() == [0, 0, 1, 1, 1, 0]
    assert source.label_meaning == "folder: 0 birds, 1 planes"
    assert "objects/birds/object0.png" in source.checksums()
    sprite = source.objects("all", np.array([2]), make_group("c4").identity(1))
    down, across = np.nonzero(sprite.alpha[0, 0] > 128)
    assert abs(down.mean() - 15.5) < 0.51
    assert abs(across.mean() - 15.5) < 0.51
    np.testing.assert_array_equal(sprite.colour[0, :, 16, 16], (100, 200, 90))
    used = {source.backgrounds("all", np.array([i])).tobytes() for i in range(60)}
    assert len(used) == NUM_BACKGROUNDS


def test_backgrounds_may_lie_in_folders_named_like_splits(tmp_path: Path) -> None:
    """Their folders mean nothing, so nothing can be mistaken."""
    skies = write_cut_outs(tmp_path) / "backgrounds"
    (skies / "train").mkdir()
    for file in [path for path in skies.iterdir() if path.is_file()]:
        file.rename(skies / "train" / file.name)
    assert "backgrounds/train/sky1.png" in cut_outs(tmp_path).checksums()


def two_objects(root: Path) -> str:
    """Splits of three would have to share one."""
    for file in (root / "objects" / "planes").iterdir():
        file.unlink()
    return f"{root / 'objects'} holds 2 of the at least 3 cut-outs that are needed"


def opaque(root: Path) -> str:
    Image.new("RGB", (8, 8)).save(root / "objects" / "planes" / "opaque.png")
    return "opaque.png has no transparency"


def invisible(root: Path) -> str:
    Image.new("RGBA", (8, 8)).save(root / "objects" / "birds" / "object0.png")
    return "object0.png is transparent everywhere"


def torn(root: Path) -> str:
    path = root / "objects" / "birds" / "object0.png"
    path.write_bytes(path.read_bytes()[:-40])
    return "object0.png cannot be decoded"


def no_picture(root: Path) -> str:
    (root / "backgrounds" / "sky0.jpg").write_text("sky")
    return "sky0.jpg is not a picture of PNG"


def no_backgrounds(root: Path) -> str:
    for file in (root / "backgrounds").iterdir():
        file.unlink()
    return "backgrounds holds no file"


FAULTS = [opaque, invisible, torn, no_picture, no_backgrounds, two_objects]


@pytest.mark.parametrize("spoil", FAULTS)
def test_faulty_cut_outs_are_one_line(tmp_path: Path, spoil: Callable[[Path], str]) -> None:
    fault = spoil(write_cut_outs(tmp_path))
    with pytest.raises(ValueError) as error:
        cut_outs(tmp_path).objects("all", np.arange(6), make_group("c4").identity(6))
    assert fault in str(error.value)
    assert "\n" not in str(error.value)


def test_groups_of_space_are_refused(open_source: Callable[..., ObjectSource]) -> None:
    for group in ("so3", "octahedral"):
        with pytest.raises(ValueError, match=f"group={group} cannot move.*allowed: groups of the"):
            open_source(group)


def test_missing_root_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"give source\.root=DIR"):
        CutOutsSource(CutOutsSourceConfig("folders"), 0, 6, "c4")
    with pytest.raises(FileNotFoundError, match="objects: there is no such directory"):
        cut_outs(tmp_path)
