"""Everything works where there are no links, modes, fsync of directories and times to set."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.programs import REPOSITORY
from helpers.warm_python import WarmPython

SOURCE = Path(__file__).parent / "helpers" / "plain_file_system.c"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler here: a file system cannot be imitated")
    out = tmp_path_factory.mktemp("library") / "plain.so"
    subprocess.run(
        [compiler, "-w", "-shared", "-fPIC", str(SOURCE), "-o", str(out), "-ldl"], check=True
    )
    return out


@pytest.fixture(scope="module")
def python(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An interpreter that lives there, and so does all that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_PRELOAD", str(library))
        warm = WarmPython(tmp_path_factory.mktemp("python"))
    with warm:
        yield warm.executable


def run(python: Path, *words: str) -> str:
    """Run a program, or Python's `-c`, there; what it printed. Fails the test if it fails."""
    done = subprocess.run(
        [str(python), *words],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_imitation_lacks_what_it_should(python: Path, tmp_path: Path) -> None:
    """As the programs below see it: without this they would show nothing."""
    code = """
import os, sys
open("a", "w").close()
calls = [
    lambda: os.link("a", "b"),
    lambda: os.utime("a"),
    lambda: os.fsync(os.open(".", 0)),
    lambda: os.symlink("a", "b"),
    lambda: os.chmod("a", 0o444),
]
for call in calls:
    try:
        call()
        print("done")
    except OSError as error:
        print(error.errno)
"""
    done = subprocess.run(
        [str(python), "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.stdout.split() == ["1", "38", "22", "1", "1"]


def test_from_preparation_to_a_swept_and_evaluated_run(python: Path, tmp_path: Path) -> None:
    data, sweep = tmp_path / "data", tmp_path / "sweep"
    words = [f"out={data}", "num_samples=60", "dataset.shard_mib=0.1", "num_workers=2"]
    run(python, "data_prep/prepare.py", "dataset=rotated_digits", *words)
    words = [f"data={data}", "epochs=1", "global_batch=8", "task.model.width=4", "compile=false"]
    run(
        python,
        "launch/sweep.py",
        "experiment=rotated_digits",
        *words,
        "collapse.action=warn",
        "sweep=single",
        "cluster=inline",
        f"sweep_dir={sweep}",
    )
    (result,) = sweep.glob("runs/*/result.json")
    out = run(python, "launch/evaluate.py", f"runs={sweep}/runs/*", "cluster=inline")
    assert "1 evaluated, 0 failed" in out
    assert list(result.parent.glob("evaluations/*.json"))
    assert list(tmp_path.rglob("*.tmp*")) == []


def test_one_writer_per_directory_there_too(python: Path, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from orbit.core.files.lock import DirectoryLock
from launch.jobs.train_job import claim
folder = Path({str(tmp_path)!r})
with DirectoryLock(folder, "trainers") as lock:
    lock._touch()
    lock.check_owned()
    try:
        DirectoryLock(folder, "trainers").acquire()
        print("two")
    except ValueError:
        print("one")
print([claim(folder / "claims" / "run") for _ in range(3)])
print(sorted(path.name for path in folder.rglob("*")))
"""
    assert run(python, "-c", code).splitlines() == [
        "one",
        "[True, False, False]",
        "['claims', 'run']",
    ]


def test_code_is_copied_there_too(python: Path, tmp_path: Path) -> None:
    """A linked folder becomes a copy of what it leads to, and the copy is found again."""
    package = tmp_path / "root" / "pipeline"
    (package / "real" / "in").mkdir(parents=True)
    for name in ("__init__.py", "real/a.py", "real/in/b.py"):
        (package / name).write_text(name)
    (package / "linked").symlink_to("real")
    code = f"""
from pathlib import Path
from launch.snapshot import check_snapshot, take_snapshot
places = Path({str(tmp_path / "root")!r}), Path({str(tmp_path / "code")!r})
first, second = (take_snapshot(*places) for _ in range(2))
check_snapshot(second.path, first.digest)
print(first.path)
"""
    copy = Path(run(python, "-c", code).strip())
    linked = copy / "pipeline" / "linked"
    assert (linked / "a.py").read_text() == "real/a.py"
    assert (linked / "in" / "b.py").read_text() == "real/in/b.py"
    assert [path.name for path in (tmp_path / "code").iterdir()] == [copy.name]
