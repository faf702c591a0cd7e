"""Episodes of a world and their transforms under its group."""

from typing import NamedTuple

import numpy as np
import torch

from data_prep.worlds.interface import World
from pipeline.groups import Group

ELEMENT_STREAM = 2
EPISODES_AN_ELEMENT = 2
"""Consecutive episodes with the same drawn elements: whether an element changes the distance of
two states can only be told if it moved both."""


class Rollouts(NamedTuple):
    """`states` (E, T + 1, S) and `actions` (E, T, A), float32: E episodes of T steps."""

    states: np.ndarray
    actions: np.ndarray


def roll_out(
    world: World, seed: int, split_number: int, episodes: np.ndarray, length: int, limited: bool
) -> Rollouts:
    """Simulate the episodes of these numbers (E,) int64."""
    first = world.reset(seed, split_number, episodes, limited)
    states = np.empty((len(episodes), length + 1, world.state_size), np.float32)
    actions = np.empty((len(episodes), length, len(world.action_components)), np.float32)
    states[:, 0] = first
    for time in range(length):
        now = states[:, time]
        actions[:, time] = world.draw_actions(seed, split_number, episodes, time, now, limited)
        states[:, time + 1] = world.step(now, actions[:, time])
    return Rollouts(states, actions)


def twin_elements(
    group: Group, seed: int, split_number: int, episodes: np.ndarray, num: int
) -> torch.Tensor:
    """The identity and `num` - 1 further elements for each episode, (E, num, ...).

    The first ones of a finite group, drawn ones of a continuous group (the same for two
    episodes, 2m and 2m + 1): what action vectors keep of them.
    """
    if group.num_elements is not None:
        listed = group.elements()[:num]
        return listed.expand(len(episodes), *listed.shape)
    rows = []
    for episode in episodes.tolist():
        draw = episode // EPISODES_AN_ELEMENT
        rng = np.random.default_rng([seed, ELEMENT_STREAM, split_number, draw])
        drawn = group.sample(rng, num - 1)
        rows.append(torch.cat([group.identity(1).to(drawn.dtype), drawn]))
    g = torch.stack(rows)
    kept = group.decode(group.encode(g.flatten(0, 1)))
    return kept.view(len(episodes), num, *kept.shape[1:])


def with_twins(world: World, rollouts: Rollouts, g: torch.Tensor) -> Rollouts:
    """Each episode moved by each of its elements `g` (E, K, ...), episodes first: (E * K, ...)."""
    num = g.shape[1]
    if num == 1:
        return rollouts
    flat = g.flatten(0, 1)
    moved = []
    for act, rows in (
        (world.act_on_state, rollouts.states),
        (world.act_on_action, rollouts.actions),
    ):
        each = np.repeat(rows, num, axis=0)
        length = each.shape[1]
        acted = act(each.reshape(-1, each.shape[-1]), flat.repeat_interleave(length, dim=0))
        moved.append(np.asarray(acted, np.float32).reshape(each.shape))
        # The identity changes nothing, not even by rounding.
        moved[-1][::num] = rows
    return Rollouts(*moved)
