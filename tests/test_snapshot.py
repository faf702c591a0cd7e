"""The code that runs is the code that was submitted: what is copied, and that it stays so."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.programs import REPOSITORY, start_python
from helpers.waiting import PATIENCE_S

from launch import snapshot
from launch.snapshot import (
    GIT_VARIABLES,
    SNAPSHOT_NOTE,
    Snapshot,
    check_snapshot,
    take_snapshot,
)
from pipeline.training import environment


@pytest.fixture(autouse=True)
def plain_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Git without the settings of the machine and of a hook that runs these tests."""
    for name in GIT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Somebody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "somebody@example.org")


def git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def write(root: Path, contents: dict[str, str]) -> None:
    """Write files, with the folders they are in."""
    for name, text in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A tiny program, no repository."""
    root = tmp_path / "code"
    write(
        root,
        {"pipeline/tool.py": "print('tool')\n", "configs/train": "seed: 0\n", "README": "read\n"},
    )
    write(root, {"pipeline/__init__.py": "WHO = 'submitted'\n"})
    program = "import pipeline\nprint(pipeline.__file__, pipeline.WHO)\n"
    write(root, {"pipeline/program.py": program})
    return root


@pytest.fixture
def repository(plain: Path) -> Path:
    """The same, committed, with an ignored folder."""
    (plain / ".gitignore").write_text("/data/\n*.log\n")
    git(plain, "init", "--quiet")
    git(plain, "add", ".")
    git(plain, "commit", "--quiet", "--message", "start")
    return plain


def files_of(snapshot: Snapshot) -> set[str]:
    found = {str(path.relative_to(snapshot.path)) for path in snapshot.path.rglob("*")}
    return {name for name in found if not (snapshot.path / name).is_dir()} - {SNAPSHOT_NOTE}


# What is copied


def test_tracked_uncommitted_and_untracked_but_not_ignored(
    repository: Path, tmp_path: Path
) -> None:
    write(
        repository, {"pipeline/tool.py": "changed\n", "pipeline/new.py": "new\n", "data/big": "x"}
    )
    write(repository, {"note": "lies about\n", "pipeline/run.log": "output\n"})
    write(repository, {"pipeline/__pycache__/tool.cpython-311.pyc": "compiled"})
    (repository / "README").unlink()
    snapshot = take_snapshot(repository, tmp_path / "kept")
    assert snapshot.path == tmp_path / "kept" / snapshot.digest[:12]
    assert files_of(snapshot) == {
        "configs/train",
        *(f"pipeline/{name}.py" for name in ("__init__", "new", "program", "tool")),
    }
    assert (snapshot.path / "pipeline" / "tool.py").read_text() == "changed\n"


def test_links_lead_to_files_or_stay_inside(repository: Path, tmp_path: Path) -> None:
    write(repository, {"configs/v1/a": "a\n"})
    write(tmp_path, {"elsewhere/large": "data", "shared": "shared\n"})
    configs = repository / "configs"
    (configs / "now").symlink_to("v1")
    (configs / "again").symlink_to(configs / "v1")
    (configs / "linked").symlink_to(tmp_path / "shared")
    (configs / "samples").symlink_to(tmp_path / "elsewhere")
    (configs / "nowhere").symlink_to("missing")
    (configs / "loop").symlink_to("loop")
    snapshot = take_snapshot(repository, tmp_path / "kept")
    copies = snapshot.path / "configs"
    assert os.readlink(copies / "now") == "v1"
    assert os.readlink(copies / "again") == "v1"
    assert not (copies / "linked").is_symlink()
    assert (copies / "linked").read_text() == "shared\n"
    for name in ("samples", "nowhere", "loop"):
        assert not os.path.lexists(copies / name), name


def test_a_nested_repository_is_left_out(repository: Path, tmp_path: Path) -> None:
    write(repository, {"pipeline/nested/file": "x\n"})
    git(repository / "pipeline" / "nested", "init", "--quiet")
    assert "pipeline/nested/file" not in files_of(take_snapshot(repository, tmp_path / "kept"))


def test_part_of_a_larger_repository(repository: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    write(whole, {"other": "not ours\n"})
    shutil.rmtree(repository / ".git")
    shutil.copytree(repository, whole / "code")
    git(whole, "init", "--quiet")
    write(whole / "code", {"data/big": "ignored\n"})
    assert files_of(take_snapshot(whole / "code", tmp_path / "kept")) == {
        "README",
        "configs/train",
        *(f"pipeline/{name}.py" for name in ("__init__", "program", "tool")),
    }


@pytest.mark.parametrize("why", ["no repository", "no git", "git refuses", "ignored by another"])
def test_without_git_the_folders_that_runs_need(
    why: str, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(plain, {"data/big": "x", "tests/test.py": "x", "pyproject.toml": "[project]\n"})
    for cache in (".venv", "pipeline/__pycache__", "pipeline/.hidden", "pipeline/x.egg-info"):
        write(plain, {f"{cache}/file.py": "x"})
    write(plain, {"pipeline/x.pyc": "compiled"})
    if why == "no git":
        monkeypatch.setenv("PATH", str(tmp_path))
    elif why == "git refuses":
        git(plain, "init", "--quiet")
        monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    elif why == "ignored by another":
        write(tmp_path, {".gitignore": "*\n"})
        git(tmp_path, "init", "--quiet")
        git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "unrelated")
    snapshot = take_snapshot(plain, tmp_path / "kept")
    assert files_of(snapshot) == {
        "README",
        "pyproject.toml",
        "configs/train",
        *(f"pipeline/{name}.py" for name in ("__init__", "program", "tool")),
    }
    note = json.loads((snapshot.path / SNAPSHOT_NOTE).read_text())
    assert (note["commit"], note["dirty"]) == (None, None)


def test_its_own_folder_and_what_is_named_are_left_out(repository: Path, tmp_path: Path) -> None:
    sweep = repository / "pipeline" / "sweep"
    write(sweep, {"result": "x\n"})
    first = take_snapshot(repository, sweep / "code", leave_out=[sweep])
    write(sweep, {"result": "another\n", "more": "x\n"})
    assert take_snapshot(repository, sweep / "code", leave_out=[sweep]) == first
    assert not (first.path / "pipeline" / "sweep").exists()
    within = take_snapshot(repository, sweep / "code")
    assert (within.path / "pipeline" / "sweep" / "more").exists()
    assert not (within.path / "pipeline" / "sweep" / "code").exists()


def test_what_cannot_be_code_is_refused(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch.snapshot.MAX_BYTES", 1000)
    (repository / "images.bin").write_bytes(bytes(1000))
    small = take_snapshot(repository, tmp_path / "small")
    assert small.describe().startswith(f"code {small.digest[:12]}: 5 files, 0.0 MB (configs, pipe")
    listed = json.loads((small.path / SNAPSHOT_NOTE).read_text())["files"]
    assert listed["pipeline/tool.py"] == len("print('tool')\n")
    assert set(listed) == files_of(small)
    (repository / "pipeline" / "images.bin").write_bytes(bytes(1000))
    with pytest.raises(ValueError, match=r"largest is pipeline/images\.bin\. Move what is no code"):
        take_snapshot(repository, tmp_path / "kept")
    with pytest.raises(ValueError, match="no code to run"):
        take_snapshot(tmp_path / "empty", tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


# The digest


def test_the_digest_changes_with_content_names_and_modes_only(
    repository: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    first = take_snapshot(repository, kept)
    assert take_snapshot(repository, tmp_path / "elsewhere").digest == first.digest
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "nothing")
    os.utime(repository / "README")
    write(repository, {"data/more": "ignored\n"})
    assert take_snapshot(repository, kept) == first
    tool = repository / "pipeline" / "tool.py"
    digests = [first.digest]
    tool.chmod(0o755)
    digests.append(take_snapshot(repository, kept).digest)
    tool.write_text("print('other')\n")
    digests.append(take_snapshot(repository, kept).digest)
    tool.rename(tool.with_name("renamed.py"))
    digests.append(take_snapshot(repository, kept).digest)
    write(repository, {"pipeline/empty.py": ""})
    digests.append(take_snapshot(repository, kept).digest)
    assert len(set(digests)) == len(digests) == len(list(kept.iterdir()))


def test_the_same_code_is_copied_once(repository: Path, tmp_path: Path) -> None:
    first = take_snapshot(repository, tmp_path / "kept")
    before = (first.path / "pipeline" / "tool.py").stat()
    assert take_snapshot(repository, tmp_path / "kept") == first
    assert (first.path / "pipeline" / "tool.py").stat().st_ino == before.st_ino
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [first.digest[:12]]


def test_a_copy_of_a_copy_is_the_copy(repository: Path, tmp_path: Path) -> None:
    write(repository, {"configs/v1/a": "a\n"})
    (repository / "configs" / "now").symlink_to("v1")
    first = take_snapshot(repository, tmp_path / "kept")
    assert take_snapshot(first.path, tmp_path / "kept") == first
    again = take_snapshot(first.path, tmp_path / "other")
    assert again.digest == first.digest
    notes = [json.loads((each.path / SNAPSHOT_NOTE).read_text()) for each in (first, again)]
    assert notes[0]["commit"] == notes[1]["commit"] == git(repository, "rev-parse", "HEAD")


def test_two_callers_at_once_get_one_copy(repository: Path, tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from launch.snapshot import take_snapshot
print(take_snapshot(Path(sys.argv[1]), Path(sys.argv[2])).digest)
"""
    callers = [start_python(code, str(repository), str(tmp_path / "kept")) for _ in range(3)]
    outputs = [caller.communicate(timeout=PATIENCE_S) for caller in callers]
    digests = {out.strip() for out, _ in outputs}
    assert len(digests) == 1, outputs
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [digests.pop()[:12]]


def test_old_leftovers_of_killed_callers_go(repository: Path, tmp_path: Path) -> None:
    old, young = tmp_path / "kept" / ".old.tmp", tmp_path / "kept" / ".young.tmp"
    for leftover in (old, young):
        write(leftover, {"pipeline/tool.py": "x"})
    os.utime(old, (time.time() - 7200,) * 2)
    take_snapshot(repository, tmp_path / "kept")
    assert not old.exists()
    assert young.exists()


# It stays what it was


def test_changes_are_found_and_residue_is_not_a_change(repository: Path, tmp_path: Path) -> None:
    snapshot = take_snapshot(repository, tmp_path / "kept")
    done = subprocess.run([sys.executable, "-m", "compileall", "-q", str(snapshot.path)])
    assert done.returncode == 0
    assert (snapshot.path / "pipeline" / "__pycache__").is_dir()
    (snapshot.path / "pipeline" / ".nfs0001").touch()
    check_snapshot(snapshot.path, snapshot.digest)
    extra = snapshot.path / "pipeline" / "extra.py"
    extra.touch()
    with pytest.raises(ValueError, match="changed after it was submitted"):
        check_snapshot(snapshot.path, snapshot.digest)
    extra.unlink()
    tool = snapshot.path / "pipeline" / "tool.py"
    tool.chmod(0o644)
    tool.write_text("edited\n")
    with pytest.raises(ValueError, match="changed after it was submitted"):
        take_snapshot(repository, tmp_path / "kept")
    with pytest.raises(FileNotFoundError, match="no copy of the submitted code"):
        check_snapshot(tmp_path / "kept" / "other", snapshot.digest)


def test_nobody_edits_a_copy_by_accident(repository: Path, tmp_path: Path) -> None:
    (repository / "pipeline" / "tool.py").chmod(0o755)
    snapshot = take_snapshot(repository, tmp_path / "kept")
    for path in snapshot.path.rglob("*"):
        if path.is_file():
            assert not path.stat().st_mode & 0o222, path
    assert (snapshot.path / "pipeline" / "tool.py").stat().st_mode & 0o111
    assert not (snapshot.path / "README").stat().st_mode & 0o111
    shutil.rmtree(snapshot.path)


@pytest.mark.parametrize("place", ["the origin", "the copy"])
def test_a_folder_that_cannot_be_listed_is_no_empty_folder(
    place: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a copy lacks files, or bears the name of another content."""
    if place == "the origin":
        shutil.rmtree(repository / ".git")
    sound = os.scandir

    def scandir(path: Any = ".") -> Any:
        inside = Path(str(path)).name == "pipeline"
        if inside and (str(path).startswith(str(repository)) == (place == "the origin")):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return sound(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(OSError, match="Input/output error"):
        take_snapshot(repository, tmp_path / "copies")
    monkeypatch.setattr(os, "scandir", sound)
    assert list((tmp_path / "copies").glob("[!.]*")) == []


def test_a_program_in_a_copy_imports_the_copy(repository: Path, tmp_path: Path) -> None:
    """Although this very package is installed, and though the work tree changes afterwards."""
    snapshot = take_snapshot(repository, tmp_path / "kept")
    (repository / "pipeline" / "__init__.py").write_text("WHO = 'edited'\n")
    for cwd in (repository, REPOSITORY, tmp_path):
        done = subprocess.run(
            [sys.executable, str(snapshot.path / "pipeline" / "program.py")],
            env={**os.environ, "PYTHONPATH": str(snapshot.path)},
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.stdout.split() == [f"{snapshot.path}/pipeline/__init__.py", "submitted"]
    check_snapshot(snapshot.path, snapshot.digest)


def test_this_repository_runs_from_its_copy(tmp_path: Path) -> None:
    snapshot = take_snapshot(REPOSITORY, tmp_path / "kept")
    code = "import sys, orbit.core.config.program as p, launch.snapshot as s; print(p.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(s.__file__, 'torch' in sys.modules)"],
        env={**os.environ, "PYTHONPATH": str(snapshot.path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.stdout.split() == [
        f"{snapshot.path}/orbit/core/config/program.py",
        f"{snapshot.path}/launch/snapshot.py",
        "False",
    ]


# Origin


def test_the_note_says_where_it_came_from(repository: Path, tmp_path: Path) -> None:
    clean = take_snapshot(repository, tmp_path / "kept")
    note = json.loads((clean.path / SNAPSHOT_NOTE).read_text())
    head = git(repository, "rev-parse", "HEAD")
    assert (note["digest"], note["commit"], note["dirty"]) == (clean.digest, head, False)
    assert note["root"] == str(repository)
    write(repository, {"pipeline/tool.py": "changed\n"})
    changed = take_snapshot(repository, tmp_path / "kept")
    assert json.loads((changed.path / SNAPSHOT_NOTE).read_text())["dirty"] is True


def test_git_neither_looks_through_data_nor_is_taken_for_silent(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the code may be millions of files; a status that took too long is no clean one."""
    write(repository, {"measured/pipeline/a.toml": "", "NOTES": "", "more.toml": ""})
    ask, listed = snapshot._git, []

    def answer(root: Path, *words: str) -> bytes | None:
        if words[0] == "status":
            return None
        listed.append(ask(root, *words) or b"")
        return listed[-1]

    monkeypatch.setattr(snapshot, "_git", answer)
    found = take_snapshot(repository, tmp_path / "kept")
    assert (found.path / "more.toml").is_file()
    assert not any(b"measured" in text or b"NOTES" in text for text in listed)
    note = json.loads((found.path / SNAPSHOT_NOTE).read_text())
    assert note["dirty"] is None
    assert note["commit"] == git(repository, "rev-parse", "HEAD")


def test_a_run_in_a_copy_records_it(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert environment.SNAPSHOT_NOTE == SNAPSHOT_NOTE
    snapshot = take_snapshot(repository, tmp_path / "kept")
    inside = snapshot.path / "pipeline" / "training" / "environment.py"
    monkeypatch.setattr(environment, "__file__", str(inside))
    assert environment._git_state() == {
        "commit": git(repository, "rev-parse", "HEAD"),
        "dirty": False,
        "snapshot": snapshot.digest,
    }
    monkeypatch.setattr(environment, "__file__", str(repository / "pipeline/training/x.py"))
    assert "snapshot" not in (environment._git_state() or {})
