"""World models have the paper's sizes and commute with their groups."""

import numpy as np
import pytest
import torch
from helpers.world_models import MOVES, TORQUES, frames, kind_words, seen, world_model
from torch import nn

from data_prep.settings.sources import NoSourceConfig
from data_prep.settings.worlds import ReacherPlanarWorldConfig
from data_prep.worlds.blocks_3d import blocks_3d
from data_prep.worlds.interface import World
from data_prep.worlds.make import make_world
from data_prep.worlds.rush_hour import RushHour
from orbit.core.groups import make_group, quaternions
from orbit.core.store.manifest import FrameSpec
from pipeline.world_models.grid.networks import GraphTransition, one_hot, without_self
from pipeline.world_models.grid.symmetric import make_grid_model
from pipeline.world_models.reacher import make_reacher_model
from pipeline.world_models.settings import GridModelConfig, Kind, ReacherModelConfig
from pipeline.world_models.teapot import gram_schmidt, multiply
from pipeline.world_models.world_model import WorldModel

SIZES = {
    # S, E, T as counted in the released code and, for 2D Shapes, in C-SWM's
    "blocks_3d/none": (21_029, 1_545_218, 1_059_330),
    "blocks_3d/full": (13_205, 905_218, 1_060_098),
    "blocks_3d/ours": (21_029, 905_218, 1_060_098),
    "reacher/none": (50_696, 5_289_476, 269_316),
    "reacher/full": (66_284, 3_747_247, 274_762),
    "reacher/ours": (50_696, 3_686_431, 274_762),
    "shapes_2d/none": (9_861, 278_018, 1_059_330),
    "shapes_2d/ours": (4_933, 272_386, 1_060_098),
    # Ours
    "rush_hour/none": (10_356, 316_418, 1_059_330),
    "rush_hour/ours": (5_188, 293_890, 1_063_170),
    "teapot/ours": (1_504_966, 0, 0),
    "teapot/none": (1_504_966, 0, 278_025),
}
SMALL = ("task.model.hidden=8", "task.model.channels=4")


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", SIZES)
def test_parameters_are_those_of_the_paper(name: str) -> None:
    model = world_model(*kind_words(name))
    parts = (model.embedding, model.encoder, model.transition)
    assert tuple(map(count, parts)) == SIZES[name]
    assert count(model) == sum(SIZES[name])


SHAPES = {
    # y, z
    "blocks_3d/none": ((5, 50, 50), (5, 2)),
    "blocks_3d/none_matched": ((5, 50, 50), (5, 8)),
    "blocks_3d/full": ((5, 50, 50), (5, 4, 2)),
    "blocks_3d/ours": ((5, 50, 50), (5, 4, 2)),
    "shapes_2d/none": ((5, 5, 5), (5, 2)),
    "shapes_2d/full": ((5, 5, 5), (5, 4, 2)),
    "shapes_2d/ours": ((5, 5, 5), (5, 4, 2)),
    "shapes_2d/masked": ((5, 2, 5, 5), (5, 10)),
    "rush_hour/none_matched": ((5, 4, 5, 5), (5, 8)),
    "rush_hour/full": ((5, 4, 5, 5), (5, 4, 2)),
    "rush_hour/ours": ((5, 4, 5, 5), (5, 4, 2)),
    "reacher/none": ((8, 33, 33), (4,)),
    "reacher/none_matched": ((8, 33, 33), (32,)),
    "reacher/full": ((64, 33, 33), (4, 8)),
    "reacher/ours": ((8, 33, 33), (4, 8)),
}
NO_FIBRES = ((5, 2), (4,))
"""Latents of `none` on which the group has no action."""


@pytest.fixture(scope="module", params=SHAPES)
def small(request: pytest.FixtureRequest) -> tuple[str, WorldModel]:
    """Each model with narrow layers, running statistics off their start."""
    model = world_model(*kind_words(request.param), *SMALL)
    model.train()
    with torch.no_grad():
        model.encode(model.embed(seen(model, 3)))
    return request.param, model.eval()


def actions_of(model: WorldModel, num: int) -> torch.Tensor:
    rng = np.random.default_rng(num)
    if model.group.name == "c4":
        drawn = np.stack((rng.integers(0, 5, num), rng.integers(0, 4, num)), 1)
    else:
        drawn = rng.uniform(-1, 1, (num, 2))
    return torch.from_numpy(drawn).float()


def world_of(name: str) -> World | None:
    if name.startswith("rush_hour"):
        return RushHour(None)
    return None if name.startswith("reacher") else blocks_3d(None)


def moved_actions(name: str, actions: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Actions as the world says that the group moves them; of torques, mirrors turn the sign."""
    world = world_of(name)
    if world is None:
        return actions * torch.where(g < 4, 1.0, -1.0)[:, None]
    return torch.from_numpy(world.act_on_action(actions.numpy(), g))


@torch.no_grad()
def test_shapes_and_the_path_through_the_model(small: tuple[str, WorldModel]) -> None:
    name, model = small
    images, actions = seen(model, 3), actions_of(model, 3)
    y = model.embed(images)
    z = model.encode(y)
    assert (tuple(y.shape[1:]), tuple(z.shape[1:])) == SHAPES[name]
    assert model.predict(z, actions).shape == z.shape
    stored = (255 * images).round().to(torch.uint8)
    torch.testing.assert_close(model.normalise(stored), images, atol=1 / 255, rtol=0)
    latent = model.encode(model.embed(model.normalise(stored)))
    assert torch.equal(model.latent(stored), latent)


@torch.no_grad()
def test_encoder_and_transition_commute_with_every_element(
    small: tuple[str, WorldModel],
) -> None:
    """rho_Z(g) E(y) = E(rho_Y(g) y) and rho_Z(g) T(z, a) = T(rho_Z(g) z, rho_A(g) a).

    Of `ours` and `full` alone: the naive reading of `none_matched` is no symmetry of it.
    """
    name, model = small
    if SHAPES[name][1] in NO_FIBRES:
        return
    elements = model.group.elements()
    num = len(elements)
    y = model.embed(seen(model, num))
    z, actions = model.encode(y), actions_of(model, num)
    found = model.encode(model.act_on_embedding(y, elements))
    moved = model.predict(model.act_on_latent(z, elements), moved_actions(name, actions, elements))
    wanted = model.act_on_latent(model.predict(z, actions), elements)
    errors = ((found - model.act_on_latent(z, elements)).abs().max(), (moved - wanted).abs().max())
    assert (found - z)[1:].abs().max() > 1e-3
    assert (max(errors) < 1e-5) == ("none" not in name), errors


@torch.no_grad()
def test_only_full_embeddings_commute_with_turns_of_the_picture(
    small: tuple[str, WorldModel],
) -> None:
    name, model = small
    elements = model.group.elements()
    images = seen(model, len(elements))
    turned = model.embed(model.group.act_on_image(images, elements))
    error = (turned - model.act_on_embedding(model.embed(images), elements)).abs().max()
    assert (error < 1e-5) == name.endswith("full"), error


@torch.no_grad()
def test_actions_on_embedding_and_latent_are_actions(small: tuple[str, WorldModel]) -> None:
    """Acting with h, then g, is acting with g h, for all pairs."""
    name, model = small
    group = model.group
    elements = group.elements()
    num = len(elements)
    g, h = elements.repeat_interleave(num), elements.repeat(num)
    y = torch.rand(num**2, *SHAPES[name][0])
    z = torch.rand(num**2, *SHAPES[name][1])
    both = group.compose(g, h)
    act = model.act_on_embedding
    assert torch.equal(act(act(y, h), g), act(y, both))
    if SHAPES[name][1] in NO_FIBRES:
        with pytest.raises(ValueError, match="no action on the latent"):
            model.act_on_latent(z, g)
        return
    act = model.act_on_latent
    assert torch.equal(act(act(z, h), g), act(z, both))


@torch.no_grad()
def test_embeddings_of_cells_follow_worlds_that_turn() -> None:
    """S sees one cell at a time: where things are drawn alike in every cell, it commutes with
    turning the board, with no weights trained. Rush Hour's headings are drawn, so it does not."""
    world = blocks_3d(None)
    for name, board, commutes in (
        ("shapes_2d/ours", _shapes(), True),
        ("rush_hour/ours", RushHour(None), False),
        ("blocks_3d/ours", world, False),
    ):
        model = world_model(*kind_words(name), *SMALL).eval()
        states = board.reset(0, 0, np.arange(4), False)
        g = torch.arange(4)
        turned = board.render(board.act_on_state(states, g))
        y, turned_y = (
            model.embed(model.normalise(torch.from_numpy(pictures)))
            for pictures in (board.render(states), turned)
        )
        error = (turned_y - model.act_on_embedding(y, g)).abs().max()
        assert (error < 1e-6) == commutes, name


@torch.no_grad()
def test_the_full_reacher_follows_an_arm_seen_from_above() -> None:
    """Its pictures turn and mirror bit for bit: with no weights trained, S, E and T of `full`
    commute with the world; S of `ours` does not."""
    config = ReacherPlanarWorldConfig("reacher_planar", 33)
    world = make_world(config, None, NoSourceConfig())
    states = world.reset(0, 0, np.zeros(8, np.int64), False)
    actions = world.draw_actions(0, 0, np.zeros(8, np.int64), 0, states, False)
    g = torch.arange(8)
    kinds: tuple[Kind, ...] = ("ours", "full")
    for kind in kinds:
        model = make_reacher_model(
            ReacherModelConfig("reacher", kind, 2, 4, dilations=(2,)),
            make_group("d4"),
            world.frames,
            world.action_components,
        ).eval()
        y, turned_y = (
            model.embed(model.normalise(torch.from_numpy(world.render(each))))
            for each in (states, world.act_on_state(states, g))
        )
        error = (turned_y - model.act_on_embedding(y, g)).abs().max()
        assert (error < 1e-5) == (kind == "full")

    def predicted(state: np.ndarray, action: np.ndarray) -> torch.Tensor:
        z = model.latent(torch.from_numpy(world.render(state)))
        return model.predict(z, torch.from_numpy(action))

    moved = predicted(world.act_on_state(states, g), world.act_on_action(actions, g))
    wanted = model.act_on_latent(predicted(states, actions), g)
    torch.testing.assert_close(moved, wanted, rtol=1e-4, atol=1e-4)


def _shapes() -> World:
    from data_prep.settings.worlds import Shapes2dWorldConfig
    from data_prep.worlds.shapes_2d import shapes_2d

    return shapes_2d(Shapes2dWorldConfig("shapes_2d"), None)


def test_the_graph_network_is_the_sum_over_other_objects() -> None:
    """Against a loop over ordered pairs with the first and last layers applied to each."""
    graph = GraphTransition(nn.Linear, nn.LayerNorm, 2, 3, 8)
    z, a = torch.randn(4, 5, 2), torch.randn(4, 5, 3)
    with torch.no_grad():
        assert graph.receiver.bias is not None
        messages = torch.zeros(4, 5, 8)
        for i in range(5):
            for j in range(5):
                if i != j:
                    first = graph.receiver(z[:, i]) + graph.sender(z[:, j])
                    messages[:, i] += graph.edge_output(graph.edge_hidden(first))
        wanted = z + graph.node(torch.cat((z, a, messages), -1))
        torch.testing.assert_close(graph(z, a), wanted, rtol=1e-5, atol=1e-5)


def test_pairs_leave_out_the_diagonal() -> None:
    pairs = torch.arange(9).view(1, 3, 3)
    assert without_self(pairs).tolist() == [[[1, 2], [3, 5], [6, 7]]]


def test_moves_are_one_hot_by_object() -> None:
    hot = one_hot(torch.tensor([[0.0, 3.0], [4.0, 1.0]]), 5)
    assert hot.shape == (2, 5, 4)
    assert hot.nonzero().tolist() == [[0, 0, 3], [1, 4, 1]]


@pytest.mark.parametrize("kind", ["none", "ours"])
@torch.no_grad()
def test_the_teapot_lives_on_rotations(kind: str) -> None:
    words = ("task.model.transition_hidden=8",) if kind == "none" else ()
    words += (*kind_words(f"teapot/{kind}"), "task.model.channels=[2,4]")
    model = world_model(*words).eval()
    z = model.encode(model.embed(seen(model, 6)))
    torch.testing.assert_close(multiply(z.mT, z), torch.eye(3).expand(6, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(z), torch.ones(6))
    group = model.group
    g, a = (group.sample(np.random.default_rng(seed), 6) for seed in (0, 1))
    moved = model.act_on_latent(z, g)
    torch.testing.assert_close(moved, quaternions.to_matrix(g) @ z)
    assert torch.equal(moved, model.act_on_embedding(z, g))
    predicted = model.predict(z, group.encode(a))
    # rho_A(g) a = g a g^-1
    conjugate = group.compose(group.compose(g, a), group.inverse(g))
    error = (
        model.predict(moved, group.encode(conjugate)) - model.act_on_latent(predicted, g)
    ).abs()
    if kind == "ours":
        torch.testing.assert_close(predicted, quaternions.to_matrix(a) @ z)
        assert error.max() < 1e-5
    else:
        assert error.max() > 1e-2


def test_gram_schmidt_makes_rotations_of_anything() -> None:
    """Also of parallel, tiny and huge vectors; the first column keeps its direction."""
    vectors = torch.randn(50, 2, 3) * torch.logspace(-4, 4, 50)[:, None, None]
    rotations = gram_schmidt(vectors)
    torch.testing.assert_close(
        multiply(rotations, rotations.mT), torch.eye(3).expand(50, 3, 3), atol=1e-5, rtol=0
    )
    first = nn.functional.normalize(vectors[:, 0], dim=1)
    torch.testing.assert_close(rotations[:, :, 0], first, atol=1e-5, rtol=0)
    assert gram_schmidt(torch.zeros(1, 6)).isfinite().all()


REFUSED = {
    "cells=4 does not divide": (GridModelConfig("grid", "ours", "cells", 4, 8, cells=4), 50),
    "pool=3 does not divide": (GridModelConfig("grid", "ours", "pixels", 4, 8, pool=3), 50),
    "33, 65 or 129 pixels a side, not 128x128": (ReacherModelConfig("reacher", "ours", 4, 8), 128),
}


@pytest.mark.parametrize("words", REFUSED)
def test_frames_that_do_not_fit_are_refused(words: str) -> None:
    config, side = REFUSED[words]
    if isinstance(config, GridModelConfig):
        with pytest.raises(ValueError, match=words):
            make_grid_model(config, make_group("c4"), frames(3, side), MOVES)
        return
    with pytest.raises(ValueError, match=words):
        make_reacher_model(config, make_group("d4"), frames(6, side), TORQUES)


def test_actions_that_do_not_fit_are_refused() -> None:
    spec: FrameSpec = frames(3, 50)
    config = GridModelConfig("grid", "ours", "cells", 4, 8)
    with pytest.raises(ValueError, match="object and direction, not torque_0, torque_1"):
        make_grid_model(config, make_group("c4"), spec, TORQUES)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("task.model.pool=2",), "pool has no effect with view=cells"),
        (("task.model.view=pixels", "task.model.cells=4"), "cells has no effect"),
        (("task.model.hidden=0",), "hidden=0 must be at least 1"),
        (("task.loss.name=variational",), "does not train model.name=grid; allowed: contrastive"),
        (("task.loss.sigma=0",), "sigma=0.0 must be positive"),
    ],
)
def test_settings_without_effect_are_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        world_model("experiment=shapes_2d", *words)
