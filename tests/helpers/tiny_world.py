"""A world of two pieces on 5 x 5 cells with its quarter turns, and models that know it exactly.

Frames show one piece a channel; a move into a wall or the other piece does nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from data_prep.building.builder import build_dataset
from data_prep.building.recipe import Recipe, ShardPlan
from orbit.core.groups import ActionComponent, make_group
from orbit.core.store.manifest import ColumnSpec, FrameSpec
from orbit.core.store.origin import Episodes, Named
from orbit.core.store.reader import PairStore
from orbit.core.store.shard import Block, ShardLayout

SIDE = 5
STEPS = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]])  # up, right, down, left


def step(state: np.ndarray, action: np.ndarray) -> np.ndarray:
    """States (N, 2, 2) of rows and columns after actions (N, 2) of piece and direction."""
    rows = np.arange(len(state))
    piece, direction = action.astype(int).T
    wanted = state[rows, piece] + STEPS[direction]
    is_free = ((wanted >= 0) & (wanted < SIDE)).all(1)
    is_free &= (wanted != state[rows, 1 - piece]).any(1)
    after = state.copy()
    after[rows, piece] = np.where(is_free[:, None], wanted, state[rows, piece])
    return after


def turn_state(state: np.ndarray, turns: int) -> np.ndarray:
    for _ in range(turns):
        state = np.stack([SIDE - 1 - state[..., 1], state[..., 0]], -1)
    return state


def turn_action(action: np.ndarray, turns: int) -> np.ndarray:
    return np.stack([action[:, 0], (action[:, 1] - turns) % 4], 1)


def render(state: np.ndarray) -> np.ndarray:
    frames = np.zeros((len(state), 2, SIDE, SIDE), np.uint8)
    for piece in range(2):
        frames[np.arange(len(state)), piece, state[:, piece, 0], state[:, piece, 1]] = 255
    return frames


@dataclass(frozen=True)
class TinyWorld:
    """A recipe (see `data_prep.building.recipe`) of episodes, twins of the test split included."""

    num_episodes: int = 12
    length: int = 10
    num_twins: int = 4
    episodes_per_shard: int = 5
    name: str = "tiny_world"
    group: str = "c4"
    action_components: tuple[ActionComponent, ...] = (
        ActionComponent("piece", "which piece", "index", 0.0, 1.0),
        ActionComponent("direction", "up, right, down, left", "index", 0.0, 3.0),
    )
    frames: FrameSpec = FrameSpec((2, SIDE, SIDE), "uint8", (0.0, 255.0), (0.0, 1.0))
    columns: Mapping[str, ColumnSpec] = field(
        default_factory=lambda: {
            "group_element": ColumnSpec("float32", (1,), "by what the episode was moved")
        }
    )
    label_meaning: str = "none"
    target_is_action_on_source: bool = False
    seed: int = 0

    def origin(self) -> Episodes:
        return Episodes(
            kind="episodes",
            world=Named("tiny_world"),
            num_episodes={"test": self.num_episodes},
            num_elements={"test": self.num_twins},
            episode_length={"test": self.length},
            shard_mib=1.0,
        )

    def source_checksums(self) -> dict[str, str]:
        return {}

    def plans(self) -> tuple[ShardPlan, ...]:
        plans = []
        for index, first in enumerate(range(0, self.num_episodes, self.episodes_per_shard)):
            last = min(first + self.episodes_per_shard, self.num_episodes)
            trajectories = (last - first) * self.num_twins
            layout = ShardLayout(
                self.frames,
                2,
                self.columns,
                trajectories * (self.length + 1),
                trajectories * self.length,
            )
            plans.append(ShardPlan("test", index, first, last, layout, None))
        return tuple(plans)

    def blocks(self, plan: ShardPlan) -> Iterator[Block]:
        num_frames = 0
        for episode in range(plan.first, plan.last):
            states, actions = self.episode(episode)
            for turns in range(self.num_twins):
                yield self._trajectory(states, actions, turns).moved_by(num_frames)
                num_frames += self.length + 1

    def episode(self, episode: int) -> tuple[np.ndarray, np.ndarray]:
        """States (T + 1, 2, 2) and actions (T, 2)."""
        rng = np.random.default_rng([self.seed, episode])
        cells = rng.choice(SIDE * SIDE, 2, replace=False)
        states = [np.stack([cells // SIDE, cells % SIDE], -1)[None]]
        drawn = rng.integers(0, 2, self.length), rng.integers(0, 4, self.length)
        actions = np.stack(drawn, 1)
        for action in actions:
            states.append(step(states[-1], action[None]))
        return np.concatenate(states), actions

    def _trajectory(self, states: np.ndarray, actions: np.ndarray, turns: int) -> Block:
        rows = np.arange(self.length)
        label = np.zeros(self.length, np.int64)
        moved = turn_action(actions, turns).astype(np.float32)
        columns = {"group_element": np.full((self.length, 1), turns, np.float32)}
        return Block(render(turn_state(states, turns)), rows, rows + 1, moved, label, columns)


def make_store(out: Path, world: Recipe) -> PairStore:
    """Build and open a dataset."""
    build_dataset(world, out)
    return PairStore(out)


class ExactModel(nn.Module):
    """Reads the places of the pieces, keeps them as seen from four sides, moves them by the rules.

    y (N, 2, 5, 5) are the frames; z (N, 2, 4, 2), in the k-th row the place (row, column) from
    the middle as it looks after k turns. Everything commutes with quarter turns exactly.
    """

    def __init__(self) -> None:
        super().__init__()
        self.group = make_group("c4")
        self.unused = nn.Parameter(torch.zeros(1))

    def normalise(self, frames: torch.Tensor) -> torch.Tensor:
        return frames.float() / 255

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def encode(self, embedding: torch.Tensor) -> torch.Tensor:
        flat = embedding.flatten(2).argmax(-1)
        return self._latent(torch.stack([flat // SIDE, flat % SIDE], -1).numpy())

    def predict(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        state = (latent[:, :, 0] + SIDE // 2).round().long().numpy()
        return self._latent(step(state, action.numpy()))

    def act_on_embedding(self, embedding: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return self.group.act_on_image(embedding, g)

    def act_on_latent(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """What looked so after k + g turns looks so after k, once it has been turned by g."""
        views = (torch.arange(4)[None] + g[:, None]) % 4
        return latent.gather(2, views[:, None, :, None].expand_as(latent))

    def _latent(self, state: np.ndarray) -> torch.Tensor:
        views = np.stack([turn_state(state, turns) for turns in range(4)], 2)
        return torch.from_numpy(views - SIDE // 2).float()
