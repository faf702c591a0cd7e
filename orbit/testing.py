"""The laws that the parts of a plug-in package must satisfy, as functions for its own tests.

Each raises AssertionError with a sentence if a law does not hold. They train and evaluate tiny runs
in the process that calls them, on its CPU; `one_rank_against_two` starts torchrun.
"""

import json
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from data_prep.sources.interface import ImageSource
from data_prep.worlds.interface import World
from orbit.core.config.compose import compose
from orbit.core.config.program import EXIT_STOPPED, ExitWithCode
from orbit.core.config.schema import build, path_keys
from orbit.core.files.listing import list_folder
from orbit.core.groups import Group, make_group
from orbit.core.signals import StopRequest
from pipeline.training.settings import TrainConfig

NUM = 64
"""How many elements, states or images are drawn to check a law."""


def check_group(
    group: Group, shapes: Sequence[tuple[int, ...]], tolerance: float = 0.0, num: int = NUM
) -> None:
    """Products, inverses, names, action vectors, and the action on frames (C, ...) of `shapes`.

    `tolerance` is the largest difference of frame values in [0, 1] by which acting with h and
    then g may miss acting with gh: 0 for groups that only move values.
    """
    rng = np.random.default_rng(0)
    g, h, k = (group.sample(rng, num) for _ in range(3))
    one = group.identity(num)
    _same(
        group,
        group.compose(group.compose(g, h), k),
        group.compose(g, group.compose(h, k)),
        "not associative",
    )
    _same(group, group.compose(g, one), g, "g e is not g")
    _same(group, group.compose(one, g), g, "e g is not g")
    _same(group, group.compose(g, group.inverse(g)), one, "g times its inverse is not e")
    _same(group, group.decode(group.encode(g)), g, "an action vector gives another element")
    vectors = group.encode(g)
    wanted = (num, len(group.action_components))
    assert tuple(vectors.shape) == wanted, (
        f"action vectors are {tuple(vectors.shape)}, not {wanted}"
    )
    assert vectors.dtype == torch.float32, f"action vectors are {vectors.dtype}, not float32"
    for column, component in zip(vectors.unbind(1), group.action_components, strict=True):
        low, high = component.minimum - 1e-6, component.maximum + 1e-6
        assert bool(((column >= low) & (column <= high)).all()), f"{component.name} out of range"
    drawn = group.from_uniforms(torch.from_numpy(rng.random((num, group.num_uniforms))))
    assert len(drawn) == num, "from_uniforms does not give an element for each row"
    bins = group.bin_index(g)
    assert bool(((bins >= 0) & (bins < len(group.bin_names))).all()), "a bin has no name"
    assert not bool(group.bin_index(one).any()), "the identity is not in the first bin"
    left = group.distance(group.compose(k, g), group.compose(k, h))
    assert torch.allclose(left, group.distance(g, h), atol=1e-4), "the distance is not invariant"
    if group.num_elements is not None:
        elements = group.elements()
        assert len(elements) == group.num_elements, "num_elements and elements() differ"
        assert len(set(group.names(elements))) == group.num_elements, "two elements share a name"
        index = group.element_index(elements)
        assert index.tolist() == list(range(group.num_elements)), (
            "element_index is not its position"
        )
    for shape in shapes:
        group.check_spatial_shape(shape[1:])
        x = torch.from_numpy(rng.random((num, *shape), np.float32))
        for act, what in ((group.act_on_image, "frames"), (group.act_on_latent, "latents")):
            in_turn, at_once = act(act(x, h), g), act(x, group.compose(g, h))
            off = (in_turn - at_once).abs().max().item()
            assert off <= tolerance, f"on {what} of {shape}: h and then g is off by {off:g}"
            still = (act(x, one) - x).abs().max().item()
            assert still <= tolerance, f"on {what} of {shape}: the identity moves by {still:g}"
        whole = group.act_on_image(x, g)
        alone = torch.cat([group.act_on_image(x[i : i + 1], g[i : i + 1]) for i in range(4)])
        assert torch.equal(whole[:4], alone), f"on {shape}: the result depends on the batch"


def check_world(world: World, num: int = NUM, seed: int = 0) -> None:
    """The group commutes with the dynamics; draws are functions of seed and episode; frames have
    the stated shape."""
    group, rng = make_group(world.group), np.random.default_rng(seed)
    episodes = np.arange(num)
    states = world.reset(seed, 0, episodes, False)
    actions = world.draw_actions(seed, 0, episodes, 0, states, False)
    assert states.shape == (num, world.state_size), f"states are {states.shape}"
    assert actions.shape == (num, len(world.action_components)), f"actions are {actions.shape}"
    assert states.dtype == actions.dtype == np.float32, "states and actions must be float32"
    some = episodes[::-1][: num // 2]
    assert (world.reset(seed, 0, some, False) == states[some]).all(), (
        "a reset depends on the others"
    )
    alone = world.draw_actions(seed, 0, some, 0, states[some], False)
    assert (alone == actions[some]).all(), "an action depends on the other episodes"
    other = world.reset(seed + 1, 0, episodes, False)
    assert (other != states).any(), "the seed changes nothing"
    after = world.step(states, actions)
    g = group.sample(rng, num)
    moved = world.step(world.act_on_state(states, g), world.act_on_action(actions, g))
    off = np.abs(moved - world.act_on_state(after, g)).max()
    assert off <= world.tolerance, f"step(g s, g a) is off g step(s, a) by {off:g}"
    still = np.abs(world.act_on_state(states, group.identity(num)) - states).max()
    assert still <= world.tolerance, f"the identity moves states by {still:g}"
    limited = world.draw_actions(seed, 0, episodes, 0, states, True)
    seen = world.facts.seen_actions
    assert seen is None or seen.include(limited).all(), "a limited action is not a seen one"
    world.facts.check(len(world.action_components), world.state_size)
    frames = world.render(states)
    wanted = (num, *world.frames.shape)
    assert frames.shape == wanted, f"frames are {frames.shape}, not {wanted}"
    assert frames.dtype == np.uint8, f"frames are {frames.dtype}, not uint8"
    assert len(world.action_names(actions)) == num, "not a name for each action"
    copy: World = pickle.loads(pickle.dumps(world))  # as for worker processes
    assert (copy.step(states, actions) == after).all(), "a pickled world steps elsewhere"
    json.dumps(dict(world.settings()))


def check_source(source: ImageSource, num: int = 8) -> None:
    """Shapes and types; an image depends on its position alone; the source can be pickled for
    workers."""
    for part, count in source.num_images.items():
        indices = np.linspace(0, count - 1, min(num, count)).astype(np.int64)
        images, labels = source.read(part, indices)
        wanted = (len(indices), *source.image_shape)
        assert images.shape == wanted, f"images of {part} are {images.shape}, not {wanted}"
        assert images.dtype == np.uint8, f"images are {images.dtype}, not uint8"
        assert labels.shape == (len(indices),), f"labels of {part} are {labels.shape}"
        copy: ImageSource = pickle.loads(pickle.dumps(source))
        backwards, _ = copy.read(part, indices[::-1])
        assert (backwards[::-1] == images).all(), "an image depends on what it is read with"
        if source.is_binary:
            assert set(np.unique(images)) <= {0, 255}, "a binary source has grey values"
        subjects = source.subjects(part)
        assert subjects is None or len(subjects) == count, "not a subject for each image"
    for name, digest in source.checksums().items():
        assert "/" not in name, f"{name}: the names of checksums must not contain directories"
        assert len(digest) == 64, f"{name}: {digest!r} is not a sha256"


def check_network(
    encoder: nn.Module, decoder: nn.Module, latent_shape: Sequence[int], frame_shape: Sequence[int]
) -> None:
    """Latents have the stated shape, decoded frames that of the input, and no record influences
    another."""
    encoder.eval(), decoder.eval()
    frames = torch.rand(4, *frame_shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        latents = encoder(frames)
        wanted = (4, *latent_shape)
        assert tuple(latents.shape) == wanted, f"latents are {tuple(latents.shape)}, not {wanted}"
        back = decoder(latents)
        assert back.shape == frames.shape, f"frames come back as {tuple(back.shape)}"
        alone = encoder(frames[1:2])
        assert torch.allclose(alone[0], latents[1], atol=1e-4), "a latent depends on its batch"


def check_action(
    action: nn.Module, group: Group, latent_shape: Sequence[int], tolerance: float = 1e-5
) -> None:
    """The identity leaves latents alone, and `block_sizes` add up to the channels."""
    latents = torch.randn(NUM, *latent_shape, generator=torch.Generator().manual_seed(0))
    sizes: Any = action.block_sizes
    assert sum(sizes) == latent_shape[0], f"block_sizes add up to {sum(sizes)} channels"
    with torch.no_grad():
        moved = action(latents, group.identity(NUM))
    off = (moved - latents).abs().max().item()
    assert off <= tolerance, f"the identity moves latents by {off:g}"


def check_resume(overrides: Sequence[str], folder: Path, stop_after: int = 3) -> None:
    """A run that is stopped and continued ends with the weights of an uninterrupted one.

    `overrides` are overrides for training, without run_dir; keep the run short.
    """
    from pipeline.run_files.checkpoint import MODEL_FILE
    from pipeline.training.run import train

    train(_config(overrides, folder / "whole"), _Never())
    code = None
    try:
        train(_config(overrides, folder / "parts"), _Never(stop_after))
    except ExitWithCode as error:
        code = error.code
    assert code == EXIT_STOPPED, "the run was over before it could be stopped: give it more steps"
    train(_config(overrides, folder / "parts"), _Never())
    first, second = (_newest(folder / run) / MODEL_FILE for run in ("whole", "parts"))
    assert first.read_bytes() == second.read_bytes(), "a run that was stopped ends elsewhere"


def one_rank_against_two(overrides: Sequence[str], folder: Path, tolerance: float = 0.01) -> None:
    """Two ranks that share each batch log the same values as one rank, up to rounding.

    `tolerance` is relative; it allows for float32 rounding in a few steps of training.
    """
    from pipeline.training.metrics_log import read_metrics
    from pipeline.training.run import train

    train(_config(overrides, folder / "ranks1"), _Never())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "pipeline.train", *overrides, f"run_dir={folder / 'ranks2'}", "device=cpu"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    logged = []
    for run in ("ranks1", "ranks2"):
        lines = read_metrics(folder / run / "metrics.jsonl")
        logged.append([line["loss/total"] for line in lines if "loss/total" in line])
    assert all(logged), "nothing was logged: set log_every"
    one, two = logged
    assert np.allclose(one, two, rtol=tolerance), f"one rank {one}, two ranks {two}"


def check_evaluation(run_dir: Path, batches: Sequence[int] = (3, 16)) -> None:
    """Metrics of a finished run are the same for any batch size, up to rounding."""
    from pipeline.evaluation.evaluate_run import evaluate_run
    from pipeline.settings import EvaluateConfig

    found = [
        evaluate_run(EvaluateConfig(str(run_dir), batch=batch, device="cpu", pictures=False))[
            "metrics"
        ]
        for batch in batches
    ]
    assert found[0].keys() == found[1].keys(), "another batch has other metrics"
    for name, value in found[0].items():
        other = found[1][name]
        close = abs(value - other) <= 1e-4 * max(abs(value), abs(other), 1e-3)
        assert close, f"{name} is {value:g} at batch {batches[0]}, {other:g} at {batches[1]}"


class _Never(StopRequest):
    """A stop request that is made after some steps, if any, and handles no signals."""

    def __init__(self, after: int | None = None) -> None:
        super().__init__()
        self._left = after

    def install(self) -> None:
        """Do nothing: the tests keep their own handlers."""

    @property
    def signal_name(self) -> str | None:
        if self._left is None:
            return None
        self._left -= 1
        return "SIGTERM" if self._left <= 0 else None

    @signal_name.setter
    def signal_name(self, name: str | None) -> None:
        """Ignored: the name depends on the steps alone."""


def _config(overrides: Sequence[str], run_dir: Path) -> TrainConfig:
    given = [*overrides, f"run_dir={run_dir}", "device=cpu"]
    return build(TrainConfig, compose("train", given, path_keys(TrainConfig)))


def _newest(run_dir: Path) -> Path:
    return max(list_folder(run_dir / "checkpoints", "step_*"))


def _same(group: Group, first: torch.Tensor, second: torch.Tensor, otherwise: str) -> None:
    assert group.distance(first, second).abs().max() < 1e-3, otherwise
