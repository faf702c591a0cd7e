"""Protects the board in front of a backdrop: it is the same board, and nothing moves the pattern.

A pattern that turned with the board, or that differed from frame to frame, would make the part
on which the group does not act a matter of chance.
"""

import itertools

import numpy as np
import pytest
import torch

from data_prep.settings.sources import NoSourceConfig
from data_prep.settings.worlds import Shapes2dWorldConfig
from data_prep.worlds.interface import World
from data_prep.worlds.make import make_world

NUM = 8
ACTIONS = np.array(list(itertools.product(range(5), range(4))), np.float32)


def world_with(num_backdrops: int) -> World:
    config = Shapes2dWorldConfig("shapes_2d", num_backdrops=num_backdrops)
    return make_world(config, ("up",), NoSourceConfig())


def states_of(world: World, num: int = 200) -> np.ndarray:
    return world.reset(3, 0, np.arange(num), limited=True)


def test_the_board_is_that_without_a_backdrop() -> None:
    world, plain = world_with(NUM), world_with(0)
    states = states_of(world)
    assert np.array_equal(states[:, :-1], states_of(plain))
    pictures, boards = world.render(states), plain.render(states[:, :-1])
    is_object = boards.any(1, keepdims=True)
    assert np.array_equal(pictures * is_object, boards)
    assert (pictures * ~is_object).max() < 120
    drawn = [each.draw_actions(3, 0, np.arange(200), 1, states, True) for each in (world, plain)]
    assert np.array_equal(*drawn)
    assert "num_backdrops" not in plain.settings(), "datasets that there are keep their name"


def test_all_patterns_are_drawn_evenly_and_differ() -> None:
    world = world_with(NUM)
    states = states_of(world, 4000)
    counts = np.bincount(states[:, -1].astype(int), minlength=NUM)
    assert len(counts) == NUM
    assert abs(((counts - 500) ** 2 / 500).sum() - 7) < 4 * np.sqrt(14)
    same_board = np.repeat(states[:1], NUM, 0)
    same_board[:, -1] = np.arange(NUM)
    assert len({picture.tobytes() for picture in world.render(same_board)}) == NUM


@pytest.mark.parametrize("element", range(4))
def test_no_action_and_no_turn_touches_the_pattern_and_they_commute(element: int) -> None:
    world = world_with(NUM)
    states = np.repeat(states_of(world, 40), len(ACTIONS), 0)
    actions = np.tile(ACTIONS, (40, 1))
    g = torch.full((len(states),), element)
    after, turned = world.step(states, actions), world.act_on_state(states, g)
    assert np.array_equal(after[:, -1], states[:, -1])
    assert np.array_equal(turned[:, -1], states[:, -1])
    other_way = world.step(turned, world.act_on_action(actions, g))
    assert np.array_equal(other_way, world.act_on_state(after, g))


@pytest.mark.parametrize("num", [-1, 1])
def test_one_pattern_is_none(num: int) -> None:
    with pytest.raises(ValueError, match="must be 0, or 2 or more"):
        world_with(num)
