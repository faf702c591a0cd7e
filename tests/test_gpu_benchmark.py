"""The benchmark of a GPU without one: its plan, its budget and its tables, and a dry run."""

import dataclasses
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[1]
FOLDER = str(ROOT / "benchmarks")


@pytest.fixture(autouse=True, scope="module")
def _importable() -> Iterator[None]:
    sys.path.insert(0, FOLDER)
    yield
    sys.path.remove(FOLDER)


def outcome(name: str = "a job", state: Any = "measured", **values: Any) -> Any:
    from gpu.plan import WORKLOADS, Job, Outcome

    job = {"kind": "speed", "workload": WORKLOADS[0]}
    job |= {key: values.pop(key) for key in list(values) if hasattr(Job, key) or key == "kind"}
    note = values.pop("note", "")
    return Outcome(Job(name=name, **job), state, values.pop("seconds", 1.0), values, note)


def test_every_workload_is_measured_in_every_way() -> None:
    """The sizes asked for, in three precisions, eager, compiled and with CUDA graphs."""
    from gpu.plan import COMPILED_WORDS, PRECISIONS, WORKLOADS, speed_jobs

    jobs = speed_jobs(WORKLOADS)
    ways = [(job.workload, job.precision, job.compile) for job in jobs]
    assert len(set(ways)) == len(ways)
    assert {way[1:] for way in ways} == {(p, c) for p in PRECISIONS for c in COMPILED_WORDS}
    assert len(ways) == len(WORKLOADS) * len(PRECISIONS) * len(COMPILED_WORDS)
    frames = {workload.frame for workload in WORKLOADS}
    assert frames > {(1, 28, 28), (3, 64, 64), (3, 256, 256), (1, 104, 104, 104)}
    assert len({job.name for job in jobs}) == len(jobs)


def test_every_workload_is_measured_before_any_in_a_further_way() -> None:
    """What is dropped for lack of time is the end of this list."""
    from gpu.plan import SPEED_TIERS, WORKLOADS, speed_jobs

    ways = [(job.precision, job.compile) for job in speed_jobs(WORKLOADS)]
    tier_of = {way: tier for tier, some in enumerate(SPEED_TIERS) for way in some}
    tiers = [tier_of[way] for way in ways]
    assert tiers == sorted(tiers)
    assert ways[: 2 * len(WORKLOADS)] == [("fp32", "false"), ("bf16", "true")] * len(WORKLOADS)


def test_every_workload_can_be_configured(tmp_path: Path) -> None:
    """Words for the program that trains; those of a GPU's own ways too, as far as they go."""
    from gpu.plan import DRY_WORKLOADS, SIZES, WORKLOADS, speed_jobs, words_of
    from trainer_laps import make_config

    for job in speed_jobs([*WORKLOADS, *DRY_WORKLOADS]):
        if (job.precision, job.compile) == ("tf32", "cuda_graphs"):
            config = make_config(tmp_path, tmp_path, words_of(job, "cuda"))
            assert (config.precision, config.compile) == ("tf32", "cuda_graphs")
            assert config.global_batch == job.workload.batch
    assert [SIZES.compared(workload) for workload in WORKLOADS] == [8, 8, 8, 2, 8, 8]


def test_checks_come_with_their_data() -> None:
    from gpu.plan import WORKLOADS, check_lanes

    tests, others = check_lanes(WORKLOADS)
    assert [job.kind for job in tests] == ["tests"]
    made = set()
    for job in others:
        assert job.workload is not None
        if job.kind == "data":
            made.add(job.workload)
        assert job.workload in made
    assert {job.kind for job in others} == {
        *("data", "values", "compiled", "scaling", "resume", "loading")
    }
    assert made == set(WORKLOADS)
    for workloads in (WORKLOADS, WORKLOADS[:1]):
        names = [job.name for job in check_lanes(workloads)[1]]
        assert len(set(names)) == len(names)
    resumed = {job.compile for job in others if job.kind == "resume"}
    assert resumed == {"false", "true", "cuda_graphs"}


seconds = st.floats(0, 200)


@settings(max_examples=50)
@given(
    jobs=st.lists(st.tuples(seconds, seconds, seconds), max_size=20),
    budget=st.floats(0, 600),
)
def test_no_job_is_lost_and_none_outlasts_the_budget(
    jobs: list[tuple[float, float, float]], budget: float
) -> None:
    """Whatever jobs take: one outcome each, in order; what is not run says why."""
    from gpu.plan import Budget, Job, Outcome, run_jobs

    now = 0.0
    takes = {}
    planned = []
    for place, (expected, limit, actual) in enumerate(jobs):
        planned.append(Job("values", f"{place}", expected_s=expected, limit_s=limit))
        takes[f"{place}"] = actual

    def perform(job: Any, limit_s: float) -> Any:
        nonlocal now
        spent = min(takes[job.name], limit_s)
        now += spent
        return Outcome(job, "passed", spent)

    done = run_jobs(planned, Budget(budget, lambda: now), perform)
    assert [each.job for each in done] == planned
    assert now <= budget * (1 + 1e-9)
    for each in done:
        assert each.state == "passed" or re.match(r"no time: .* s were left", each.note)


def test_a_job_is_expected_to_take_what_one_like_it_took() -> None:
    from gpu.plan import WORKLOADS, Job, expected_seconds

    job = Job("speed", "now", WORKLOADS[0], "tf32", "true", expected_s=16)
    alike = outcome(compile="true", precision="bf16", seconds=3.0)
    others = [
        outcome(compile="false", seconds=1.0),
        outcome(compile="true", workload=WORKLOADS[1], seconds=1.0),
        outcome(compile="true", kind="values", seconds=1.0),
        outcome(compile="true", state="not run", seconds=0.0),
    ]
    assert expected_seconds(job, others) == 16
    assert expected_seconds(job, [alike, *others]) == 3


def test_without_its_data_nothing_of_a_workload_is_run() -> None:
    from gpu.plan import WORKLOADS, Budget, Job, run_jobs

    lost = outcome(kind="data", state="failed")
    jobs = [Job("speed", workload.name, workload) for workload in WORKLOADS[:2]]
    done = run_jobs(jobs, Budget(100), lambda job, _: outcome(workload=job.workload), [lost])
    assert [each.state for each in done] == ["not run", "measured"]
    assert "data" in done[0].note


REPORT = """<testsuites><testsuite>
<testcase classname="tests.test_a" name="good"/>
<testcase classname="tests.test_a" name="bad[1]"><failure message="1 == 2">at</failure></testcase>
<testcase classname="tests.test_b" name="none"><skipped message="needs a CUDA device"/></testcase>
<testcase classname="tests.test_b" name="lacking"><error>ModuleNotFoundError: x</error></testcase>
</testsuite></testsuites>"""


def test_a_report_of_tests_is_judged() -> None:
    from gpu.suite import judge

    state, counts, note = judge(REPORT)
    assert state == "failed"
    assert counts == {"passed": 1, "skipped": 2, "failed": 1}
    assert note == "test_a::bad: 1 == 2"
    lines = REPORT.splitlines()
    state, counts, note = judge("\n".join([lines[0], lines[1], lines[3], lines[4], lines[5]]))
    assert (state, counts["failed"]) == ("passed", 0)
    assert "test_b::none: needs a CUDA device" in note
    assert "test_b::lacking" in note
    assert judge("\n".join([lines[0], lines[3], lines[5]]))[0] == "not run"
    assert judge("<testsuites/>") == ("not run", {"passed": 0, "skipped": 0, "failed": 0}, "none")


def test_tests_that_cannot_be_read_lack_a_package_or_have_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpu import suite

    def saying(text: str) -> Any:
        return lambda *_, **__: subprocess.CompletedProcess([], 4, "", text)

    monkeypatch.setattr(suite.subprocess, "run", saying("E\nNo module named 'websocket'\n"))
    with pytest.raises(ImportError, match="No module named 'websocket'"):
        suite.run_gpu_tests(tmp_path, 60)
    monkeypatch.setattr(suite.subprocess, "run", saying("first\nlast line\n"))
    state, _, note = suite.run_gpu_tests(tmp_path, 60)
    assert (state, note) == ("failed", "pytest wrote no report: last line")


def test_all_files_with_gpu_tests_are_found() -> None:
    from gpu.suite import files_with_gpu_tests

    names = {path.name for path in files_with_gpu_tests(ROOT / "tests")}
    assert {"test_float32.py", "test_loader.py", "test_debug_runs.py", "test_resume.py"} <= names


def test_a_worker_outlives_its_jobs(tmp_path: Path) -> None:
    """A job that hangs, dies or raises is told of, and the next one is done in a new process."""
    from gpu.plan import Job
    from gpu.worker import Worker
    from helpers.gpu_jobs import perform

    worker = Worker(perform, tmp_path, "cpu", {})
    try:
        done = [
            worker(Job("values", name), limit)
            for name, limit in (
                *(("lack", 60.0), ("one", 60.0), ("two", 60.0)),
                *(("die", 60.0), ("raise", 60.0), ("three", 60.0), ("hang", 0.2)),
            )
        ]
    finally:
        worker.close()
    lack, one, two, die, raised, three, hang = done
    assert (lack.state, lack.note) == ("not run", "No module named 'nvidia.dali'")
    assert (one.state, one.note) == ("passed", "cpu")
    assert one.values == two.values != three.values
    assert (die.state, three.state) == ("failed", "passed")
    assert "the driver gave up" in die.note
    assert (raised.state, raised.note) == ("failed", "CUDA error: an illegal memory access")
    assert (hang.state, hang.note) == ("failed", "not done after 0 s")


def test_the_table_names_all_that_has_no_result() -> None:
    from gpu.plan import WORKLOADS
    from gpu.table import as_details, gpu_table

    rates = {"resident": 2000.0, "loader": 1900.0, "wait": 0.01, "memory_mib": 321.0}
    found = [
        outcome("check", "passed", kind="values", apart=1e-6),
        outcome("bad check", "failed", kind="values", note="gradients | apart"),
        outcome("mnist eager", **rates),
        outcome("mnist compiled", compile="true", **(rates | {"loader": 1000.0})),
        outcome("mnist graphs", compile="cuda_graphs", **(rates | {"loader": 1500.0})),
        outcome("no loader", workload=WORKLOADS[1], resident=5.0, note="without the loader: why"),
        outcome("dropped", "not run", workload=WORKLOADS[2], note="no time: much"),
        outcome("lost", "failed", workload=WORKLOADS[3], note="not done after 40 s"),
    ]
    text = gpu_table(found, "one GPU", is_dry=False)
    assert text.startswith("Measured on one GPU.")
    assert "| check | passed | apart 1e-06 |" in text
    assert "| bad check | failed | gradients / apart |" in text
    row = f"| {WORKLOADS[0].name}, batch 64, fp32 | 1,900 | 1,000 | 1,500 | 2,000 | 95.0% | 1.0% |"
    assert f"{row} 321 |" in text
    assert f"| {WORKLOADS[1].name}, batch 256, fp32 | 5 | – | – | 5 | – | – | – |" in text
    assert f"* CUDA graphs, {WORKLOADS[0].name}, fp32: 1.50 times compiled" in text
    for name, why in (("no loader", "why"), ("dropped", "much"), ("lost", "after 40 s")):
        assert re.search(rf"^\* Not run: {name} \(.*{why}\)$", text, re.M)
    assert WORKLOADS[2].name not in text
    assert "no GPU was used" in gpu_table(found, "a CPU", is_dry=True)
    broken = outcome("odd", resident=math.inf)
    assert json.loads(json.dumps(as_details([broken]), allow_nan=False))[0]["values"] == {
        "resident": None
    }


def test_values_that_differ_are_seen() -> None:
    """The comparison cannot be met by what is missing, not finite or scaled."""
    from gpu.values import Values, deviations

    torch.manual_seed(0)
    gradients = {"a": torch.randn(3, 4), "b": torch.randn(5)}
    wanted = Values(torch.tensor(2.0), {"layer": torch.randn(6)}, gradients)
    assert deviations(wanted, wanted) == {"loss": 0, "outputs": 0, "gradients": 0}
    loud = {name: 1.01 * values for name, values in gradients.items()}
    found = deviations(wanted, dataclasses.replace(wanted, gradients=loud))
    assert found["gradients"] == pytest.approx(0.01, rel=1e-3)
    for broken in ({"a": gradients["a"]}, {}, {**gradients, "b": gradients["b"] * math.nan}):
        found = deviations(wanted, dataclasses.replace(wanted, gradients=broken))
        assert found["gradients"] == math.inf
    assert deviations(wanted, dataclasses.replace(wanted, outputs={}))["outputs"] == math.inf
    moved = {"layer": wanted.outputs["layer"] + 0.1}
    assert deviations(wanted, dataclasses.replace(wanted, outputs=moved))["outputs"] > 0.01


def test_a_gpu_that_is_not_here_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpu.part import measure_gpu
    from measuring import as_markdown

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device=cuda, but torch sees no GPU here"):
        measure_gpu("cuda")
    report = measure_gpu("auto")
    assert not report.is_broken
    assert "skipped" in report.title
    assert "no CUDA device" in as_markdown(report)


def test_without_dali_the_device_is_measured_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine may have torch and a GPU, and nothing else: what is left out is said."""
    from gpu.plan import DRY_WORKLOADS, Job
    from gpu.table import gpu_table
    from gpu.worker import _outcome_of, perform

    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    data, resume, loading, speed = (
        Job(kind, kind, DRY_WORKLOADS[0]) for kind in ("data", "resume", "loading", "speed")
    )
    assert perform(data, tmp_path, "cpu").state == "passed"
    restarted, measured = (perform(job, tmp_path, "cpu") for job in (resume, speed))
    assert (restarted.state, measured.state) == ("passed", "measured")
    assert restarted.note.startswith("without the loader: ")
    lost, is_usable = _outcome_of(loading, perform, tmp_path, "cpu")
    assert (lost.state, is_usable) == ("not run", True)
    text = gpu_table([restarted, lost, measured], "one GPU", is_dry=False)
    assert re.search(r"\| loading \| not run \| .*nvidia.dali", text)
    assert re.search(r"\* Not run: speed \(without the loader: .*nvidia.dali", text)


def test_a_dry_run_on_the_cpu(tmp_path: Path) -> None:
    """All that a GPU is asked but compiling, and the suite's own tests: the same code."""
    from gpu.part import report_of
    from gpu.plan import DRY_WORKLOADS, Budget, check_lanes, run_jobs, speed_jobs
    from gpu.worker import perform
    from measuring import as_markdown, as_plain

    workloads = DRY_WORKLOADS[:1]
    jobs = [*check_lanes(workloads)[1], *speed_jobs(workloads)]
    jobs = [job for job in jobs if job.compile != "true"]
    done = run_jobs(jobs, Budget(600), lambda job, _: perform(job, tmp_path, "cpu"))
    states = {each.job.name: each.state for each in done}
    assert [each.note for each in done if each.state == "failed"] == []
    for each in done:
        is_of_a_gpu = each.job.precision == "tf32" or each.job.compile == "cuda_graphs"
        assert (each.state == "not run") == is_of_a_gpu, each
    assert sum(state == "measured" for state in states.values()) == 2
    assert all(value == 0 for each in done for name, value in each.values.items() if "fp32" in name)
    report = report_of(done, "cpu")
    assert not report.is_broken
    assert json.dumps(as_plain({}, [report]), allow_nan=False)
    assert "A dry run on a CPU" in as_markdown(report)
