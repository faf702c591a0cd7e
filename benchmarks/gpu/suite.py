"""The tests of the suite that need a GPU, run by pytest in a process of their own."""

import importlib.util
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from gpu.plan import State

ROOT = Path(__file__).resolve().parents[2]
MARK = "pytest.mark.gpu"
END_S = 5.0


def run_gpu_tests(folder: Path, limit_s: float) -> tuple[State, dict[str, float], str]:
    """State, counts by what became of the tests, and the names of those that did not pass.

    Raises ImportError for a package without which none of them can be run.
    """
    if importlib.util.find_spec("pytest") is None:
        raise ImportError("No module named 'pytest'")
    report = folder / "gpu_tests.xml"
    files = files_with_gpu_tests(ROOT / "tests")
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    command += [f"--junitxml={report}", *(str(file) for file in files)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        # Read once a process: several of these tests want the same bits twice.
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit_s - END_S
    )
    if not report.exists():
        said = done.stderr or done.stdout
        missing = re.search(r"No module named '[^']+'", said)
        if missing:
            raise ImportError(missing.group())
        line = said.strip().splitlines()[-1:]
        return "failed", {}, f"pytest wrote no report: {' '.join(line)[:300]}"
    return judge(report.read_text(encoding="utf-8"))


def files_with_gpu_tests(folder: Path) -> list[Path]:
    """Files that name the mark: the others need not be imported."""
    return sorted(
        path for path in folder.glob("test_*.py") if MARK in path.read_text(encoding="utf-8")
    )


def judge(report: str) -> tuple[State, dict[str, float], str]:
    """What a report of pytest in JUnit's form says.

    A test that lacks a package counts as skipped. All passed or skipped is a success, all
    skipped is not run.
    """
    passed, skipped, failed = 0, [], []
    for case in ElementTree.fromstring(report).iter("testcase"):
        test = case.get("name", "").partition("[")[0]
        name = f"{case.get('classname', '').rpartition('.')[2]}::{test}"
        bad = [*case.iter("failure"), *case.iter("error")]
        if bad:
            words = f"{bad[0].get('message', '')} {bad[0].text or ''}"
            is_missing = "ModuleNotFoundError" in words
            (skipped if is_missing else failed).append((name, _why(bad[0].get("message", ""))))
        elif case.find("skipped") is not None:
            skipped.append((name, _why(case.find("skipped").get("message", ""))))
        else:
            passed += 1
    counts = {"passed": float(passed), "skipped": float(len(skipped)), "failed": float(len(failed))}
    state: State = "failed" if failed else "passed" if passed else "not run"
    return state, counts, _named(failed) or _named(skipped) or ("" if passed else "none")


def _why(message: str) -> str:
    return " ".join(message.split())[:120]


def _named(tests: Sequence[tuple[str, str]]) -> str:
    """Tests with a reason, those of one reason together."""
    by_reason: dict[str, dict[str, None]] = {}
    for name, why in tests:
        by_reason.setdefault(why, {})[name] = None
    return "; ".join(f"{', '.join(names)}: {why}" for why, names in by_reason.items())
