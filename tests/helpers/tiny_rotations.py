"""Rotations of space that are their own pictures, with drawn twins, and models of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn

from data_prep.building.recipe import ShardPlan
from orbit.core.groups import ActionComponent, make_group, quaternions
from orbit.core.store.facts import Solid, WorldFacts
from orbit.core.store.manifest import ColumnSpec, FrameSpec
from orbit.core.store.origin import Episodes, Named
from orbit.core.store.shard import Block, ShardLayout

SO3 = make_group("so3")
RANGE = (-1.0, 1.0)


def step(states: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Quaternions (N, 4) turned by actions (N, 4)."""
    after = SO3.compose(SO3.decode(torch.from_numpy(actions)), torch.from_numpy(states))
    return np.asarray(after.numpy())


def render(states: np.ndarray) -> np.ndarray:
    """The matrices of quaternions (N, 4) as frames (N, 1, 3, 3) float16."""
    matrices = quaternions.to_matrix(torch.from_numpy(states))
    return np.asarray(matrices[:, None].numpy().astype(np.float16))


def draw_this_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Further states of this world are drawn, in place of those of a mesh that turns."""
    turning = "pipeline.methods.world_model.measures.turning"
    monkeypatch.setattr(f"{turning}.turned", step)
    monkeypatch.setattr(f"{turning}.draw_solid", lambda solid, states: render(states))


@dataclass(frozen=True)
class TinyRotations:
    """A recipe (see `data_prep.building.recipe`): R, then a R, each as a frame (1, 3, 3) float16.

    Twins of an episode are g R and g a g^-1, with drawn elements g.
    """

    num_episodes: int = 200
    num_twins: int = 4
    name: str = "tiny_rotations"
    group: str = "so3"
    action_components: tuple[ActionComponent, ...] = SO3.action_components
    frames: FrameSpec = FrameSpec((1, 3, 3), "float16", RANGE, RANGE)
    columns: Mapping[str, ColumnSpec] = field(
        default_factory=lambda: {
            "group_element": ColumnSpec("float32", (4,), "by what the episode was moved"),
            "state": ColumnSpec("float32", (4,), "quaternion before the action"),
            "next_state": ColumnSpec("float32", (4,), "quaternion after the action"),
        }
    )
    label_meaning: str = "none"
    target_is_action_on_source: bool = False
    seed: int = 0

    def origin(self) -> Episodes:
        return Episodes(
            kind="episodes",
            world=Named(self.name),
            num_episodes={"test": self.num_episodes},
            num_elements={"test": self.num_twins},
            episode_length={"test": 1},
            shard_mib=1.0,
            facts=WorldFacts(solid=Solid(3)),
        )

    def source_checksums(self) -> dict[str, str]:
        return {}

    def plans(self) -> tuple[ShardPlan, ...]:
        num = self.num_episodes * self.num_twins
        layout = ShardLayout(self.frames, 4, self.columns, 2 * num, num)
        return (ShardPlan("test", 0, 0, self.num_episodes, layout, None),)

    def blocks(self, plan: ShardPlan) -> Iterator[Block]:
        for episode in range(plan.first, plan.last):
            rng = np.random.default_rng([self.seed, episode])
            pose, action = SO3.sample(rng, 2)[:, None]
            # Two episodes share their elements.
            drawn = np.random.default_rng([self.seed, 1, episode // 2])
            g = torch.cat([SO3.identity(1), SO3.sample(drawn, self.num_twins - 1)])
            poses = SO3.compose(g, pose.expand_as(g))
            actions = SO3.compose(SO3.compose(g, action.expand_as(g)), SO3.inverse(g))
            actions = SO3.decode(SO3.encode(actions))
            after = SO3.compose(actions, poses)
            both = torch.stack([poses, after], 1).flatten(0, 1)
            source = 2 * (episode * self.num_twins + np.arange(self.num_twins))
            yield Block(
                render(both.numpy()),
                source,
                source + 1,
                SO3.encode(actions).numpy(),
                np.zeros(self.num_twins, np.int64),
                {
                    "group_element": SO3.encode(g).numpy(),
                    "state": poses.numpy(),
                    "next_state": after.numpy(),
                },
            )


class ReadingModel(nn.Module):
    """y = z = the frame; actions multiply from the left."""

    def __init__(self) -> None:
        super().__init__()
        self.group = SO3
        self.unused = nn.Parameter(torch.zeros(1))

    def normalise(self, frames: torch.Tensor) -> torch.Tensor:
        return frames.float()

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, 0]

    def encode(self, embedding: torch.Tensor) -> torch.Tensor:
        return embedding

    def predict(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return quaternions.to_matrix(SO3.decode(action)) @ latent

    def act_on_embedding(self, embedding: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return quaternions.to_matrix(g) @ embedding

    def act_on_latent(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return quaternions.to_matrix(g) @ latent


class UnrelatedModel(ReadingModel):
    """Each frame becomes some rotation that has nothing to do with what it shows."""

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        rows = []
        for image in images:
            key = np.frombuffer(image.numpy().tobytes(), np.uint32)
            rows.append(SO3.sample(np.random.default_rng(key), 1)[0])
        return quaternions.to_matrix(torch.stack(rows))
