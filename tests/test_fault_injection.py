"""Protects what was complete, and the ends of programs, from file systems that fail.

About 60 fixed points of the campaign that `tests/acceptance/inject_faults.py` runs in full, and
the campaign's own judge, which must find planted bugs and the loss of what was not flushed.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.injection.campaign import Campaign
from helpers.injection.driver import WarmProcess
from helpers.injection.fixed_points import fixed_points
from helpers.injection.judge import lost
from helpers.injection.library import (
    Call,
    as_plain,
    build_library,
    environment,
    faults_of,
    read_calls,
    why_not,
)
from helpers.injection.node_loss import lose_node, read_disk
from helpers.injection.places import Places
from helpers.injection.points import Point, fault_named, points_of
from helpers.injection.subjects import SUBJECTS, subject

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

PLANTED = {
    "a write without a rename": Point("train", Call(0, "create", "run/config.yaml", 1), "kill"),
    "the manifest first": Point("prepare", Call(0, "rename", "data/manifest.json", 1), "kill"),
    "an error taken for damage": Point(
        "train, continuing",
        Call(0, "open", "run/checkpoints/step_00000001/state.pt", 1),
        "EIO",
    ),
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def campaign(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    work = tmp_path_factory.mktemp("faults")
    with (
        WarmProcess(work, library) as warm,
        Campaign(warm, Places(work / "places"), 2) as campaign,
    ):
        yield campaign


@pytest.mark.parametrize("name", [each.name for each in SUBJECTS])
def test_a_fault_leaves_the_same_bytes_or_a_line_and_a_way_on(
    name: str, campaign: Campaign
) -> None:
    campaign.record([subject(name)])
    points = fixed_points(points_of(campaign.recordings[name]))
    trials = campaign.run(points)
    wrong = [f"{t.point}: {t.verdict.faults}" for t in trials if t.verdict.kind == "wrong"]
    assert not wrong, "\n".join(wrong)
    unmet = [str(trial.point) for trial in trials if not trial.was_met]
    assert not unmet, "calls that are not made any more: choose others"
    assert points
    assert len(trials) == len(points)


@pytest.mark.parametrize("bug", PLANTED)
def test_the_judge_finds_a_planted_bug(bug: str, campaign: Campaign) -> None:
    point = PLANTED[bug]
    if point.subject not in campaign.recordings:
        campaign.record([subject(point.subject)])
    found = campaign.try_one(point, planted=bug)
    assert found.was_met
    assert found.verdict.kind == "wrong"


WRITER = """
import os, sys
os.chdir(sys.argv[1])
def write(name, text, is_flushed):
    with open(name, "w") as file:
        file.write(text)
        file.flush()
        if is_flushed:
            os.fsync(file.fileno())
write("old", "new", False)
write("kept", "kept", True)
write("empty", "empty", False)
os.mkdir("folder")
opened = os.open(".", os.O_RDONLY)
os.fsync(opened)
os.close(opened)
write("folder/nameless", "nameless", True)
write("late", "late", True)
os.unlink("gone")
write("end", "end", False)
"""


@pytest.mark.parametrize("keeps_names", [False, True])
def test_the_loss_of_a_node_takes_what_was_not_flushed(
    keeps_names: bool, library: Path, tmp_path: Path
) -> None:
    """Contents without fsync, names without fsync of their folder; and nothing else."""
    work, log, journal = tmp_path / "work", tmp_path / "log", tmp_path / "journal"
    journal.mkdir()
    work.mkdir()
    (work / "old").write_text("old")
    (work / "gone").write_text("gone")
    before = read_disk(work)
    arming = as_plain(work, log, Call(0, "write", "end", 1), fault_named("kill"), journal)
    variables = environment(library, arming)
    done = subprocess.run([sys.executable, "-c", WRITER, str(work)], env=variables, timeout=120)
    assert done.returncode == -9
    lose_node(work, before, [log], journal, keeps_names)
    found = {path.name: path.read_text() if path.is_file() else "" for path in work.rglob("*")}
    wanted = {"old": "old", "kept": "kept", "empty": "", "folder": ""}
    names = {"nameless": "nameless", "late": "late", "end": ""}
    assert found == {**wanted, **(names if keeps_names else {"gone": "gone"})}


def test_an_outage_lasts_and_other_folders_are_spared(library: Path, tmp_path: Path) -> None:
    """A fault of 8 s meets every call below the folder, and none beside it."""
    work, log = tmp_path / "work", tmp_path / "log"
    work.mkdir()
    code = """
import os, sys
os.chdir(sys.argv[1])
for name in ("../beside", "a", "b", "c"):
    try:
        open(name, "w").close()
    except OSError as error:
        print(name, error.errno)
"""
    fault = fault_named("EIO for 8 s")
    arming = as_plain(work, log, Call(0, "create", "b", 1), fault, None)
    done = subprocess.run(
        [sys.executable, "-c", code, str(work)],
        env=environment(library, arming),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.splitlines() == ["b 5", "c 5"], done.stderr
    assert [(call.path, what) for call, _, what in read_calls(log)] == [
        ("a", ""),
        ("b", "EIO"),
        ("c", "EIO"),
    ]


def test_faults_fit_their_calls() -> None:
    """Nothing is short of one byte, a read needs no space, and it leaves a lost node as it was."""
    read = {fault.name for fault in faults_of(Call(0, "read", "x", 1), 1)}
    assert read == {"EIO", "EIO for 8 s", "ESTALE", "ESTALE for 8 s", "EINTR", "kill"}
    assert "short" in {fault.name for fault in faults_of(Call(0, "read", "x", 1), 2)}
    assert "node lost" in {fault.name for fault in faults_of(Call(0, "mkdir", "x", 1), -1)}


def test_what_is_replaced_by_something_newer_is_not_lost() -> None:
    old = {"run, a checkpoint of step 3 or later": "", "shard ab": "1"}
    assert lost(old, {"run, a checkpoint of step 4 or later": "", "a whole dataset": ""}) == []
    assert lost(old, {"run, a checkpoint of step 2 or later": "", "shard ab": "2"}) == [
        "run, a checkpoint of step 3 or later",
        "shard ab was made anew",
    ]
