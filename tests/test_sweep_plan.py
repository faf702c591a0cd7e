"""Protects what becomes of points: configurations, refusals, and which runs are submitted."""

import dataclasses
import itertools
import math
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.sweeping import config_with, sweep
from helpers.training import PATH_KEYS
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.cluster.settings import InlineConfig, LocalConfig, SlurmConfig, minutes_of
from launch.jobs.liveness import LiveJob, Liveness
from launch.sweeps.expansion import PlannedRun, Resolver, expand
from launch.sweeps.plan import SweepDirectory, describe_plan, make_plan
from launch.sweeps.request import SweepRequest, read_request, split_overrides
from launch.sweeps.settings import Dimension, GridSearch, PointsSearch, RandomSearch, SweepConfig
from orbit.core.config.compose import compose, group_options, set_dotted
from orbit.core.config.schema import build
from orbit.core.files.atomic import write_json
from orbit.core.store.manifest import read_manifest, write_manifest
from pipeline.training.settings import TrainConfig

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


def test_a_run_stays_the_same_when_a_sweep_comes_to_vary_another_key(
    digits_dir: Path, tmp_path: Path
) -> None:
    words = [f"data={digits_dir}"]
    (before,) = Resolver(words, tmp_path).resolve([{"task.tau": 0.4, "seed": 0}])
    (tmp_path / before.name).mkdir()
    points = [{"task.tau": 0.4, "epochs": epochs, "seed": 0} for epochs in (12, 13)]
    same, new = Resolver(words, tmp_path).resolve(points)
    assert (same.name, same.config) == (before.name, before.config)
    assert new.name != before.name
    named_twice = [{"task.tau": 0.4}, {"task.tau": 0.4, "epochs": 12}]
    assert len(resolve(digits_dir, named_twice)) == 1


def test_values_that_look_alike_have_names_of_their_own(digits_dir: Path) -> None:
    points = [{"optimizer.learning_rate": 1e-3}, {"optimizer.learning_rate": 1e-3 + 1e-12}]
    first, second = resolve(digits_dir, points)
    assert first.name[:-8] == second.name[:-8]
    assert first.name != second.name


def test_choices_of_groups_compose_with_values(digits_dir: Path) -> None:
    # Several experiments say the same but for the dataset: two that do not.
    experiments = ["rotated_digits", "rotated_mnist"]
    assert set(experiments) < set(group_options("experiment"))
    grid = {
        "experiment": experiments,
        "task": ["latent_action"],
        "task.tau": [0.3, 0.4],
    }
    runs = resolve(digits_dir, expand(GridSearch("grid", grid)), "epochs=3", "experiment=nothing")
    assert len({run.name for run in runs}) == len(runs) == 2 * len(experiments)
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
        (
            "{task: [latent_action, latent]}",
            "unknown task=latent; known: decoder, homomorphism",
        ),
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
    given_words = ("sweep.search.name=grid", f"sweep.search.grid={search}", "sweep=paper1_tau")
    line = sweep(*given_words, data=digits_dir, sweep_dir=tmp_path / "sweep")
    assert words in line
    assert line.startswith("sweep.py: point {")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["sweep=paper1_tau", "sweep.search.grid={seed:[1]}"], "cannot vary seed: sweep.seeds"),
        (["sweep=paper1_tau", "sweep.search.grid={run_dir:[a]}"], "cannot vary run_dir"),
        (["sweep=paper1_tau", "sweep.search.gird={}"], "did you mean 'sweep.search.grid'?"),
        (["sweep=paper1_tau", "sweep.seeds=[]"], "seeds=[] leaves nothing to run"),
        (["sweep=paper1_tau", "sweep.seeds=[1,2,1]"], "seeds=[1, 2, 1] names one twice"),
        (["sweep=paper1_tau", "sweep.search.name=best"], "sweep.search.name=best is not allowed"),
        (["sweep=taus"], "unknown sweep=taus"),
        (["sweep.search.points=[]"], "points=[] leaves nothing to run"),
        (["sweep=random_search", "sweep.search.num_points=0"], "num_points=0"),
        (["sweep=random_search", "sweep.search.seed=-1"], "seed=-1 must not be negative"),
        (["sweep=random_search", "sweep.search.space={}"], "space={} leaves nothing"),
        (["hold=true"], "hold=true has no effect without SLURM"),
        (["stage=true"], "stage=true has no effect with cluster=inline"),
        (["verify=often"], "verify=often is not allowed; allowed: sizes, full"),
        (["cluster.max_running=2"], "max_running has no effect with cluster.name=inline"),
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
    own = ["sweep_dir=x", "sweep=paper1_tau", "sweep.seeds=[1]", "cluster=slurm", "cluster.nodes=2"]
    own += ["stage=true", "verify=full", "hold=true", "dry_run=true", "retry_failed=false"]
    training = ["data=x", "epochs=3", "experiment=a", "task.tau=0.3", "clu.ster=1", "x=sweep=1"]
    mixed = [word for pair in itertools.zip_longest(training, own) for word in pair if word]
    assert split_overrides(mixed) == (own, training)


@pytest.mark.parametrize(
    ("typed", "meant"), [("swep", "sweep"), ("sweepdir", "sweep_dir"), ("dryrun", "dry_run")]
)
def test_a_mistyped_key_of_the_launcher_is_not_taken_for_one_of_training(
    typed: str, meant: str
) -> None:
    with pytest.raises(ValueError, match=f"unknown key '{typed}'; did you mean '{meant}'"):
        split_overrides([f"{typed}=x"])
    for field in dataclasses.fields(TrainConfig):
        if field.name not in ("run_dir", "seed"):  # refused for another reason
            assert split_overrides([f"{field.name}=x"]) == ([], [f"{field.name}=x"])


@pytest.mark.parametrize("group", ["sweep", "cluster"])
def test_every_shipped_sweep_and_cluster_file_is_a_request(group: str) -> None:
    assert group_options(group)
    for name in group_options(group):
        request = read_request([f"{group}={name}", "sweep_dir=x"])
        assert isinstance(request.sweep, SweepConfig)
        assert isinstance(request.cluster, SlurmConfig | LocalConfig | InlineConfig)
        if isinstance(request.cluster, SlurmConfig):
            assert 10 <= request.cluster.time_min <= 600


def test_points_of_shipped_sweeps_are_accepted(digits_dir: Path) -> None:
    for name in group_options("sweep"):
        search = read_request([f"sweep={name}", "sweep_dir=x"]).sweep.search
        if isinstance(search, GridSearch | PointsSearch | RandomSearch):
            points = expand(search)
            assert points
            # Points that name a dataset of their own mean one that a user has prepared.
            here = [{**p, **({"data": str(digits_dir)} if "data" in p else {})} for p in points]
            assert len(resolve(digits_dir, here)) == len(points)


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
    "planned": ({}, None),
    "finished": ({"result.json": {}, "heartbeat.json": {"time": 0}}, None),
    "waiting": ({}, LiveJob("waiting", "Resources", "5_1", "r")),
    "running": ({"heartbeat.json": {"time": NOW}}, LiveJob("running", "running", "5_2", "r")),
    "failed": ({"error.json": {"kind": "mistake", "message": "no"}}, None),
    "cancelled": ({"cancelled.json": {}}, None),
    "lost": ({"heartbeat.json": {"time": 0, "step": 3}}, None),
    "stopped": (
        {
            "attempts/5-0/begin.json": {"submission": "s", "started": 1.0, "first_step": 0},
            "attempts/5-0/end.json": {"reason": "preempted"},
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
    assert submitted == ["planned", "failed", "cancelled", "lost", "stopped"]
    first, second = describe_plan(plan)
    assert first.startswith("8 runs: 1 finished, 1 running, 1 waiting, 1 failed before, 3 stopped")
    assert second == "to submit: 5"


def test_failed_runs_are_left_alone_where_asked(
    planned: tuple[SweepDirectory, list[PlannedRun], Liveness],
) -> None:
    directory, runs, liveness = planned
    plan = make_plan(directory, runs, liveness, retry_failed=False)
    assert [run.name for run in plan.to_submit] == ["planned", "cancelled", "lost", "stopped"]


@settings(max_examples=20)
@given(order=st.permutations(list(RUN_FILES)))
def test_the_plan_keeps_the_order_of_the_sweep(order: list[str]) -> None:
    """Nothing is on disk: every run without a job is new."""
    runs = [PlannedRun(name, {}, config_with({})) for name in order]
    live = {"waiting": LiveJob("waiting", "", "1", "r")}
    plan = make_plan(SweepDirectory(Path("/nowhere")), runs, Liveness(live))
    assert [run.name for run in plan.to_submit] == [name for name in order if name != "waiting"]
