"""Protects the points of a sweep and the names of their runs."""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from helpers.sweeping import KEYS, config_with
from helpers.training import PATH_KEYS
from hypothesis import given
from hypothesis import strategies as st

from launch.sweeps.expansion import (
    MAX_LABEL,
    check_space,
    content_hash,
    draw,
    expand,
    flatten_grid,
    flatten_point,
    off_default,
    readable_name,
    short_keys,
    value_at,
    with_seeds,
)
from launch.sweeps.settings import (
    Dimension,
    GridSearch,
    OptunaSearch,
    PointsSearch,
    RandomSearch,
)
from orbit.core.config.compose import compose, set_dotted
from orbit.core.config.schema import build, dotted_keys
from pipeline.methods.latent_action.settings import LatentActionConfig
from pipeline.training.settings import KEYS_FREE_TO_CHANGE, TrainConfig

# Points


@st.composite
def grids(draw_one: st.DrawFn) -> dict[str, list[int]]:
    """Dotted keys of which none lies below another, with values that may repeat."""
    keys = draw_one(st.lists(KEYS, min_size=1, max_size=4, unique=True))
    keys = [key for key in keys if not any(other.startswith(f"{key}.") for other in keys)]
    values = st.lists(st.integers(0, 4), min_size=1, max_size=4)
    return {key: draw_one(values) for key in keys}


@given(grid=grids())
def test_a_grid_is_every_combination_once_with_the_last_key_fastest(
    grid: dict[str, list[int]],
) -> None:
    unique = {key: list(dict.fromkeys(values)) for key, values in grid.items()}
    points = expand(GridSearch("grid", grid))
    assert [tuple(point.values()) for point in points] == list(itertools.product(*unique.values()))
    assert all(list(point) == list(grid) for point in points)


@given(grid=grids())
def test_nested_keys_are_the_same_as_dotted_ones(grid: dict[str, list[int]]) -> None:
    nested: dict[str, Any] = {}
    for key, values in grid.items():
        set_dotted(nested, key, values)
    assert flatten_grid(nested) == grid
    point = {key: values[0] for key, values in grid.items()}
    nested = {}
    for key, value in point.items():
        set_dotted(nested, key, value)
    assert flatten_point(nested) == point


@pytest.mark.parametrize("values", [3, "abc", [], None])
def test_a_grid_entry_without_a_list_of_values_is_named(values: Any) -> None:
    with pytest.raises(ValueError, match=r"task\.tau takes a list of values"):
        expand(GridSearch("grid", {"task": {"tau": values}}))


def test_points_stay_in_their_order_without_repetition() -> None:
    points = ({"seed_of": 2}, {"task": {"tau": 0.3}}, {"seed_of": 2}, {"task.tau": 0.3}, {})
    assert expand(PointsSearch("points", points)) == [{"seed_of": 2}, {"task.tau": 0.3}, {}]


def test_seeds_of_a_point_stand_together() -> None:
    points = with_seeds([{"a": 1}, {"a": 2}], (3, 5))
    assert [(point["a"], point["seed"]) for point in points] == [(1, 3), (1, 5), (2, 3), (2, 5)]


@pytest.mark.parametrize(("key", "words"), [("seed", "sweep.seeds"), ("run_dir", "the sweep")])
def test_seed_and_run_dir_cannot_be_varied(key: str, words: str) -> None:
    searches = (
        GridSearch("grid", {key: [1, 2]}),
        PointsSearch("points", ({}, {key: 1})),
        RandomSearch("random", {key: Dimension(0, 1)}, 2),
    )
    for search in searches:
        with pytest.raises(ValueError, match=f"cannot vary {key}: {words}"):
            expand(search)


@pytest.mark.parametrize("key", ["num_threads", "device", "loader.num_workers", "loader.prefetch"])
def test_a_key_that_no_run_is_told_apart_by_cannot_be_varied(key: str) -> None:
    """Points that differ in nothing else would silently become one run."""
    head, _, leaf = key.rpartition(".")
    nested = {head: {leaf: [1, 2]}} if head else {leaf: [1, 2]}
    searches = (
        GridSearch("grid", nested),
        PointsSearch("points", ({}, {key: 1})),
        RandomSearch("random", {key: Dimension(0, 1)}, 2),
    )
    for search in searches:
        with pytest.raises(ValueError, match=f"cannot vary {key}, which is not part"):
            expand(search)
    with pytest.raises(ValueError, match=f"cannot vary {key}, which is not part"):
        check_space(OptunaSearch("optuna", {key: Dimension(0, 1)}, 2))


def test_datasets_may_be_varied() -> None:
    """Their runs are told apart by the fingerprint."""
    assert len(expand(GridSearch("grid", {"data": ["a", "b"]}))) == 2


def test_values_that_python_calls_equal_are_different_points() -> None:
    points = expand(GridSearch("grid", {"compile": [1, True, "1", 1]}))
    assert [type(point["compile"]) for point in points] == [int, bool, str]


# Random draws

BOUNDS = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: value if abs(value) > 1e-9 else 0)


@st.composite
def dimensions(draw_one: st.DrawFn) -> Dimension:
    """Ranges of all kinds, and choices."""
    if draw_one(st.booleans()):
        return Dimension(choices=tuple(draw_one(st.lists(st.integers(), min_size=1, max_size=4))))
    log, integer = draw_one(st.booleans()), draw_one(st.booleans())
    bounds = st.integers(1 if log else -1000, 1000) if integer else BOUNDS
    if log:
        bounds = bounds.map(lambda value: abs(value) or 1e-3)
    low, high = sorted((draw_one(bounds), draw_one(bounds)))
    return Dimension(low, high, log, integer)


SPACES = st.dictionaries(KEYS, dimensions(), min_size=1, max_size=4)


@given(
    dimension=dimensions(),
    quantile=st.sampled_from([0.0, 0.5, 1 - 2**-53]) | st.floats(0, 1, exclude_max=True),
)
def test_draws_lie_in_their_range(dimension: Dimension, quantile: float) -> None:
    value = value_at(dimension, quantile)
    if dimension.choices is not None:
        assert value in dimension.choices
        return
    assert dimension.low is not None
    assert dimension.high is not None
    assert dimension.low <= value <= dimension.high
    assert isinstance(value, int) == dimension.integer


@given(low=st.integers(1, 10**6), size=st.integers(0, 50), log=st.booleans())
def test_whole_numbers_reach_both_ends(low: int, size: int, log: bool) -> None:
    """The exponential of log(low) may lie just below low."""
    dimension = Dimension(float(low), float(low + size), log, integer=True)
    assert value_at(dimension, 0.0) == low
    assert value_at(dimension, 1 - 2**-53) == low + size


def test_a_log_range_is_even_in_the_logarithm() -> None:
    dimension = Dimension(1e-4, 1e-2, log=True)
    for quantile in (0.1, 0.25, 0.5, 0.9):
        expected = -4 + 2 * quantile
        assert math.log10(value_at(dimension, quantile)) == pytest.approx(expected, abs=1e-5)


@given(space=SPACES, seed=st.integers(0, 2**31), num=st.integers(1, 6), more=st.integers(1, 6))
def test_more_points_leave_the_earlier_ones_as_they_are(
    space: dict[str, Dimension], seed: int, num: int, more: int
) -> None:
    few = [draw(space, seed, index) for index in range(num)]
    many = [draw(space, seed, index) for index in range(num + more)]
    assert many[:num] == few
    unique = [point for index, point in enumerate(many) if point not in many[:index]]
    assert expand(RandomSearch("random", space, num + more, seed)) == unique


@given(space=SPACES, key=KEYS, dimension=dimensions(), seed=st.integers(0, 9), index=st.integers(0))
def test_a_further_key_changes_no_other_value(
    space: dict[str, Dimension], key: str, dimension: Dimension, seed: int, index: int
) -> None:
    before = draw(space, seed, index)
    after = draw({key: dimension, **space}, seed, index)
    assert {name: after[name] for name in space} == before


def test_draws_differ_by_seed_index_and_key() -> None:
    space = {"a": Dimension(0, 1), "b": Dimension(0, 1)}
    values = [value for i in (0, 1) for seed in (0, 1) for value in draw(space, seed, i).values()]
    assert len(set(values)) == 8


# Names


@given(text=st.text(max_size=30), number=st.floats(), others=st.lists(st.integers(), max_size=3))
def test_names_are_safe_as_file_names(text: str, number: float, others: list[int]) -> None:
    point = {"task.name": text, "b": number, "c": others, "d": None, "e": True, "f": f"/x/{text}"}
    name = readable_name(point, short_keys(list(point)))
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name)
    assert len(name) <= MAX_LABEL
    assert readable_name({}, {}) == "run"


def test_a_name_says_what_was_varied() -> None:
    point = {"task.tau": 0.3, "optimizer.learning_rate": 1e-3, "compile": False, "seed": 1}
    name = readable_name(point, short_keys(list(point)))
    assert name == "tau0.3_learning_rate0.001_compileFalse_seed1"


def test_names_tell_experiments_apart_and_leave_out_folders_of_files() -> None:
    point = {"experiment": "decoder/maps", "data": "/home/me/data/shapes"}
    assert readable_name(point, short_keys(list(point))) == "experiment-decoder-maps_data-shapes"


@given(keys=st.lists(KEYS, min_size=1, max_size=8, unique=True))
def test_short_keys_tell_keys_apart(keys: list[str]) -> None:
    short = short_keys(keys)
    assert len(set(short.values())) == len(keys)
    for key, end in short.items():
        assert key == end or key.endswith(f".{end}")


def test_short_keys_are_no_longer_than_needed() -> None:
    keys = ["a.width", "b.width", "b.c.depth", "seed"]
    assert list(short_keys(keys).values()) == ["a.width", "b.width", "depth", "seed"]


# The hash. A change for every key of a training run; those in BESIDES come with others.
OTHER_VALUES: dict[str, Any] = {
    "data": "/elsewhere",
    "run_dir": "/elsewhere",
    "resume": "never",
    "allow_changes": True,
    "device": "cpu",
    "num_threads": 7,
    "logger": ("wandb", "mlflow"),
    "deterministic": True,
    "loader.num_workers": 2,
    "loader.prefetch": 5,
    "loader.num_readers": 3,
    "order": "uniform",
    "blocks.num_lanes": 8,
    "blocks.block_items": 50,
    "blocks.window_mib": 9,
    "task.tau": 0.25,
    "task.output": "tanh",
    "task.reconstruct": "target",
    "task.latent_losses": "relative",
    "task.mask.name": "fixed",
    "task.mask.variant_fraction": 0.25,
    "task.action.name": "learned",
    "task.action.max_frequency": 3,
    "task.action.block_size": 4,
    "task.action.hidden": 16,
    "task.model.name": "residual",
    "task.model.num_blocks": 2,
    "task.model.max_width": 64,
    "task.model.latent_channels": 32,
    "task.model.context_channels": 32,
    "task.model.vector_size": 24,
    "task.model.width": 12,
    "task.model.depth": 3,
    "task.model.memory_format": "channels_last",
    "task.model.activation_checkpointing": True,
    "task.weights.recon": 2.0,
    "task.weights.invariance": 0.5,
    "task.weights.consistency": 0.5,
    "task.contrast.name": "views",
    "task.orbit_average": True,
    "task.both_directions": True,
    "task.contrast.weight": 0.1,
    "task.contrast.temperature": 0.5,
    "task.contrast.hidden": 32,
    "task.contrast.size": 16,
    "task.contrast.rotation": 0.1,
    "task.contrast.shear": 0.1,
    "task.contrast.stretch": 0.1,
    "task.contrast.shift": 0.1,
    "task.contrast.thickness": False,
    "seed": 5,
    "epochs": 99,
    "global_batch": 96,
    "accumulation": 2,
    "pairs": "stored",
    "patience": 3,
    "tail": "carry",
    "num_train_items": 100,
    "precision": "bf16",
    "compile": True,
    "init_from": "/other",
    "log_every": 7,
    "validate_every": 9,
    "validation_batch": 17,
    "checkpoint_every": 11,
    "ema_decay": 0.9,
    "optimizer.learning_rate": 0.5,
    "optimizer.betas": [0.5, 0.6],
    "optimizer.weight_decay": 0.1,
    "optimizer.clip_norm": 3.0,
    "schedule.shape": "cosine",
    "schedule.warmup_steps": 3,
    "schedule.final_fraction": 0.5,
    "collapse.action": "warn",
    "collapse.after_steps": 17,
    "collapse.max_restarts": 4,
    "retention.keep_last": 5,
    "retention.keep_every": 6,
}
RESIDUAL = {"task.model.name": "residual"}
LEARNED = {"task.action.name": "learned"}
CONTEXT = {"task.model.name": "context"}
VIEWS = {"task.contrast.name": "views"}
BESIDES = {
    "order": {},
    "task.reconstruct": {"task.weights.invariance": 0.0, "task.weights.consistency": 0.0},
    "task.mask.name": {},
    "task.mask.variant_fraction": {"task.mask.name": "fixed"},
    "task.action.max_frequency": {"task.action.name": "representation"},
    "task.action.block_size": LEARNED,
    "task.action.hidden": LEARNED,
    "task.model.name": {},
    "task.model.num_blocks": RESIDUAL,
    "task.model.max_width": RESIDUAL,
    "task.model.latent_channels": RESIDUAL,
    "task.model.context_channels": CONTEXT,
    "task.contrast.name": {},
    "task.contrast.weight": VIEWS,
    "task.contrast.temperature": VIEWS,
    "task.contrast.hidden": VIEWS,
    "task.contrast.size": VIEWS,
    "task.contrast.rotation": VIEWS,
    "task.contrast.shear": VIEWS,
    "task.contrast.stretch": VIEWS,
    "task.contrast.shift": VIEWS,
    "task.contrast.thickness": VIEWS,
    "schedule.final_fraction": {"schedule.shape": "cosine"},
    "collapse.max_restarts": {"collapse.action": "restart"},
}


def test_the_table_of_other_values_knows_every_key() -> None:
    # Rehearsals (debug=...) are not swept.
    apart = ("task.", "debug.")
    keys = {key for key in dotted_keys(TrainConfig) if not key.startswith(apart)}
    keys -= {"task", "debug", "plugins"}  # the last is filled in, never asked for
    keys |= set(dotted_keys(LatentActionConfig, "task.")) - {"task.name"}
    leaves = {key for key in keys if not any(other.startswith(f"{key}.") for other in keys)}
    assert set(OTHER_VALUES) == leaves


@pytest.mark.parametrize("key", OTHER_VALUES)
def test_the_hash_changes_with_exactly_the_keys_that_decide_results(key: str) -> None:
    besides = BESIDES.get(key, {})
    before, after = config_with(besides), config_with({**besides, key: OTHER_VALUES[key]})
    assert before != after
    same = content_hash(before, "data") == content_hash(after, "data")
    assert same == (key in KEYS_FREE_TO_CHANGE)


@pytest.mark.parametrize(
    "words",
    [
        ("experiment=blocks_3d",),
        ("experiment=shapes_2d", "control=masked_latent"),
        ("experiment=reacher", "task.model.kind=none"),
        ("experiment=teapot", "task.model.kind=none"),
        ("experiment=homeomorphic_vae/teapot",),
        ("experiment=sequence_labelling",),
        ("experiment=decoder/upsampling", "task.run=/other"),
    ],
)
def test_every_number_of_another_task_decides_its_results(words: tuple[str, ...]) -> None:
    config = build(TrainConfig, compose("train", [*words, "data=/data", "run_dir=/run"], PATH_KEYS))
    others = list(one_number_changed(config.task))
    assert len(others) >= 3
    digests = {
        content_hash(dataclasses.replace(config, task=task), "data")
        for task in (config.task, *others)
    }
    assert len(digests) == 1 + len(others)


def one_number_changed(config: Any) -> Iterator[Any]:
    """Copies of a configuration with another number, or numbers, in one field each."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in ("variant_weight", "hinge_per_object") and not value:
            continue  # refused without a mask, and without objects
        if dataclasses.is_dataclass(value):
            for inner in one_number_changed(value):
                yield dataclasses.replace(config, **{field.name: inner})
        elif isinstance(value, tuple) and value:
            yield dataclasses.replace(config, **{field.name: (*value, 3)})
        elif field.name == "same_episode_share":
            yield dataclasses.replace(config, same_episode_share=value + 0.5)
        elif isinstance(value, int | float) and field.name not in ("cells", "pool", "tau"):
            yield dataclasses.replace(config, **{field.name: value + 2})


@given(
    keys=st.lists(
        st.sampled_from([key for key in OTHER_VALUES if key not in BESIDES]),
        max_size=6,
        unique=True,
    )
)
def test_equal_hashes_mean_equal_results(keys: list[str]) -> None:
    """Whatever is changed together, and in whatever order."""
    values = {key: OTHER_VALUES[key] for key in keys}
    config = config_with(values)
    assert content_hash(config, "data") == content_hash(
        config_with(dict(reversed(values.items()))), "data"
    )
    deciding = [key for key in keys if key not in KEYS_FREE_TO_CHANGE]
    alone = config_with({key: OTHER_VALUES[key] for key in deciding})
    assert content_hash(config, "data") == content_hash(alone, "data")
    assert (content_hash(config, "data") == content_hash(config_with({}), "data")) == (not deciding)


def test_the_hash_changes_with_the_dataset() -> None:
    assert content_hash(config_with({}), "one") != content_hash(config_with({}), "other")


def test_a_default_that_is_stated_leaves_the_hash_as_it_is() -> None:
    config = config_with({})
    stated = {
        f"{name}.{field.name}": field.default
        for name in ("optimizer", "schedule", "collapse", "retention")
        for field in dataclasses.fields(getattr(config, name))
    }
    plain = {key: list(v) if isinstance(v, tuple) else v for key, v in stated.items()}
    assert off_default(config_with(plain)) == off_default(config)
    assert (
        not {"optimizer", "schedule", "collapse", "retention", "tail"} & off_default(config).keys()
    )
    assert content_hash(config_with(plain), "data") == content_hash(config, "data")


@dataclass(frozen=True)
class LaterConfig(TrainConfig):
    """Training as it may be configured one day."""

    later: int = 3


def test_a_key_that_is_added_later_renames_no_run() -> None:
    config = config_with({"task.tau": 0.4})
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    assert content_hash(LaterConfig(**values), "data") == content_hash(config, "data")
    assert content_hash(LaterConfig(**values, later=4), "data") != content_hash(config, "data")
