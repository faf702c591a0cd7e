"""Every world becomes a trained and evaluated model, in miniature.

Protects the joints between preparation, store, models and final evaluation, with the cases of
`acceptance/every_world.py`: all metrics finite, those of the task there, the pictures drawn.
"""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from helpers.preparing import prepare
from helpers.programs import call
from helpers.training import PATH_KEYS, never_stop
from PIL import Image

from orbit.core.config.compose import compose
from orbit.core.config.roots import group_files
from orbit.core.config.schema import build, words_of
from pipeline.training.run import train
from pipeline.training.settings import TrainConfig

pytestmark = pytest.mark.usefixtures("starts_are_warm")

ROOT = Path(__file__).resolve().parents[1]
EPISODES = ("dataset.num_test_episodes=4", "dataset.test_episode_length=5", "episode_length=4")
TRAINING = ("epochs=1", "global_batch=8", "precision=fp32", "collapse.action=warn")
CHOSEN = {
    "sequence_labelling/fc_conv": (
        ("num_samples=16", "dataset.num_test_samples=8", "dataset.num_val_samples=4"),
        ("first_layer",),
        ("f1", "accuracy", "circulant_share", "equivariance_error/logits"),
    ),
    "shapes_2d/ours": (
        ("num_episodes=4", "dataset.actions=[up]", *EPISODES),
        ("rollouts", "latent_grid", "irreps", "training"),
        ("hits_at_1/horizon_5", "equivariance_error/model/horizon_5", "irreps/rotation"),
    ),
    "blocks_3d/none": (
        ("num_episodes=4", *EPISODES),
        ("rollouts", "latent_grid", "training"),
        ("mrr/horizon_1", "distance_invariance_error/embedding"),
    ),
    "rush_hour/full": (
        ("num_episodes=4", *EPISODES),
        ("rollouts", "latent_grid", "irreps", "training"),
        ("ties/horizon_5", "rollout_error/horizon_5"),
    ),
    "reacher_planar/ours": (
        ("num_episodes=4", "dataset.world.size=33", *EPISODES),
        ("rollouts", "irreps", "training"),
        ("hits_at_10/horizon_1", "equivariance_error/encoder", "irreps/E"),
    ),
    "teapot/ours": (
        ("num_episodes=16", "dataset.world.size=32", "dataset.num_test_episodes=4"),
        ("rollouts", "traversal", "training"),
        ("hard_hits_at_1/horizon_1", "traversal_hits_at_1/yaw", "equivariance_error_raw/latent"),
    ),
}
"""Words of `prepare.py`, pictures and some metrics of each case."""


def cases() -> dict[str, Any]:
    path = ROOT / "tests" / "acceptance" / "every_world.py"
    spec = importlib.util.spec_from_file_location("every_world", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return {case.name: case for case in script.cases()}


@pytest.mark.parametrize("name", list(CHOSEN))
def test_a_world_is_prepared_trained_and_evaluated(name: str, tmp_path: Path) -> None:
    words, pictures, wanted = CHOSEN[name]
    case = cases()[name]
    data, run_dir = tmp_path / "data", tmp_path / "run"
    prepare(data, f"dataset={case.world}", *words)
    given = [
        *case.words,
        f"data={data}",
        f"run_dir={run_dir}",
        *TRAINING,
        *case.small,
    ]
    train(build(TrainConfig, compose("train", given, PATH_KEYS)), never_stop())
    done = call("pipeline/evaluate.py", f"run_dir={run_dir}", "json=true")
    assert done.code == 0, done.err
    metrics = json.loads(done.out)["metrics"]
    assert all(math.isfinite(value) for value in metrics.values())
    assert set(wanted) <= metrics.keys()
    drawn = {path.stem: path for path in (run_dir / "pictures").iterdir()}
    assert set(drawn) == set(pictures)
    for path in (run_dir / "pictures").rglob("*.png"):
        with Image.open(path) as picture:
            assert np.asarray(picture.convert("L")).std() > 5, path.name


def test_a_decoder_of_a_frozen_model_draws_what_it_means(tmp_path: Path) -> None:
    """Also under the elements of the twins, beside their frames."""
    data, frozen, run_dir = tmp_path / "data", tmp_path / "frozen", tmp_path / "run"
    prepare(data, "dataset=shapes_2d", "num_episodes=4", *EPISODES)
    small = cases()["shapes_2d/ours"].small
    tiny = ("task.model.hidden=8", "task.model.maps=1", "task.model.channels=2")
    given = [f"data={data}", *TRAINING]
    for run, words in (
        (frozen, ["experiment=shapes_2d", *small]),
        (run_dir, ["experiment=decoder/maps", f"task.run={frozen}", *tiny]),
    ):
        config = build(TrainConfig, compose("train", [*given, f"run_dir={run}", *words], PATH_KEYS))
        train(config, never_stop())
    done = call("pipeline/evaluate.py", f"run_dir={run_dir}", "json=true")
    assert done.code == 0, done.err
    assert math.isfinite(json.loads(done.out)["metrics"]["psnr"])
    drawn = {path.stem for path in (run_dir / "pictures").iterdir()}
    assert drawn == {"decoded", "rollouts", "decoded_orbit", "training"}


def test_every_kind_of_every_world_has_a_case() -> None:
    """Small experiments differ in their widths alone."""
    tried = {case.words: case.small for case in cases().values()}
    for words, small in tried.items():
        build(TrainConfig, compose("train", [*words, *small, "data=x", "run_dir=y"], PATH_KEYS))
    known = set()
    for name, file in group_files("experiment").items():
        if "/task: world_model" in file.read_text():
            values = compose("train", [f"experiment={name}", "data=x", "run_dir=y"], PATH_KEYS)
            model = build(TrainConfig, values).task.model
            kinds = words_of(get_type_hints(type(model)).get("kind"))
            known |= {(f"experiment={name}", f"task.model.kind={kind}") for kind in kinds}
            known |= set() if kinds else {(f"experiment={name}",)}
    assert len(known) == 4 * 3 + 2 + 1
    # its network is that of `ours`
    assert known - tried.keys() == {("experiment=shapes_2d", "task.model.kind=full")}
