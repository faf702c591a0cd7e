"""Pictures of world models show what they say.

Protects the numbers behind them: planes of latents, mixtures of copies of irreps, nearest
frames; and that each picture is drawn.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.noise_worlds import LENGTH, NoiseWorld
from helpers.tiny_rotations import Drawing, ReadingModel, TinyRotations
from helpers.tiny_world import ExactModel, TinyWorld, make_store
from PIL import Image

from pipeline.analysis.worlds.encoding import encode_frames
from pipeline.analysis.worlds.episodes import Episodes, read_episodes
from pipeline.evaluation.pictures.first_layer import write_first_layer
from pipeline.evaluation.pictures.worlds.irreps import principal_copies, write_irreps
from pipeline.evaluation.pictures.worlds.latent_fields import field_copies, latent_field
from pipeline.evaluation.pictures.worlds.latent_grid import (
    cell_colours,
    planar_points,
    write_latent_grid,
)
from pipeline.evaluation.pictures.worlds.nearest import make_bank
from pipeline.evaluation.pictures.worlds.orbits import write_decoded_orbits
from pipeline.evaluation.pictures.worlds.rollouts import write_rollouts
from pipeline.evaluation.pictures.worlds.traversal import Traversal, write_traversal
from pipeline.evaluation.pictures.worlds.write import draw_irreps, draw_traversals
from pipeline.groups import make_group
from pipeline.groups.decomposition import Copy, copies_of_irreps
from pipeline.world_models.building import make_world_model
from pipeline.world_models.settings import ReacherModelConfig

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


@pytest.mark.parametrize("kind", ["ours", "none"])
def test_latent_fields_of_a_reacher_split_into_irreps(kind: str, tmp_path: Path) -> None:
    """Moving a latent moves each panel by its irrep; unconstrained latents have no such panels."""
    store = make_store(tmp_path / "data", NoiseWorld("reacher"))
    torch.manual_seed(0)
    config = ReacherModelConfig("reacher", kind, channels=4, hidden=4, dilations=(2,))  # type: ignore[arg-type]
    model = make_world_model(config, store.manifest).eval()
    episodes = Episodes(store.split("test"), model.group, 5, 1, LENGTH)
    path = tmp_path / "irreps.png"
    assert draw_irreps(path, model, episodes, 16, CPU, "latents") == (kind == "ours")
    assert path.exists() == (kind == "ours")
    if kind == "none":
        return
    assert_drawn(path)
    latents = torch.randn(6, 4, 8, generator=torch.Generator().manual_seed(1))
    field = latent_field(latents, model.group)
    assert field is not None
    copies = field_copies(model, latents.shape[1:], field, CPU)
    assert copies is not None
    irreps = {irrep.name: irrep for irrep in model.group.irreps(0)}
    for g in model.group.elements():
        moved = model.act_on_latent(latents, g.expand(6))[:, field].double()
        for copy in copies:
            matrix = irreps[copy.name].matrix(g[None])[0].double()
            wanted = latents[:, field].double() @ copy.rows.T @ matrix.T
            torch.testing.assert_close(moved @ copy.rows.T, wanted, atol=1e-6, rtol=1e-5)


def test_traversals_are_drawn_for_latents_that_are_rotations(tmp_path: Path) -> None:
    store = make_store(tmp_path / "data", TinyRotations(3, 2))
    episodes = read_episodes(store.manifest, store.split("test"), "test", make_group("so3"), None)
    path = tmp_path / "traversal.png"
    assert draw_traversals(path, ReadingModel(), episodes, Drawing(), 16, CPU, "turns")
    assert_drawn(path)

    class Flat(ReadingModel):
        def encode(self, embedding: torch.Tensor) -> torch.Tensor:
            return embedding.flatten(1)

        def predict(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
            return latent

    assert not draw_traversals(tmp_path / "none.png", Flat(), episodes, Drawing(), 16, CPU, "")


def test_every_picture_is_drawn(tmp_path: Path) -> None:
    weights = torch.randn(20, 20, generator=torch.Generator().manual_seed(0))
    write_first_layer(tmp_path / "first_layer.png", weights, "weights")
    cells = RNG.integers(0, 5, (60, 2, 2))
    write_latent_grid(tmp_path / "latent_grid.png", cells.astype(float), cells, "grid")
    write_irreps(
        tmp_path / "irreps.png",
        d4_copies(),
        RNG.standard_normal((90, 8)),
        RNG.standard_normal((5, 8)),
        "irreps",
    )
    frames = RNG.random((2, 4, 3, 8, 8))
    write_rollouts(tmp_path / "rollouts.png", range(4), frames, frames, "decoded", "rollouts")
    names = [["0", "90", "180", "270"]] * 2
    write_decoded_orbits(tmp_path / "orbit.png", names, frames, frames, "decoded", "orbit")
    turns = np.tile(np.eye(3), (4, 1, 1))
    each = Traversal("yaw", frames[0], turns, turns, np.array([True, True, False, True]))
    write_traversal(tmp_path / "traversal.png", [each], "traversal")
    drawn = list(tmp_path.glob("*.png"))
    assert len(drawn) == 6
    for path in drawn:
        assert_drawn(path)
