"""Protects the grid worlds: their group commutes with the dynamics, moves and pictures are right.

Laws are tested for every group element on many drawn states with every action.
"""

import itertools
import math
import zlib

import numpy as np
import pytest
import torch
from helpers.preparing import prepare_config

from data_prep.settings.sources import NoSourceConfig, TableSourceConfig
from data_prep.settings.worlds import (
    Blocks3dWorldConfig,
    EpisodeDatasetConfig,
    RushHourWorldConfig,
    Shapes2dWorldConfig,
)
from data_prep.worlds.blocks_3d import _sprites, paint_blocks
from data_prep.worlds.draws import DrawKey, integers
from data_prep.worlds.grid_world import ACTION_STREAM, NUM_OBJECTS, SIDE
from data_prep.worlds.interface import World
from data_prep.worlds.make import make_world
from orbit.core.groups import make_group

CONFIGS = {
    "shapes_2d": Shapes2dWorldConfig("shapes_2d"),
    "blocks_3d": Blocks3dWorldConfig("blocks_3d"),
    "rush_hour": RushHourWorldConfig("rush_hour"),
}
UP, RIGHT, DOWN, LEFT = range(4)
ACTIONS = np.array(list(itertools.product(range(NUM_OBJECTS), range(4))), np.float32)
NUM_STATES = 60


def world_of(name: str, actions: tuple[str, ...] | None = None) -> World:
    return make_world(CONFIGS[name], actions, NoSourceConfig())


def some_states(world: World, num: int = NUM_STATES, seed: int = 1) -> np.ndarray:
    return world.reset(seed, 0, np.arange(num), limited=False)


def places_of(world: World, states: np.ndarray) -> np.ndarray:
    """Rows and columns (N, 5, 2)."""
    return states.reshape(len(states), NUM_OBJECTS, -1)[..., :2]


def every_action(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each state with each of the 20 actions."""
    return np.repeat(states, len(ACTIONS), 0), np.tile(ACTIONS, (len(states), 1))


def same(num: int, element: int) -> torch.Tensor:
    return torch.full((num,), element)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("element", range(4))
def test_the_group_commutes_with_every_step(name: str, element: int) -> None:
    world = world_of(name)
    states, actions = every_action(some_states(world))
    g = same(len(states), element)
    turned_first = world.step(world.act_on_state(states, g), world.act_on_action(actions, g))
    assert np.array_equal(turned_first, world.act_on_state(world.step(states, actions), g))
    assert turned_first.dtype == np.float32


@pytest.mark.parametrize("name", CONFIGS)
def test_states_and_actions_carry_left_actions_of_the_group(name: str) -> None:
    world = world_of(name)
    group = make_group(world.group)
    states, actions = every_action(some_states(world, 10))
    for act, rows in ((world.act_on_state, states), (world.act_on_action, actions)):
        assert np.array_equal(act(rows, group.identity(len(rows))), rows)
        for one, other in itertools.product(range(4), repeat=2):
            g, h = same(len(rows), one), same(len(rows), other)
            assert np.array_equal(act(act(rows, h), g), act(rows, group.compose(g, h)))
        mixed = torch.arange(len(rows)) % 4
        each = [act(rows[i : i + 1], mixed[i : i + 1])[0] for i in range(8)]
        assert np.array_equal(act(rows, mixed)[:8], np.stack(each))
    # No element but the identity leaves all states alone.
    for element in range(1, 4):
        assert not np.array_equal(world.act_on_state(states, same(len(states), element)), states)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_quarter_turn_is_the_one_of_the_picture(name: str) -> None:
    """(row, column) goes to (4 - column, row); up becomes left."""
    world = world_of(name)
    states = some_states(world)
    before, after = (
        places_of(world, rows) for rows in (states, world.act_on_state(states, same(NUM_STATES, 1)))
    )
    assert np.array_equal(after[..., 0], 4 - before[..., 1])
    assert np.array_equal(after[..., 1], before[..., 0])
    board = np.arange(25).reshape(5, 5)
    row, column = before.astype(int)[0, 0]
    assert np.rot90(board)[4 - column, row] == board[row, column]
    actions = np.array([[2, way] for way in (UP, RIGHT, DOWN, LEFT)], np.float32)
    ways = world.act_on_action(actions, same(4, 1))[:, 1].tolist()
    assert ways == ([0, 1, 2, 3] if name == "rush_hour" else [LEFT, UP, RIGHT, DOWN])


def test_headings_turn_with_the_board() -> None:
    world = world_of("rush_hour")
    states = some_states(world)
    turned = world.act_on_state(states, same(NUM_STATES, 1))
    assert np.array_equal(turned[:, 2::3], (states[:, 2::3] - 1) % 4)
    assert set(np.unique(states[:, 2::3])) == {0, 1, 2, 3}


@pytest.mark.parametrize("name", CONFIGS)
def test_one_object_moves_by_one_cell_or_none_and_objects_stay_apart(name: str) -> None:
    world = world_of(name)
    states, actions = every_action(some_states(world))
    before, after = places_of(world, states), places_of(world, world.step(states, actions))
    change = np.abs(after - before).sum(-1)
    others = np.arange(NUM_OBJECTS) != actions[:, :1]
    assert not change[others.nonzero()].any()
    assert set(np.unique(change)) == {0.0, 1.0}
    assert after.min() == 0
    assert after.max() == SIDE - 1
    cells = np.sort(after @ [SIDE, 1], 1)
    assert (cells[:, 1:] > cells[:, :-1]).all()


@pytest.mark.parametrize("name", ["shapes_2d", "blocks_3d"])
def test_walls_and_neighbours_stop_a_move(name: str) -> None:
    world = world_of(name)
    #     0 . . . 1      0 at the upper wall, 2 right of 3, 4 in the middle
    #     3 2 . . .
    #     . . 4 . .
    state = np.array([[0, 0, 0, 4, 1, 1, 1, 0, 2, 2]], np.float32)

    def after(which: int, way: int) -> list[float]:
        moved = world.step(state, np.array([[which, way]], np.float32))
        changed = places_of(world, moved)[0, which]
        return changed.tolist()

    assert after(0, UP) == after(0, LEFT) == [0, 0]
    assert after(0, RIGHT) == [0, 1]
    assert after(0, DOWN) == [0, 0]  # 3 is there
    assert after(1, RIGHT) == after(1, UP) == [0, 4]
    assert after(1, DOWN) == [1, 4]
    assert after(2, LEFT) == [1, 1]  # not pushed
    assert after(3, RIGHT) == [1, 0]
    assert [after(4, way) for way in range(4)] == [[1, 2], [2, 3], [3, 2], [2, 1]]


def test_arrows_move_relative_to_their_headings() -> None:
    world = world_of("rush_hour")
    forward, right, back, left = range(4)
    for heading in range(4):
        state = np.array([[2, 2, heading, 0, 0, 0, 0, 4, 0, 4, 0, 0, 4, 4, 0]], np.float32)
        moved = [world.step(state, np.array([[0, way]], np.float32))[0, :3] for way in range(4)]
        steps = np.array(moved)[:, :2] - 2
        ahead = [(-1, 0), (0, 1), (1, 0), (0, -1)][heading]
        assert steps[forward].tolist() == list(ahead)
        assert steps[right].tolist() == [ahead[1], -ahead[0]]
        assert np.array_equal(steps[back], -steps[forward])
        assert np.array_equal(steps[left], -steps[right])
        assert all(row[2] == heading for row in moved)


@pytest.mark.parametrize("name", CONFIGS)
def test_first_states_and_actions_are_even_and_keyed(name: str) -> None:
    world = world_of(name)
    num = 4000
    states = some_states(world, num)
    cells = (places_of(world, states) @ [SIDE, 1]).astype(int)
    assert all(len(set(row)) == NUM_OBJECTS for row in cells[:200].tolist())
    for number in range(NUM_OBJECTS):
        counts = np.bincount(cells[:, number], minlength=SIDE**2)
        assert abs(((counts - num / 25) ** 2 / (num / 25)).sum() - 24) < 4 * np.sqrt(48)
    episodes = np.arange(num)
    actions = world.draw_actions(1, 0, episodes, 3, states, limited=False)
    counts = np.bincount((actions @ [4, 1]).astype(int), minlength=20)
    assert abs(((counts - num / 20) ** 2 / (num / 20)).sum() - 19) < 4 * np.sqrt(38)
    some = np.array([7, 3000, 12])
    assert np.array_equal(world.reset(1, 0, some, limited=True), states[some])
    again = world.draw_actions(1, 0, some, 3, states[some], limited=False)
    assert np.array_equal(again, actions[some])
    for other in ((2, 0, 3), (1, 2, 3), (1, 0, 4)):
        drawn = world.draw_actions(other[0], other[1], episodes, other[2], states, limited=False)
        assert not np.array_equal(drawn, actions)


@pytest.mark.parametrize(
    ("name", "actions", "directions"),
    [
        ("shapes_2d", ("up",), {UP}),
        ("blocks_3d", ("up", "right", "down"), {UP, RIGHT, DOWN}),
        ("blocks_3d", ("down", "up"), {UP, DOWN}),
        ("rush_hour", ("back", "left"), {2, 3}),
    ],
)
def test_a_limited_policy_draws_its_actions_alone(
    name: str, actions: tuple[str, ...], directions: set[int]
) -> None:
    world = world_of(name, actions)
    states = some_states(world, 500)
    drawn = world.draw_actions(1, 0, np.arange(500), 0, states, limited=True)
    assert set(drawn[:, 1].tolist()) == directions
    assert set(drawn[:, 0].tolist()) == set(range(NUM_OBJECTS))
    free = world.draw_actions(1, 0, np.arange(500), 0, states, limited=False)
    assert set(free[:, 1].tolist()) == {0, 1, 2, 3}
    assert {name.split()[1] for name in world.action_names(drawn)} == set(actions)


@pytest.mark.parametrize("actions", [None, ("up",), ("left", "up"), ("0 down", "4 up", "4 left")])
def test_an_object_s_draw_does_not_depend_on_what_others_may_do(
    actions: tuple[str, ...] | None,
) -> None:
    """The first number is the place among objects that may move, the second among its moves."""
    world, episodes = world_of("shapes_2d", actions), np.arange(300)
    states = some_states(world, 300)
    drawn = world.draw_actions(5, 1, episodes, 2, states, limited=True).astype(int)
    moves = {number: [UP, RIGHT, DOWN, LEFT] for number in range(NUM_OBJECTS)}
    if actions is not None and " " in actions[0]:
        moves = {0: [DOWN], 4: [UP, LEFT]}
    elif actions is not None:
        moves = {number: sorted({"up": UP, "left": LEFT}[a] for a in actions) for number in moves}
    key = DrawKey(5, 1, ACTION_STREAM, 2)
    for row, (which, way) in enumerate(drawn):
        first, second = integers(key, episodes[row : row + 1], (len(moves), len(moves[which])))[0]
        assert (which, way) == (list(moves)[first], moves[which][second])


@pytest.mark.parametrize("name", ["shapes_2d", "blocks_3d"])
def test_left_out_combinations_are_of_objects_and_directions_that_training_knows(name: str) -> None:
    dataset = prepare_config("out=-", f"dataset={name}_combinations").dataset
    assert isinstance(dataset, EpisodeDatasetConfig)
    assert dataset.world.name == name
    world = world_of(name, dataset.limited_actions)
    every = np.array([[which, way] for which in range(NUM_OBJECTS) for way in range(4)], np.float32)
    seen = world.facts.seen_actions
    assert seen is not None
    known = seen.include(every).reshape(NUM_OBJECTS, 4)
    assert np.argwhere(~known).tolist() == [[0, UP], [1, RIGHT], [2, DOWN], [3, LEFT]]
    states, episodes = some_states(world, 2000), np.arange(2000)
    drawn = world.draw_actions(1, 0, episodes, 0, states, limited=True).astype(int)
    counts = np.zeros((NUM_OBJECTS, 4), int)
    np.add.at(counts, tuple(drawn.T), 1)
    assert np.array_equal(counts > 0, known)
    assert np.abs(counts.sum(1) - 400).max() < 4 * np.sqrt(2000 * 0.2 * 0.8)
    free = world.draw_actions(1, 2, episodes, 0, states, limited=False)
    assert not seen.include(free).all()


@pytest.mark.parametrize(
    "actions",
    [
        *((), ("sideways",), ("up", "up"), ("up", "forward")),
        *(("5 up",), ("0 up", "0 up"), ("0 up", "up"), ("-1 up",), ("0  up",), ("up 0",)),
    ],
)
def test_actions_that_a_world_does_not_have_are_refused(actions: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"dataset\.actions=.*up, right, down, left") as error:
        world_of("shapes_2d", actions)
    assert "\n" not in str(error.value)


def test_a_simulated_world_reads_no_source() -> None:
    with pytest.raises(ValueError, match="source=table has no effect: blocks_3d is simulated"):
        make_world(CONFIGS["blocks_3d"], None, TableSourceConfig("table"))


# Pictures


@pytest.mark.parametrize("name", CONFIGS)
def test_pictures_show_the_state_alone(name: str) -> None:
    world = world_of(name)
    states = some_states(world, 300)
    pictures = world.render(states)
    assert pictures.dtype == np.uint8
    assert pictures.shape == (300, 3, 50, 50) == (300, *world.frames.shape)
    assert np.array_equal(world.render(states[100:103]), pictures[100:103])
    assert np.array_equal(world.render(states[::-1]), pictures[::-1])
    # Different states look different, same states the same.
    different = np.unique(states, axis=0)
    assert len(np.unique(world.render(different).reshape(len(different), -1), axis=0)) == len(
        different
    )


@pytest.mark.parametrize(
    ("name", "checksum"),
    [("shapes_2d", 4116685502), ("blocks_3d", 245137263), ("rush_hour", 2877674122)],
)
def test_pictures_are_the_same_on_every_machine(name: str, checksum: int) -> None:
    world = world_of(name)
    states = world.reset(0, 2, np.arange(50), limited=False)
    assert zlib.crc32(states.tobytes() + world.render(states).tobytes()) == checksum


def test_pictures_of_arrows_turn_with_the_board() -> None:
    world = world_of("rush_hour")
    states = some_states(world)
    for turns in range(4):
        turned = world.render(world.act_on_state(states, same(NUM_STATES, turns)))
        assert np.array_equal(turned, np.rot90(world.render(states), turns, (2, 3)))


@pytest.mark.parametrize("shapes", [("circle",), ("square", "diamond"), ("triangle",)])
def test_pictures_of_shapes_turn_with_the_board_unless_they_are_triangles(
    shapes: tuple[str, ...],
) -> None:
    world = make_world(Shapes2dWorldConfig("shapes_2d", shapes), None, NoSourceConfig())
    states = some_states(world)
    for turns in range(1, 4):
        turned = world.render(world.act_on_state(states, same(NUM_STATES, turns)))
        looks_turned = np.array_equal(turned, np.rot90(world.render(states), turns, (2, 3)))
        assert looks_turned == (shapes != ("triangle",))


@pytest.mark.parametrize("name", ["shapes_2d", "rush_hour"])
def test_a_cell_shows_its_object_and_nothing_else(name: str) -> None:
    """So a network that sees one cell at a time commutes with redrawing the turned board."""
    world = world_of(name)
    states = some_states(world)
    pictures = world.render(states).reshape(NUM_STATES, 3, 5, 10, 5, 10).transpose(0, 2, 4, 1, 3, 5)
    places = places_of(world, states).astype(int)
    taken = np.zeros((NUM_STATES, 5, 5), bool)
    taken[np.arange(NUM_STATES)[:, None], places[..., 0], places[..., 1]] = True
    assert np.array_equal(pictures.any((3, 4, 5)), taken)
    if name == "shapes_2d":
        for number in range(NUM_OBJECTS):
            rows, columns = places[:, number].T
            tiles = pictures[np.arange(NUM_STATES), rows, columns]
            assert (tiles == tiles[0]).all()


def test_kinds_of_shapes_and_their_colours() -> None:
    """Circle, triangle, square by number, in red, blue, green, purple, orange."""
    world = world_of("shapes_2d")
    state = np.array([[0, 0, 0, 1, 0, 2, 0, 3, 0, 4]], np.float32)
    tiles = world.render(state)[0, :, :10].reshape(3, 10, 5, 10).transpose(2, 0, 1, 3)
    colours = [tuple(tile[:, 5, 5].tolist()) for tile in tiles]
    assert colours == [(228, 26, 28), (55, 126, 184), (77, 175, 74), (152, 78, 163), (255, 127, 0)]
    shares = (tiles.max(1) / tiles.max((1, 2, 3))[:, None, None]).mean((1, 2))
    circle, triangle, square = np.pi * 4.5**2 / 100, 0.405, 0.81
    assert shares == pytest.approx([circle, triangle, square, circle, triangle], abs=0.005)


def visible(picture: np.ndarray, without: np.ndarray) -> int:
    """Pixels in which an object makes a difference."""
    return int((picture != without).any(0).sum())


@pytest.mark.parametrize("step", [(1, 0), (0, 1), (1, 1)])
def test_nearer_cubes_stand_in_front(step: tuple[int, int]) -> None:
    """Moving a cube away changes nothing where a nearer one covers all of a pixel."""
    covered = {
        cell: (sprite.rows, sprite.columns, sprite.clear == 0) for cell, sprite in _sprites()
    }
    num_overlaps = 0
    for row, column in itertools.product(range(SIDE - 1), repeat=2):
        near = (row + step[0], column + step[1])
        rows, columns, inside = covered[near[0] * SIDE + near[1]]
        corners = [(0, 0), (0, 4), (4, 0), (4, 4), (0, 2), (4, 2)]
        free = [cell for cell in corners if cell not in (near, (row, column))]
        free.sort(key=lambda cell: math.dist(cell, near))
        together = np.array([[near, (row, column), *free[:3]]])
        apart = np.array([[near, free[-1], *free[:3]]])
        both, alone = paint_blocks(together)[0], paint_blocks(apart)[0]
        changed = (both != alone).any(0)
        assert not (changed[rows, columns] & inside).any()
        # The farther cube does stand behind: it would be seen there.
        hidden = paint_blocks(np.array([[free[-1], (row, column), *free[:3]]]))[0] != both
        num_overlaps += int((hidden.any(0)[rows, columns] & inside).any())
    assert num_overlaps > 0


def test_every_cube_is_seen_wherever_the_others_stand() -> None:
    world = world_of("blocks_3d")
    states = some_states(world, 200)
    pictures = world.render(states)
    places = places_of(world, states)
    free = np.array([[4, 4], [4, 3], [4, 2], [4, 1], [4, 0], [3, 4]], np.float32)
    for number, (state, picture) in enumerate(zip(places, pictures, strict=True)):
        which = number % NUM_OBJECTS
        spot = next(cell for cell in free if not (state == cell).all(1).any())
        moved = state.copy()
        moved[which] = spot
        row, column = state[which]
        other = world.render(moved.reshape(1, -1))[0]
        assert visible(picture, other) > 20, (row, column)


def test_the_board_fills_the_picture_and_stays_inside() -> None:
    corners = np.array([[[0, 0], [0, 4], [4, 0], [4, 4], [2, 2]]])
    picture = world_of("blocks_3d").render(corners.reshape(1, -1).astype(np.float32))[0]
    shown = picture.any(0)
    assert not shown[0].any()
    assert not shown[-1].any()
    assert not shown[:, 0].any()
    assert not shown[:, -1].any()
    assert shown.any(0).sum() == 48
    assert shown.any(1).sum() > 38
