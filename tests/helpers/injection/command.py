"""The command of `tests/acceptance/inject_faults.py`."""

import dataclasses
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from helpers.injection.campaign import Campaign, cold_points, processor, table
from helpers.injection.driver import WarmProcess
from helpers.injection.library import build_library, why_not
from helpers.injection.places import Places
from helpers.injection.points import Point, Trial
from helpers.injection.subjects import SUBJECTS, subject
from orbit.core.config.program import take_value

MEMORY = Path("/dev/shm")


def run_campaign(words: list[str]) -> int:
    """Carry the campaign out as the words say; 1 if a trial went wrong."""
    minutes = float(take_value(words, "minutes", "40"))
    num_lines = int(take_value(words, "lines", str(os.cpu_count() or 1)))
    num_cold = int(take_value(words, "num_cold", "20"))
    names = take_value(words, "subjects", "")
    faults = take_value(words, "faults", "")
    call = take_value(words, "call", "")
    out = take_value(words, "out", "")
    given = take_value(words, "work", "")
    if words:
        raise ValueError(f"cannot use {words[0]!r} (see --help)")
    reason = why_not()
    if reason is not None:
        print(f"skipped: {reason}")
        return 0
    subjects = [subject(name) for name in split(names)] if names else list(SUBJECTS)
    within = Path(given) if given else MEMORY if MEMORY.is_dir() else None
    work = Path(tempfile.mkdtemp(prefix="faults-", dir=within))
    started = time.monotonic()
    try:
        with (
            WarmProcess(work, build_library(work)) as warm,
            Campaign(warm, Places(work / "places"), num_lines) as campaign,
        ):
            campaign.record(subjects)
            points = [p for p in campaign.points() if is_wanted(p, split(faults), call)]
            print(f"{len(points)} points, {time.monotonic() - started:.0f} s to begin", flush=True)
            started = time.monotonic()
            trials = campaign.run(points, started + 60 * minutes, show)
            print(f"{len(trials)} trials in {(time.monotonic() - started) / 60:.1f} minutes")
            cold = campaign.run(cold_points(points, num_cold), on_trial=show, is_cold=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if out:
        lines = [json.dumps(dataclasses.asdict(trial)) + "\n" for trial in (*trials, *cold)]
        Path(out).write_text("".join(lines))
    return report(trials, cold)


def split(text: str) -> list[str]:
    """Names between commas; a comma within a name is followed by a space."""
    kept = text.replace(", ", "\0").split(",")
    return [name.replace("\0", ", ") for name in kept if name]


def is_wanted(point: Point, faults: list[str], call: str) -> bool:
    """Whether a point has one of these faults and, if one is given, this call."""
    of_point = f"{point.call.op} {point.call.path} {point.call.occurrence}"
    return (not faults or point.fault in faults) and call in ("", of_point)


def is_taken_for_mistake(trial: Trial) -> bool:
    """Whether training ended as after a user's mistake, where the file system was at fault."""
    is_passing = trial.point.fault.startswith(("EIO", "ESTALE"))
    return is_passing and trial.point.subject.startswith("train") and 1 in trial.codes


def show(trial: Trial) -> None:
    """Print a trial that went wrong, or that no launcher would have repeated."""
    if is_taken_for_mistake(trial):
        print(f"taken for a mistake: {trial.point} {list(trial.codes)}", flush=True)
    if trial.verdict.kind == "wrong":
        print(f"WRONG {trial.point} {list(trial.codes)}", *trial.verdict.faults, sep="\n    ")
        sys.stdout.flush()


def report(trials: list[Trial], cold: list[Trial]) -> int:
    """Print the table; 1 if a trial went wrong."""
    print(f"\n{table(trials)}\n")
    num_unmet = sum(not trial.was_met for trial in trials)
    num_litter = sum(bool(trial.verdict.litter) for trial in trials)
    seconds = sum(trial.seconds for trial in trials)
    print(f"processor: {processor()}, {os.cpu_count()} cores; {seconds:.0f} s within programs")
    print(f"half files left behind after the repetition: {num_litter}")
    print(f"points whose call was not made again: {num_unmet}")
    num_mistaken = sum(map(is_taken_for_mistake, trials))
    print(f"training that took EIO or ESTALE for a user's mistake: {num_mistaken}")
    good = sum(trial.verdict.kind != "wrong" for trial in cold)
    print(f"from a cold start: {good} of {len(cold)} well")
    return int(any(trial.verdict.kind == "wrong" for trial in (*trials, *cold)))
