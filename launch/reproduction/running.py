"""Carrying out a plan: datasets first, then runs; each result is written as soon as its run
ends."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.reproduction.children import Chain, Ending, StopNote, run_chains
from launch.reproduction.plan import (
    DIRTY,
    Places,
    PlannedRun,
    Programs,
    data_name,
    preparation_steps,
    run_steps,
)
from launch.reproduction.results import (
    Result,
    is_result,
    make_result,
    write_result,
)
from launch.reproduction.settings import duration, seconds_left
from orbit.core.config.program import EXIT_FINISHED
from orbit.core.printing import say


@dataclass(frozen=True)
class Campaign:
    """The common state of all runs of a call. `roots` are the paths of the images of `mnist` and
    `meshes`.

    `say` prints progress, `on_run` is called when a run has ended, successful or not. `check_owned`
    raises ValueError if another process has taken over the results. `has_changed` tells whether the
    code is no longer that of `commit`.
    """

    preset: str
    places: Places
    results: Path
    roots: Mapping[str, str]
    num_parallel: int = 2
    commit: str = "unknown"
    programs: Programs = Programs()
    say: Callable[[str], None] = say
    on_run: Callable[[], None] = lambda: None
    check_owned: Callable[[], None] = lambda: None
    has_changed: Callable[[], bool] = lambda: False


def prepare_datasets(
    runs: Sequence[PlannedRun], campaign: Campaign, stop: StopNote
) -> dict[str, str]:
    """Prepare each missing dataset of the runs; returns the reasons of failures, by the name of the
    data."""
    places = campaign.places
    chains = {}
    for run in runs:
        root = campaign.roots.get(run.files) if run.files is not None else None
        for overrides in run.datasets:
            name = data_name(overrides)
            if name not in chains and not (places.data(overrides) / "manifest.json").exists():
                steps = preparation_steps(overrides, places, campaign.programs, root)
                chains[name] = Chain(name, steps, places.log(name))
    failed: dict[str, str] = {}

    def on_end(ending: Ending) -> None:
        if ending.exit_code == EXIT_FINISHED:
            campaign.say(f"{ending.name}: prepared in {duration(sum(ending.seconds.values()))}")
        else:
            failed[ending.name] = ending.message
            if stop.signal is None:
                campaign.say(f"{ending.name}: preparation failed: {ending.message}")

    run_chains(list(chains.values()), campaign.num_parallel, stop, on_end)
    return failed


def run_plan(
    runs: Sequence[PlannedRun],
    campaign: Campaign,
    stop: StopNote,
    known_seconds: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, str]:
    """Run all runs; returns the reasons of failures by name, without stopped runs.

    `known_seconds` are times of earlier runs by dataset, for the estimate of what is left.
    """
    unprepared = prepare_datasets(runs, campaign, stop)
    reasons = {
        run.name: unprepared[name]
        for run in runs
        for name in map(data_name, run.datasets)
        if name in unprepared
    }
    failed = {name: f"not prepared: {why}" for name, why in reasons.items() if stop.signal is None}
    able = {run.work_name: run for run in runs if run.name not in reasons}
    seconds = {name: list(values) for name, values in (known_seconds or {}).items()}
    left = dict(able)

    def on_end(ending: Ending) -> None:
        run = left.pop(ending.name)
        if not is_result(ending):
            if stop.signal is None:
                failed[run.name] = f"{ending.step}: {ending.message}"
            outcome = f"stopped in {ending.step}" if stop.signal else f"failed in {ending.step}"
            detail = "" if stop.signal else f": {ending.message}"
        else:
            try:
                result = land(run, campaign, ending)
                outcome, message = str(result["state"]), str(result["message"])
                detail = f": {message}" if message else ""
                if result["state"] == "finished":
                    seconds.setdefault(run.dataset, []).append(sum(ending.seconds.values()))
            except (ValueError, OSError, KeyError) as error:
                failed[run.name] = f"its result cannot be read: {error}"
                outcome, detail = "failed", f": {failed[run.name]}"
        campaign.on_run()
        number = f"[{len(able) - len(left)}/{len(able)}]"
        remaining = seconds_left([r.dataset for r in left.values()], seconds, campaign.num_parallel)
        estimate = f"; about {duration(remaining)} left" if left and remaining is not None else ""
        took = duration(sum(ending.seconds.values()))
        campaign.say(f"{number} {run.name}: {outcome} after {took}{detail}{estimate}")

    chains = [
        Chain(name, run_steps(run, campaign.places, campaign.programs), campaign.places.log(name))
        for name, run in able.items()
    ]
    run_chains(chains, campaign.num_parallel, stop, on_end)
    return failed


def land(run: PlannedRun, campaign: Campaign, ending: Ending) -> Result:
    """Write the result of a run that has ended, and return it."""
    campaign.check_owned()
    commit = f"{campaign.commit}{DIRTY}" if campaign.has_changed() else campaign.commit
    result = make_result(run, campaign.preset, ending, campaign.places, commit)
    write_result(campaign.results, run, result)
    return result


def earlier_seconds(results: Sequence[Result], preset: str) -> dict[str, list[float]]:
    """How long finished runs of a preset took, by dataset."""
    seconds: dict[str, list[float]] = {}
    for result in results:
        if result["state"] == "finished" and result.get("preset") == preset:
            seconds.setdefault(result["dataset"], []).append(sum(result["seconds"].values()))
    return seconds
