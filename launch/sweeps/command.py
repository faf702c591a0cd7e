"""The sweep command: plan, check, submit."""

from collections.abc import Sequence
from pathlib import Path

from launch.cluster.settings import ClusterConfig, InlineConfig
from launch.cluster.submission import read_records
from launch.jobs.liveness import Liveness, find_live
from launch.snapshot import Snapshot, take_snapshot
from launch.sweeps.expansion import PlannedRun, Resolver, check_space, expand, with_seeds
from launch.sweeps.inline_trials import run_inline
from launch.sweeps.plan import (
    Plan,
    SweepDirectory,
    as_values,
    describe_hours,
    describe_plan,
    describe_points,
    make_plan,
    pace_of,
    read_like,
)
from launch.sweeps.request import (
    REPOSITORY,
    SweepRequest,
    check_before,
    read_request,
    split_overrides,
)
from launch.sweeps.settings import OptunaSearch
from launch.sweeps.submission import (
    describe_submission,
    mixed_code,
    prepare_runs,
    refuse_mix,
    submit_runs,
)
from orbit.core.code import packages_to_carry
from orbit.core.config.origins import print_text
from orbit.core.config.program import command_for, take_switch
from orbit.core.config.roots import take_configs
from orbit.core.files.listing import list_folder
from orbit.core.files.lock import DirectoryLock
from orbit.core.printing import say
from orbit.core.user_text import counted


def run_sweep(overrides: Sequence[str]) -> int:
    """Plan and submit the requested sweep; returns the exit code."""
    given = list(overrides)
    is_asked = take_switch(given, "print_config")
    own, training = split_overrides(take_configs(given))
    request = read_request(own)
    if is_asked:
        say(print_text(request, "sweep", own))
        return 0
    directory = SweepDirectory(Path(request.sweep_dir))
    search = request.sweep.search
    if isinstance(search, OptunaSearch):
        from launch.sweeps.search_command import start_search

        check_space(search)
        return start_search(request, directory, training)
    resolver = Resolver(training, directory.runs)
    points = with_seeds(expand(search), request.sweep.seeds)
    runs = resolver.resolve(points)
    if len(runs) < len(points):
        fewer = f"{counted(len(points), 'point')} are {counted(len(runs), 'run')}"
        say(f"{fewer}: some have the same configuration")
    for line in check_before(request, runs, resolver.datasets()):
        say(f"not checked: {line}")
    if request.dry_run:
        plan = make_plan(directory, runs, live_runs(directory), request.retry_failed)
        names = [run.name for run in plan.to_submit]
        lines = describe_submission(names, directory, request.cluster, directory.code / "CODE")
        mix = mixed_code(directory, known_runs(directory, runs), plan.to_submit)
        told = [describe_points(runs), *describe_plan(plan), _expected(request, directory, plan)]
        say("\n".join([*told, *([f"a mix: {mix}"] if mix else []), *lines]))
        return 0
    with DirectoryLock(directory.path, "submissions") as lock:
        plan = make_plan(directory, runs, live_runs(directory), request.retry_failed)
        known = known_runs(directory, runs)
        said = refuse_mix(mixed_code(directory, known, plan.to_submit), request.any_code)
        directory.write_request(overrides, request.sweep, request.cluster)
        directory.write_plan(as_values(runs))
        say("\n".join([*describe_plan(plan), *said]))
        if not plan.to_submit:
            return 0
        code = take_snapshot(
            REPOSITORY, directory.code, leave_out=(directory.path,), packages=packages_to_carry()
        )
        lock.check_owned()
        prepare_runs(plan.to_submit, directory, request.cluster, code, request.stage)
        if not isinstance(request.cluster, InlineConfig):
            lock.check_owned()
            return hand_over(plan, directory, request.cluster, code, request.hold)
    return run_inline(plan.to_submit)


def _expected(request: SweepRequest, directory: SweepDirectory, plan: Plan) -> str:
    """How long what would be submitted takes, by the sweep's own runs or by `like=RUN_DIR`."""
    like = read_like(request.like)
    begun = [run.name for run in plan.runs if _has_config(directory, run.name)]
    paces = {name: pace_of(directory.runs / name) for name in begun}
    own = {name: pace for name, pace in paces.items() if pace is not None}
    return describe_hours(plan.to_submit, own, like, request.cluster)


def _has_config(directory: SweepDirectory, name: str) -> bool:
    return (directory.runs / name / "config.yaml").is_file()


def known_runs(directory: SweepDirectory, runs: Sequence[PlannedRun]) -> list[str]:
    """The requested runs, and those of earlier calls."""
    earlier = [path.name for path in list_folder(directory.runs)]
    return list(dict.fromkeys([*(run.name for run in runs), *earlier]))


def live_runs(directory: SweepDirectory) -> Liveness:
    """The sweep's waiting and running runs; ValueError if the cluster cannot be asked."""
    liveness = find_live(directory.path, read_records(directory.path, ("train",)))
    if liveness.unchecked is not None:
        raise ValueError(f"cannot tell which runs are waiting or running: {liveness.unchecked}")
    return liveness


def hand_over(
    plan: Plan, directory: SweepDirectory, cluster: ClusterConfig, code: Snapshot, hold: bool
) -> int:
    """Submit the runs and print what was submitted."""
    assert not isinstance(cluster, InlineConfig)
    names = [run.name for run in plan.to_submit]
    records = submit_runs(names, directory, cluster, code.path, hold)
    for record in records:
        workers = counted(len(record.processes), "worker")
        where = f"job {record.job_id}" if record.job_id else f"{workers} here"
        say(f"submitted {counted(len(record.tasks), 'run')}: {where} ({record.name})")
    say(code.describe())
    say(f"look with: {command_for('status')} {directory.path}")
    return 0
