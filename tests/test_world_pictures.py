"""Pictures of world models show what they say.

Protects the numbers behind them: planes of latents, copies of irreps and their mixtures, angles and
their colours, nearest frames, decoded orbits; and that each picture is drawn.
"""

import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.noise_worlds import LENGTH, NoiseWorld
from helpers.preparing import prepare_config
from helpers.tiny_rotations import ReadingModel, TinyRotations, draw_this_world
from helpers.tiny_world import SIDE, ExactModel, TinyWorld, make_store, render
from helpers.world_models import world_model
from PIL import Image

from data_prep.settings.sources import NoSourceConfig
from data_prep.settings.worlds import EpisodeDatasetConfig
from data_prep.worlds.make import make_world
from orbit.core.groups import make_group
from orbit.core.groups.irreps import Copy, copies_of_irreps
from orbit.core.store.facts import Solid
from orbit.core.store.manifest import ColumnSpec
from pipeline.methods.sequence_labelling.task import write_first_layer
from pipeline.methods.world_model.measures.encoding import Episodes, encode_frames, read_episodes
from pipeline.methods.world_model.pictures.latents import (
    FibreStates,
    angle_colours,
    cell_colours,
    fibre_copies,
    fibre_places,
    planar_points,
    principal_copies,
    with_signs,
    write_irreps,
    write_latent_grid,
)
from pipeline.methods.world_model.pictures.rollouts import (
    DecodedOrbits,
    decoded_frames,
    decoded_orbits,
    make_bank,
    preview_rows,
    write_decoded_orbits,
    write_rollouts,
)
from pipeline.methods.world_model.pictures.write import (
    Traversal,
    draw_irreps,
    draw_traversals,
    state_angles,
    write_traversal,
)
from pipeline.world_models.building import make_world_model
from pipeline.world_models.settings import ReacherModelConfig
from pipeline.world_models.world_model import WorldModel

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)


def assert_drawn(path: Path) -> None:
    with Image.open(path) as picture:
        assert np.asarray(picture.convert("L")).std() > 5


def test_planes_of_latents() -> None:
    """A copy of the regular representation holds one plane that turns: its antisymmetric part."""
    places = RNG.integers(-2, 3, (50, 3, 2)).astype(float)
    x, y = places[..., 0], places[..., 1]
    turning = np.stack([x, y, -x, -y], -1)
    still = 0.1 * RNG.standard_normal((50, 3, 4))
    points, what = planar_points(np.stack([still, turning + 7.0], -1))
    np.testing.assert_allclose(points, 2 * places)
    assert "turns" in what
    assert planar_points(places)[0] is places
    wide = places @ RNG.standard_normal((2, 8))
    points, what = planar_points(wide)
    assert "principal" in what
    for index in range(3):
        flat, seen = wide[:, index] - wide[:, index].mean(0), points[:, index]
        np.testing.assert_allclose(flat @ flat.T, seen @ seen.T, atol=1e-8)


def test_cells_have_colours_of_their_own() -> None:
    lattice = np.stack(np.meshgrid(np.arange(5), np.arange(5), indexing="ij"), -1)
    colours = cell_colours(lattice).reshape(25, 3)
    apart = np.abs(colours[:, None] - colours).sum(-1) + np.eye(25)
    assert apart.min() > 0.05


def d4_copies() -> list[Copy]:
    group = make_group("d4")
    elements = group.elements()
    matrices = torch.zeros(8, 8, 8)
    for place in range(8):
        g = elements[place : place + 1].expand_as(elements)
        after = group.element_index(group.compose(g, elements))
        matrices[place, after, torch.arange(8)] = 1
    return copies_of_irreps(group.irreps(0), elements, matrices)


def test_the_first_of_several_copies_holds_the_most() -> None:
    """Mixing copies keeps what all of them hold together, and their irreps."""
    copies = d4_copies()
    states = RNG.standard_normal((200, 8)) @ RNG.standard_normal((8, 8))
    mixed = principal_copies(copies, states)
    assert [copy.name for copy in mixed] == [copy.name for copy in copies]
    basis = torch.cat([copy.rows for copy in mixed])
    torch.testing.assert_close(basis @ basis.T, torch.eye(8).double())
    centred = torch.from_numpy(states - states.mean(0))
    held = [float((centred @ copy.rows.T).square().sum()) for copy in mixed]
    before = [float((centred @ copy.rows.T).square().sum()) for copy in copies]
    assert held[:4] == pytest.approx(before[:4])
    assert held[4] >= max(before[4:])
    assert held[4] + held[5] == pytest.approx(before[4] + before[5])


def test_signs_of_principal_axes_are_not_those_that_a_library_chose() -> None:
    """Whichever of an axis and its negative it finds, also where two components tie."""
    axes = np.array([[0.1, -0.9, 0.3], [0.6, -0.6 * (1 + 1e-12), 0.2], [0.0, 1.0, 0.0]])
    wanted = np.array([-1.0, 1.0, 1.0])[:, None] * axes
    for signs in itertools.product((1.0, -1.0), repeat=3):
        assert np.array_equal(with_signs(np.array(signs)[:, None] * axes), wanted)


def test_latents_are_shown_along_the_positive_ends_of_their_axes() -> None:
    latents = np.random.default_rng(1).standard_normal((50, 1, 3)) * [5.0, 2.0, 1.0]
    points, _ = planar_points(latents)
    axes = np.array([points[:, 0, 0] @ latents[:, 0], points[:, 0, 1] @ latents[:, 0]])
    assert (axes.argmax(1) == [0, 1]).all()


def test_nearest_frames_are_those_of_the_latents(tmp_path: Path) -> None:
    store = make_store(tmp_path / "data", TinyWorld())
    group = make_group("c4")
    episodes = read_episodes(store.manifest, store.split("test"), "test", group, None)
    model = ExactModel()
    bank = make_bank(model, episodes, 16, CPU, 66)
    assert len(bank.latents) == 66
    frames = episodes.frames(np.array([4, 1]), 0, [3, 0])
    _, latents = encode_frames(model, frames, 16, CPU)
    np.testing.assert_array_equal(bank.nearest(latents + 0.1), frames / 255)


class StillModel(ExactModel):
    """It predicts that nothing changes."""

    def predict(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return latent


@pytest.mark.parametrize(("model", "row"), [(ExactModel(), "truth"), (StillModel(), "source")])
def test_previews_show_the_frame_nearest_to_a_prediction(
    model: ExactModel, row: str, tmp_path: Path
) -> None:
    reader = make_store(tmp_path / "data", TinyWorld()).split("test")
    records = reader.read(np.arange(8))
    rows = preview_rows(model, records, reader.frames)  # type: ignore[arg-type]
    assert list(rows) == ["source", "nearest to prediction", "truth"]
    np.testing.assert_array_equal(rows["nearest to prediction"], rows[row])
    assert not np.array_equal(rows["source"], rows["truth"])


@pytest.mark.parametrize("kind", ["ours", "none"])
def test_fibres_of_a_reacher_split_into_irreps(kind: str, tmp_path: Path) -> None:
    """Moving a latent moves each panel by its irrep; unconstrained latents have no such panels."""
    store = make_store(tmp_path / "data", NoiseWorld("reacher"))
    torch.manual_seed(0)
    config = ReacherModelConfig("reacher", kind, channels=4, hidden=4, dilations=(2,))  # type: ignore[arg-type]
    model = make_world_model(config, store.manifest).eval()
    episodes = Episodes(store.split("test"), model.group, 5, 1, LENGTH)
    assert state_angles(store.manifest) is None
    path = tmp_path / "irreps.png"
    assert draw_irreps(path, model, episodes, None, 16, CPU, "latents") == (kind == "ours")
    assert path.exists() == (kind == "ours")
    if kind == "ours":
        assert_drawn(path)
        assert_panels_move_by_their_irreps(model, torch.Size((4, 8)), 1)


@pytest.mark.parametrize("world", ["grid", "rush_hour"])
def test_fibres_of_each_object_on_a_board_split_into_irreps(world: str) -> None:
    model = world_model(f"experiment={'shapes_2d' if world == 'grid' else world}")
    assert_panels_move_by_their_irreps(model, torch.Size((5, 4, 2)), 5)


def assert_panels_move_by_their_irreps(
    model: WorldModel, shape: torch.Size, num_objects: int
) -> None:
    latents = torch.randn(6, *shape, generator=torch.Generator().manual_seed(1))
    places = fibre_places(latents, model.group, model.num_objects)
    assert len(places) == num_objects
    irreps = {irrep.name: irrep for irrep in model.group.irreps(0)}
    for place in places:
        copies = fibre_copies(model, shape, place, CPU)
        assert copies is not None
        assert {copy.name for copy in copies} == set(irreps)
        for g in model.group.elements():
            moved = model.act_on_latent(latents, g.expand(6))
            before, after = (x[(slice(None), *place)].double() for x in (latents, moved))
            for copy in copies:
                matrix = irreps[copy.name].matrix(g[None])[0].double()
                wanted = before @ copy.rows.T @ matrix.T
                torch.testing.assert_close(after @ copy.rows.T, wanted, atol=1e-6, rtol=1e-5)


def test_the_fibre_that_varies_most_is_shown() -> None:
    d4, c4 = make_group("d4"), make_group("c4")
    latents = torch.randn(50, 3, 8, generator=torch.Generator().manual_seed(2))
    latents[:, 1] *= 2
    assert fibre_places(latents, d4, 1) == [(1, slice(None))]
    boards = torch.randn(50, 2, 4, 3, generator=torch.Generator().manual_seed(3))
    boards[:, 0, :, 2] *= 2
    boards[:, 1, :, 0] *= 2
    assert fibre_places(boards, c4, 2) == [(0, slice(None), 2), (1, slice(None), 0)]
    for other in (latents[..., :2], latents.flatten(1), boards.flatten(2), boards[:, :, :2]):
        assert fibre_places(other, c4, 2) == []
    assert fibre_places(latents[..., :3], make_group("so3"), 1) == []


@pytest.mark.parametrize("name", ["shapes_2d", "blocks_3d", "rush_hour", "reacher_planar"])
def test_angles_of_states_turn_with_the_group(name: str) -> None:
    """The direction of the angle moves by the group's matrices; what has none keeps none."""
    config = prepare_config("out=-", f"dataset={name}").dataset
    assert isinstance(config, EpisodeDatasetConfig)
    world = make_world(config.world, None, NoSourceConfig())
    states = world.reset(0, 0, np.arange(40), False)
    column = ColumnSpec("float32", (world.state_size,), "")
    manifest = SimpleNamespace(facts=world.facts, columns={"state": column})
    known = state_angles(manifest)  # type: ignore[arg-type]
    assert known is not None
    angles = known.of(states)
    assert np.isnan(angles).any() == (name != "reacher_planar")
    group = make_group(world.group)
    matrices = next(irrep for irrep in group.irreps(0) if irrep.size == 2).matrix(group.elements())
    for g, matrix in zip(group.elements(), matrices.numpy(), strict=True):
        moved = known.of(world.act_on_state(states, g.expand(40)))
        x, y = np.cos(np.radians(angles)), np.sin(np.radians(angles))
        wanted = np.stack(
            [matrix[0, 0] * x + matrix[0, 1] * y, matrix[1, 0] * x + matrix[1, 1] * y]
        )
        found = np.stack([np.cos(np.radians(moved)), np.sin(np.radians(moved))])
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_colours_of_angles_end_as_they_begin() -> None:
    """Near angles look alike, also across the end of the scale; opposite ones do not."""
    angles = np.arange(-180.0, 180.0, 5.0)
    colours = angle_colours(angles)[:, :3]
    np.testing.assert_allclose(colours, angle_colours(angles + 360)[:, :3], atol=0.02)
    steps = np.abs(np.roll(colours, -1, 0) - colours).sum(1)
    assert steps.max() < 0.25
    assert np.abs(np.roll(colours, 36, 0) - colours).sum(1).min() > 0.3
    assert angle_colours(np.array([np.nan])).tolist() == [[0.6, 0.6, 0.6, 1.0]]


def test_decoded_orbits_of_an_exact_model_are_the_frames_of_the_twins(tmp_path: Path) -> None:
    store = make_store(tmp_path / "data", TinyWorld())
    group = make_group("c4")
    episodes = read_episodes(store.manifest, store.split("test"), "test", group, None)
    model, numbers = ExactModel(), np.array([0, 3, 7])

    def decode(latents: torch.Tensor) -> torch.Tensor:
        places = (latents[:, :, 0] + SIDE // 2).round().long().numpy()
        return torch.from_numpy(render(places)).float() / 255

    show = decoded_frames(decode, episodes, 5)
    orbits = decoded_orbits(model, episodes, numbers, show, CPU)  # type: ignore[arg-type]
    assert orbits is not None
    assert orbits.names == [group.names(group.elements())] * 3
    np.testing.assert_array_equal(orbits.decoded, orbits.truth)
    for twin in range(4):
        frames = episodes.frames(numbers, twin, [0])[:, 0] / 255
        np.testing.assert_array_equal(orbits.truth[:, twin], frames)
    plain = make_store(tmp_path / "plain", TinyWorld(num_twins=1))
    alone = read_episodes(plain.manifest, plain.split("test"), "test", group, None)
    assert decoded_orbits(model, alone, numbers, show, CPU) is None  # type: ignore[arg-type]


def test_traversals_are_drawn_for_latents_that_are_rotations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_this_world(monkeypatch)
    store = make_store(tmp_path / "data", TinyRotations(3, 2))
    episodes = read_episodes(store.manifest, store.split("test"), "test", make_group("so3"), None)
    path = tmp_path / "traversal.png"
    assert draw_traversals(path, ReadingModel(), episodes, Solid(3), 16, CPU, "turns")
    assert_drawn(path)

    class Flat(ReadingModel):
        def encode(self, embedding: torch.Tensor) -> torch.Tensor:
            return embedding.flatten(1)

        def predict(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
            return latent

    assert not draw_traversals(tmp_path / "none.png", Flat(), episodes, Solid(3), 16, CPU, "")


def test_every_picture_is_drawn(tmp_path: Path) -> None:
    weights = torch.randn(20, 20, generator=torch.Generator().manual_seed(0))
    write_first_layer(tmp_path / "first_layer.png", weights, "weights")
    cells = RNG.integers(0, 5, (60, 2, 2))
    write_latent_grid(tmp_path / "latent_grid.png", cells.astype(float), cells, "grid")
    states, episode = RNG.standard_normal((90, 8)), RNG.standard_normal((5, 8))
    angles = RNG.uniform(-180, 180, 90)
    for name, known in (("densities", (None, None)), ("irreps", (angles, angles[:5]))):
        fibre = FibreStates("object 0", d4_copies(), states, episode, *known)
        write_irreps(tmp_path / f"{name}.png", [fibre, fibre], "first link", "irreps")
    frames = RNG.random((2, 4, 3, 8, 8))
    write_rollouts(tmp_path / "rollouts.png", range(4), frames, frames, "decoded", "rollouts")
    orbits = DecodedOrbits([["0", "90", "180", "270"]] * 2, frames, frames)
    write_decoded_orbits(tmp_path / "orbit.png", orbits, "decoded", "orbit")
    turns = np.tile(np.eye(3), (4, 1, 1))
    each = Traversal("yaw", frames[0], turns, turns, np.array([True, True, False, True]))
    write_traversal(tmp_path / "traversal.png", [each], "traversal")
    drawn = list(tmp_path.glob("*.png"))
    assert len(drawn) == 7
    for path in drawn:
        assert_drawn(path)
