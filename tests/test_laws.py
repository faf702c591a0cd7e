"""Protects `orbit.testing`, by which packages test their parts: a broken part does not pass.

Also the short way to a group, by the permutations of its elements.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from helpers.preparing import recipe_of
from helpers.programs import REPOSITORY
from torch import nn

from data_prep.settings.sources import SourceConfig
from data_prep.settings.worlds import WorldConfig
from data_prep.sources.interface import SOURCES
from data_prep.sources.mnist import DigitsSource
from data_prep.worlds import make as worlds
from data_prep.worlds.rush_hour import RushHour
from launch.reports.collecting import Evaluation, Run
from launch.reports.html.headline import choose_metrics
from launch.reports.seed_summary import direction_of
from orbit.core.groups import make_group
from orbit.core.groups.cyclic import C4
from orbit.core.groups.permutations import PermutationGroup
from orbit.core.metrics import Metric, read_statements, statement_of, statements_for
from orbit.testing import (
    check_action,
    check_evaluation,
    check_group,
    check_network,
    check_resume,
    check_source,
    check_world,
)
from pipeline.methods.table import METHODS, TaskConfig
from pipeline.models.actions import ACTIONS, SpatialAction
from pipeline.models.networks import NETWORKS
from pipeline.models.settings import LatentActionSettings, NetworkConfig
from pipeline.world_models.building import MODELS
from pipeline.world_models.settings import WorldModelSettings


@pytest.mark.parametrize("name", ["c4", "d4", "octahedral", "wrap2d:6:2"])
def test_our_groups_keep_the_laws(name: str) -> None:
    shape = (1, 6, 6, 6) if name == "octahedral" else (2, 6, 6)
    check_group(make_group(name), [shape], num=16)


class Broken(C4):
    """Quarter turns with one method of each test's own."""


@pytest.mark.parametrize(
    ("method", "function", "law"),
    [
        ("compose", lambda self, g, h: (g - h) & 3, "associative|g e"),
        ("inverse", lambda self, g: g, "its inverse"),
        ("decode", lambda self, action: torch.zeros(len(action), dtype=torch.int64), "vector"),
        ("names", lambda self, g: ["same"] * len(g), "share a name"),
        ("bin_index", lambda self, g: g * 0 + 9, "bin"),
        ("act_on_latent", lambda self, x, g: x.flip(-1), "latents"),
        ("act_on_image", lambda self, x, g: x + x.mean(), "frames|batch"),
    ],
)
def test_a_broken_group_does_not_pass(
    method: str, function: Any, law: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Broken, method, function, raising=False)
    with pytest.raises(AssertionError, match=law):
        check_group(Broken(), [(1, 6, 6)], num=16)


FOLDER = REPOSITORY / "configs" / "dataset"
WORLDS = {file.stem for file in FOLDER.glob("*.yaml") if "kind: episodes" in file.read_text()}
DRAWN_BY_MUJOCO = {"reacher", "reacher_positive"}
TESTED_ELSEWHERE = {"teapot", "coloured_digits"}


@pytest.mark.parametrize("dataset", sorted(WORLDS - DRAWN_BY_MUJOCO - TESTED_ELSEWHERE))
def test_our_worlds_keep_the_laws(dataset: str) -> None:
    """`test_mujoco_reacher.py` has MuJoCo's; `teapot` is `teapot_small` in a larger frame, and
    `test_coloured_digits.py` has those whose default images are files."""
    recipe: Any = recipe_of("out=out", f"dataset={dataset}")
    check_world(recipe._world, num=16)


@pytest.mark.parametrize("dataset", ["rotated_digits", "brain_mri"])
def test_our_sources_keep_the_laws(dataset: str) -> None:
    recipe: Any = recipe_of("out=out", f"dataset={dataset}")
    check_source(recipe._scene._source, num=4)


def test_a_world_whose_step_knows_a_direction_does_not_pass() -> None:

    class Windy(RushHour):
        def step(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
            after = super().step(states, actions)
            return after + np.float32(0.25) * np.eye(after.shape[1], dtype=np.float32)[0]

    with pytest.raises(AssertionError, match="off g step"):
        check_world(Windy(None))


def test_a_source_whose_images_depend_on_each_other_does_not_pass() -> None:
    class Mixed(DigitsSource):
        def read(self, part: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            images, labels = super().read(part, indices)
            return images + np.arange(len(images), dtype=np.uint8)[:, None, None, None], labels

    globals()["Mixed"] = Mixed  # sources are pickled by their module's names
    Mixed.__qualname__ = "Mixed"
    with pytest.raises(AssertionError, match="depends on what it is read with"):
        check_source(Mixed())


def test_networks_and_actions_that_do_not_pass() -> None:
    encoder, decoder = nn.Conv2d(1, 4, 2, 2), nn.ConvTranspose2d(4, 1, 2, 2)
    check_network(encoder, decoder, (4, 3, 3), (1, 6, 6))
    with pytest.raises(AssertionError, match="latents are"):
        check_network(encoder, decoder, (4, 6, 6), (1, 6, 6))
    action = SpatialAction(make_group("c4"), 4)
    check_action(action, make_group("c4"), (4, 3, 3))
    with pytest.raises(AssertionError, match="block_sizes"):
        check_action(action, make_group("c4"), (8, 3, 3))


def test_laws_of_runs(digits_dir: Path, tmp_path: Path) -> None:
    words = [f"data={digits_dir}", "epochs=1", "global_batch=64", "task.model.width=4"]
    check_resume(words, tmp_path)
    check_evaluation(tmp_path / "whole", (16, 48))
    with pytest.raises(AssertionError, match="over before it could be stopped"):
        check_resume(words, tmp_path / "again", stop_after=10**6)


# Permutations


def turns(shape: tuple[int, ...]) -> np.ndarray:
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"no square: {shape}")
    cells = np.arange(shape[0] * shape[1]).reshape(shape)
    return np.stack([np.rot90(cells, number).reshape(-1) for number in range(4)])


def test_a_group_by_its_permutations_is_the_group() -> None:
    group = PermutationGroup("turns", ("0", "90", "180", "270"), turns, probe=(3, 3))
    check_group(group, [(1, 5, 5)], num=16)
    c4, g = make_group("c4"), torch.arange(4)
    x = torch.rand(4, 2, 5, 5)
    assert torch.equal(group.act_on_image(x, g), c4.act_on_image(x, g))
    pairs = torch.cartesian_prod(g, g).T
    assert torch.equal(group.compose(*pairs), c4.compose(*pairs))
    with pytest.raises(ValueError, match="no square"):
        group.check_spatial_shape((4, 5))
    with pytest.raises(ValueError, match="offers no representations"):
        group.irreps(2)


@pytest.mark.parametrize(
    ("names", "rows", "refusal"),
    [
        (("0", "90"), lambda shape: turns(shape)[:2], "is none of them"),
        (("0", "0 again"), lambda shape: turns(shape)[[0, 0]], "alike"),
        (("90", "0"), lambda shape: turns(shape)[[1, 0]], "first one moves"),
        (("0", "lost"), lambda shape: turns(shape)[:2] * 0, "do not permute"),
    ],
)
def test_permutations_that_are_no_group(names: tuple[str, ...], rows: Any, refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        PermutationGroup("not a group", names, rows, probe=(3, 3))


# Metrics that say what they mean


def test_what_a_method_says_of_a_metric_decides() -> None:
    stated = (Metric("mislead_loss", "More is better.", "higher", is_headline=True),)
    said = json.loads(json.dumps(statements_for(["mislead_loss/part", "psnr"], stated)))
    assert read_statements({"meanings": said}) == stated
    values = {"mislead_loss": 1.0, "psnr": 2.0}
    run = Run("a", {}, True, 1, (Evaluation(1, "test", None, True, values, stated),))
    assert direction_of("mislead_loss/part", run.stated) == "higher"
    assert direction_of("psnr", run.stated) is None
    assert choose_metrics(list(values), None, run.stated) == ("mislead_loss",)


def test_the_longer_name_counts() -> None:
    """So that `psnr/composed` may mean something else than `psnr` of an element."""
    long, short = Metric("a/b", "Long.", "lower"), Metric("a", "Short.", "higher")
    for stated in ((long, short), (short, long)):
        assert statement_of("a/b", stated) == statement_of("a/b/c", stated) == long
        assert statement_of("a", stated) == statement_of("a/bc", stated) == short
        assert statement_of("ab", stated) is None


def test_what_evaluations_of_before_do_not_state_the_method_states_now() -> None:
    evaluation = Evaluation(1, "test", None, True, {"psnr": 2.0})
    run = Run("a", {"task.name": "latent_action"}, True, 1, (evaluation,))
    assert direction_of("psnr", run.stated) == "higher"
    assert dataclasses.replace(run, config={"task.name": "of a package"}).stated == ()


# Orbit's own kinds


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        (TaskConfig, METHODS),
        (WorldConfig, worlds.WORLDS),
        (SourceConfig, {name: kind for own in SOURCES.values() for name, kind in own.items()}),
        (NetworkConfig, NETWORKS),
        (LatentActionSettings, ACTIONS),
        (WorldModelSettings, MODELS),
    ],
)
def test_every_name_that_settings_allow_has_its_kind(settings: Any, kinds: Any) -> None:
    """And no other; `config` is the class of that name. Four sources are read elsewhere."""
    options = {get_args(each.__annotations__["name"])[0]: each for each in get_args(settings)}
    elsewhere = {"none", "table", "mesh", "threediebench"} if settings is SourceConfig else set()
    assert {name: kind.config for name, kind in kinds.items()} == {
        name: option for name, option in options.items() if name not in elsewhere
    }
