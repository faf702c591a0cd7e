"""Protects what a sweep consists of: its points, their names, and which of them are submitted."""

import dataclasses
import functools
import itertools
import json
import math
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers.programs import call
from helpers.training import PATH_KEYS
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.store.manifest import read_manifest, write_manifest
from launch.cluster.settings import InlineConfig, LocalConfig, SlurmConfig, minutes_of
from launch.jobs.liveness import LiveJob, Liveness
from launch.sweeps.directory import SweepDirectory
from launch.sweeps.expansion import draw, expand, flatten_grid, flatten_point, value_at, with_seeds
from launch.sweeps.naming import MAX_LABEL, content_hash, off_default, readable_name, short_keys
from launch.sweeps.plan import describe_plan, make_plan
from launch.sweeps.request import SweepRequest, read_request, split_words
from launch.sweeps.resolving import PlannedRun, Resolver
from launch.sweeps.settings import Dimension, GridSearch, PointsSearch, RandomSearch, SweepConfig
from pipeline.config.compose import compose, group_options, set_dotted
from pipeline.config.schema import build, dotted_keys
from pipeline.files.atomic import write_json
from pipeline.training.settings import KEYS_FREE_TO_CHANGE, TrainConfig

KEYS = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=3).map(".".join)


@functools.cache
def base_text() -> str:
    """The values of the default training configuration, as JSON."""
    return json.dumps(compose("train", ["data=/data", "run_dir=/run"], PATH_KEYS))


def config_with(values: Mapping[str, Any]) -> TrainConfig:
    """The default configuration with other values at dotted keys."""
    composed = json.loads(base_text())
    for key, value in values.items():
        set_dotted(composed, key, value)
    return build(TrainConfig, composed)


def sweep(*words: str, data: Path, sweep_dir: Path) -> str:
    """The one line with which launch/sweep.py refuses."""
    given_words = (f"data={data}", f"sweep_dir={sweep_dir}", "cluster=inline", *words)
    line = call("launch/sweep.py", *given_words).error_line
    assert not sweep_dir.exists()
    return line


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
    "loader.num_workers": 2,
    "loader.prefetch": 5,
    "task.tau": 0.25,
    "task.model.width": 12,
    "task.model.depth": 3,
    "task.model.memory_format": "channels_last",
    "task.weights.recon": 2.0,
    "task.weights.invariance": 0.5,
    "task.weights.consistency": 0.5,
    "seed": 5,
    "epochs": 99,
    "global_batch": 96,
    "accumulation": 2,
    "pairs": "stored",
    "tail": "carry",
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
BESIDES = {
    "schedule.final_fraction": {"schedule.shape": "cosine"},
    "collapse.max_restarts": {"collapse.action": "restart"},
}


def test_the_table_of_other_values_knows_every_key() -> None:
    keys = set(dotted_keys(TrainConfig)) - {"task.name"}
    leaves = {key for key in keys if not any(other.startswith(f"{key}.") for other in keys)}
    assert set(OTHER_VALUES) == leaves


@pytest.mark.parametrize("key", OTHER_VALUES)
def test_the_hash_changes_with_exactly_the_keys_that_decide_results(key: str) -> None:
    besides = BESIDES.get(key, {})
    before, after = config_with(besides), config_with({**besides, key: OTHER_VALUES[key]})
    assert before != after
    same = content_hash(before, "data") == content_hash(after, "data")
    assert same == (key in KEYS_FREE_TO_CHANGE)


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


# From points to runs


def resolve(data: Path, points: list[dict[str, Any]], *words: str) -> list[PlannedRun]:
    return Resolver([f"data={data}", *words], Path("/sweep/runs")).resolve(points)


def test_a_run_keeps_its_name_where_the_data_and_the_sweep_lie_elsewhere(
    digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(digits_dir, copy)
    (run,) = resolve(digits_dir, [{"task.tau": 0.4}])
    monkeypatch.chdir(tmp_path)
    (moved,) = Resolver(["data=copy"], tmp_path / "runs").resolve([{"task.tau": 0.4}])
    assert moved.name == run.name
    assert moved.config.data == str(copy)
    assert moved.config.run_dir == str(tmp_path / "runs" / run.name)
    write_manifest(copy, dataclasses.replace(read_manifest(copy), group="another"))
    (other,) = resolve(copy, [{"task.tau": 0.4}])
    assert other.name[:-8] == run.name[:-8]
    assert other.name != run.name


def test_values_and_shared_words_are_the_same_to_a_run(digits_dir: Path) -> None:
    (by_point,) = resolve(digits_dir, [{"task.tau": 0.4, "optimizer.betas": (0.5, 0.9)}])
    words = ("task.tau=0.4", "optimizer.betas=[0.5,0.9]")
    (by_word,) = resolve(digits_dir, [{}], *words)
    assert dataclasses.replace(by_point.config, run_dir="") == dataclasses.replace(
        by_word.config, run_dir=""
    )
    assert by_point.name[-8:] == by_word.name[-8:]


def test_points_of_the_same_configuration_are_one_run(digits_dir: Path) -> None:
    points = [{"task.tau": 0.5}, {"task.tau": 0.4}, {"task.tau": 0.5}]
    assert [run.values for run in resolve(digits_dir, points)] == points[:2]


def test_values_that_look_alike_have_names_of_their_own(digits_dir: Path) -> None:
    points = [{"optimizer.learning_rate": 1e-3}, {"optimizer.learning_rate": 1e-3 + 1e-12}]
    first, second = resolve(digits_dir, points)
    assert first.name[:-8] == second.name[:-8]
    assert first.name != second.name


def test_choices_of_groups_compose_with_values(digits_dir: Path) -> None:
    grid = {
        "experiment": group_options("experiment"),
        "task": ["latent_action"],
        "task.tau": [0.3, 0.4],
    }
    runs = resolve(digits_dir, expand(GridSearch("grid", grid)), "epochs=3", "experiment=nothing")
    assert len({run.name for run in runs}) == len(runs) == 2 * len(group_options("experiment"))
    for run in runs:
        words = [f"experiment={run.values['experiment']}", "epochs=3", f"data={digits_dir}"]
        values = compose("train", [*words, f"run_dir={run.config.run_dir}"], PATH_KEYS)
        set_dotted(values, "task.tau", run.values["task.tau"])
        assert run.config == build(TrainConfig, values)


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ("{task.tua: [0.3]}", "unknown key 'task.tua'; did you mean 'task.tau'?"),
        ("{task.tau: [0.3, 1.5]}", "task.tau=1.5 must lie between"),
        ("{task: [latent_action, latent]}", "unknown task=latent; known: latent_action"),
        ("{experiment: [nowhere]}", "unknown experiment=nowhere"),
        ("{optimizer.betas: [0.3]}", "optimizer.betas takes a list, not 0.3"),
        ("{global_batch.x: [1]}", "unknown key 'global_batch.x'"),
        ("{cluster.nodes: [2]}", "unknown key 'cluster'"),
        ("{cluster: [local]}", "cluster"),
        ("{dataset: [rotated_mnist]}", "dataset"),
    ],
)
def test_a_refused_point_is_named_in_one_line(
    search: str, words: str, digits_dir: Path, tmp_path: Path
) -> None:
    given_words = ("sweep.search.name=grid", f"sweep.search.grid={search}", "sweep=tau")
    line = sweep(*given_words, data=digits_dir, sweep_dir=tmp_path / "sweep")
    assert words in line
    assert line.startswith("sweep.py: point {")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["sweep=tau", "sweep.search.grid={seed:[1]}"], "cannot vary seed: sweep.seeds"),
        (["sweep=tau", "sweep.search.grid={run_dir:[a]}"], "cannot vary run_dir"),
        (["sweep=tau", "sweep.search.gird={}"], "did you mean 'sweep.search.grid'?"),
        (["sweep=tau", "sweep.seeds=[]"], "seeds=[] leaves nothing to run"),
        (["sweep=tau", "sweep.seeds=[1,2,1]"], "seeds=[1, 2, 1] names one twice"),
        (["sweep=tau", "sweep.search.name=best"], "sweep.search.name=best is not allowed"),
        (["sweep=taus"], "unknown sweep=taus"),
        (["sweep.search.points=[]"], "points=[] leaves nothing to run"),
        (["sweep=random_search", "sweep.search.num_points=0"], "num_points=0"),
        (["sweep=random_search", "sweep.search.seed=-1"], "seed=-1 must not be negative"),
        (["sweep=random_search", "sweep.search.space={}"], "space={} leaves nothing"),
        (["hold=true"], "hold=true has no effect without SLURM"),
        (["stage=true"], "stage=true has no effect with cluster=inline"),
        (["verify=often"], "verify=often is not allowed; allowed: sizes, full"),
        (["cluster.max_running=2"], "unknown key 'cluster.max_running'"),
        (["experiment=nowhere"], "unknown experiment=nowhere"),
        (["run_dir=/x"], "run_dir=/x has no effect: the sweep sets it"),
        (["seed=3"], "seed=3 has no effect: sweep.seeds lists the seeds"),
    ],
)
def test_a_request_without_sense_is_refused_in_one_line(
    words: list[str], complaint: str, digits_dir: Path, tmp_path: Path
) -> None:
    assert complaint in sweep(*words, data=digits_dir, sweep_dir=tmp_path / "sweep")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"low": 1.0}, "a range needs low and high"),
        ({}, "a range needs low and high"),
        ({"low": 2.0, "high": 1.0}, "low=2.0 is above high=1.0"),
        ({"low": 0.0, "high": 1.0, "log": True}, "log=true needs a positive low"),
        ({"low": 1.2, "high": 1.8, "integer": True}, "holds no whole number"),
        ({"choices": []}, r"choices=\[\] leaves nothing"),
        ({"choices": [1], "low": 0.0}, "without effect"),
        ({"choices": [1], "log": True}, "without effect"),
    ],
)
def test_a_dimension_without_sense_is_refused(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        build(Dimension, values)


# Words of the launcher and of training


def test_words_are_split_between_launcher_and_training() -> None:
    own = ["sweep_dir=x", "sweep=tau", "sweep.seeds=[1]", "cluster=slurm", "cluster.nodes=2"]
    own += ["stage=true", "verify=full", "hold=true", "dry_run=true", "retry_failed=false"]
    training = ["data=x", "epochs=3", "experiment=a", "task.tau=0.3", "clusters=1", "x=sweep=1"]
    mixed = [word for pair in itertools.zip_longest(training, own) for word in pair if word]
    assert split_words(mixed) == (own, training)


@pytest.mark.parametrize("group", ["sweep", "cluster"])
def test_every_shipped_sweep_and_cluster_file_is_a_request(group: str) -> None:
    assert group_options(group)
    for name in group_options(group):
        request = read_request([f"{group}={name}", "sweep_dir=x"])
        assert isinstance(request.sweep, SweepConfig)
        assert isinstance(request.cluster, SlurmConfig | LocalConfig | InlineConfig)
        if isinstance(request.cluster, SlurmConfig):
            assert 10 <= request.cluster.time_min <= 600


def test_points_of_shipped_sweeps_are_accepted() -> None:
    for name in group_options("sweep"):
        search = read_request([f"sweep={name}", "sweep_dir=x"]).sweep.search
        if isinstance(search, GridSearch | PointsSearch | RandomSearch):
            points = expand(search)
            assert points
            for point in points:
                config_with(point)


def test_hold_and_stage_are_taken_where_they_have_an_effect() -> None:
    sweep_config = SweepConfig(PointsSearch("points", ({},)))
    slurm = SlurmConfig("slurm")
    assert SweepRequest(sweep_config, slurm, "x", stage=True, hold=True).hold
    assert SweepRequest(sweep_config, LocalConfig("local"), "x", stage=True).stage


# Times

CLOCK = st.integers(0, 59)


@given(days=st.integers(0, 30), hours=st.integers(0, 23), minutes=CLOCK, seconds=CLOCK)
def test_every_notation_of_a_time_is_read(
    days: int, hours: int, minutes: int, seconds: int
) -> None:
    total = minutes + math.ceil(seconds / 60)
    notations = {
        f"{minutes}": minutes,
        f"{minutes}:{seconds:02d}": total,
        f"{hours}:{minutes:02d}:{seconds:02d}": 60 * hours + total,
        f"{hours:02d}:{minutes:02d}:{seconds:02d}": 60 * hours + total,
        f"{days}-{hours}": 60 * (24 * days + hours),
        f"{days}-{hours}:{minutes:02d}": 60 * (24 * days + hours) + minutes,
        f"{days}-{hours:02d}:{minutes:02d}:{seconds:02d}": 60 * (24 * days + hours) + total,
    }
    for text, expected in notations.items():
        if expected:
            assert minutes_of(text) == expected
        else:
            with pytest.raises(ValueError, match="at least a minute"):
                minutes_of(text)
    assert minutes_of(minutes + 1) == minutes + 1


@pytest.mark.parametrize("text", ["", "1h", "1:2:3:4", "-5", "1.5", "1-", "-1:00", "UNLIMITED"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be read; examples"):
        minutes_of(text)


# The plan

NOW = time.time()
RUN_FILES: dict[str, tuple[dict[str, Any], LiveJob | None]] = {
    "missing": ({}, None),
    "finished": ({"result.json": {}, "heartbeat.json": {"time": 0}}, None),
    "waiting": ({}, LiveJob("waiting", "Resources", "5_1", "r")),
    "running": ({"heartbeat.json": {"time": NOW}}, LiveJob("running", "running", "5_2", "r")),
    "failed": ({"error.json": {"kind": "mistake", "message": "no"}}, None),
    "cancelled": ({"cancelled.json": {}}, None),
    "lost": ({"heartbeat.json": {"time": 0, "step": 3}}, None),
    "stopped": (
        {
            "attempts/5-0/begin.json": {"submission": "s", "started": 1.0, "first_step": 0},
            "attempts/5-0/end.json": {"reason": "timeout"},
        },
        None,
    ),
}


@pytest.fixture
def planned(tmp_path: Path) -> tuple[SweepDirectory, list[PlannedRun], Liveness]:
    """One run in each state, named after it."""
    directory = SweepDirectory(tmp_path)
    runs, jobs = [], {}
    for name, (files, live) in RUN_FILES.items():
        for file, content in files.items():
            (directory.runs / name / file).parent.mkdir(parents=True, exist_ok=True)
            write_json(directory.runs / name / file, content)
        runs.append(PlannedRun(name, {}, config_with({})))
        if live is not None:
            jobs[name] = live
    return directory, runs, Liveness(jobs)


def test_runs_that_are_done_or_under_way_are_left_alone(
    planned: tuple[SweepDirectory, list[PlannedRun], Liveness],
) -> None:
    directory, runs, liveness = planned
    plan = make_plan(directory, runs, liveness)
    assert {name: state.state for name, state in plan.states.items()} == {
        name: name for name in RUN_FILES
    }
    submitted = [run.name for run in plan.to_submit]
    assert submitted == ["missing", "failed", "cancelled", "lost", "stopped"]
    first, second = describe_plan(plan)
    assert first.startswith("8 runs: 1 finished, 1 running, 1 waiting, 1 failed before, 3 stopped")
    assert second == "to submit: 5"


def test_failed_runs_are_left_alone_where_asked(
    planned: tuple[SweepDirectory, list[PlannedRun], Liveness],
) -> None:
    directory, runs, liveness = planned
    plan = make_plan(directory, runs, liveness, retry_failed=False)
    assert [run.name for run in plan.to_submit] == ["missing", "cancelled", "lost", "stopped"]


@settings(max_examples=20)
@given(order=st.permutations(list(RUN_FILES)))
def test_the_plan_keeps_the_order_of_the_sweep(order: list[str]) -> None:
    """Nothing is on disk: every run without a job is new."""
    runs = [PlannedRun(name, {}, config_with({})) for name in order]
    live = {"waiting": LiveJob("waiting", "", "1", "r")}
    plan = make_plan(SweepDirectory(Path("/nowhere")), runs, Liveness(live))
    assert [run.name for run in plan.to_submit] == [name for name in order if name != "waiting"]
