"""Protects data that nobody may write: all that only reads it works, and leaves no trace.

Shared datasets lie on read-only mounts. Such a mount is made here where the machine allows it.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.programs import REPOSITORY
from helpers.stand_in_slurm import WORDS, recipe_for

from data_prep.building.builder import build_dataset

MOUNTED = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'


def read_only(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command for which `folder` lies on a read-only mount."""
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", MOUNTED, "sh", str(folder), *command],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=REPOSITORY,
        check=False,
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shared") / "dataset"
    build_dataset(recipe_for(out), out)
    if shutil.which("unshare") is None or read_only(out, "true").returncode:
        pytest.skip("this machine allows no mounts")
    return out


@pytest.mark.parametrize(
    ("program", "words", "said"),
    [
        ("data_prep/prepare.py", ["out=DIR", *WORDS], "is complete in"),
        ("launch/prepare.py", ["out=DIR", *WORDS, "cluster=local"], "is complete in"),
        ("data_prep/verify.py", ["DIR"], "train ok"),
        ("data_prep/show.py", ["DIR"], "fingerprint"),
    ],
)
def test_programs_that_have_nothing_to_write_work(
    program: str, words: list[str], said: str, shared: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in shared.parent.rglob("*")}
    filled = [word.replace("DIR", str(shared)) for word in words]
    done = read_only(shared, sys.executable, program, *filled)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert {path: path.stat().st_mtime_ns for path in shared.parent.rglob("*")} == before
    if program.endswith("show.py"):
        assert "no pictures" in done.stderr
        assert "set out=" in done.stderr


def test_a_read_only_place_is_named_before_the_work(shared: Path) -> None:
    done = read_only(shared, sys.executable, "data_prep/prepare.py", f"out={shared}/new", *WORDS)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.endswith(f"out={shared}/new cannot be made: Read-only file system")
