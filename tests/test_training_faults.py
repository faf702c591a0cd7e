"""What goes wrong around a run ends it with the right code, once, and nothing good is lost."""

import errno
import io
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from helpers.faults import failing, tree
from helpers.training import StopAfter, make_config, never_stop, reproducible_lines

from orbit.core.config.program import (
    EXIT_CLUSTER_FAULT,
    EXIT_NON_FINITE,
    EXIT_STOPPED,
    ExitWithCode,
)
from orbit.core.files.lock import LostLockError
from orbit.core.files.waiting import StoppedWaiting
from orbit.core.signals import STOP_SIGNALS, StopRequest
from pipeline.run_files.checkpoint import CheckpointStore
from pipeline.runs import load_run
from pipeline.training import distributed as rendezvous
from pipeline.training.distributed import ClusterFaultError, World, is_cluster_fault, join_world
from pipeline.training.lifecycle import noting_the_end
from pipeline.training.metrics_log import MetricsLog
from pipeline.training.optimisation import Optimisation
from pipeline.training.run import train
from pipeline.training.run_directory import ENDED_FILE, RunDirectory

WORDS = ("checkpoint_every=7", "epochs=1")


@pytest.fixture(scope="module")
def stopped(digits_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after one of its checkpoints: copy it before changing it."""
    run_dir = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(ExitWithCode):
        train(make_config(digits_dir, run_dir, *WORDS), StopAfter(9))
    return run_dir


@pytest.fixture
def run_dir(stopped: Path, tmp_path: Path) -> Path:
    """A copy of `stopped`."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


# Reading what a run left


def test_checkpoints_that_a_killed_run_did_not_prune_go_at_its_next_start(
    run_dir: Path, digits_dir: Path
) -> None:
    """Killed between the last checkpoint and the pruning, or lost with a pruning that had not
    reached the disk, a result that had or not: no step is left that would prune."""
    words = (*WORDS, "retention.keep_last=1")
    whole = run_dir.with_name("whole")
    train(make_config(digits_dir, whole, *words), never_stop())
    kept = sorted(path.name for path in (whole / "checkpoints").iterdir())
    newest = max((whole / "checkpoints").glob("step_????????"))
    for has_result in (False, True):
        shutil.copytree(newest, newest.with_name("step_00000001"))
        if not has_result:
            (whole / "result.json").unlink()
        train(make_config(digits_dir, whole, *words), never_stop())
        assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == kept


@pytest.mark.parametrize(
    "file", ["restarts.json", "environment.json", "result.json", "config.yaml", "meta.json"]
)
def test_a_passing_read_error_on_resume_touches_nothing(
    file: str, run_dir: Path, digits_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a fault of the cluster, for which the launcher starts the run again."""
    before = tree(run_dir)
    failing(monkeypatch, lambda path: path.name == file and run_dir in path.parents)
    with pytest.raises(OSError, match=file) as raised:
        train(make_config(digits_dir, run_dir, *WORDS), never_stop())
    assert is_cluster_fault(raised.value)
    monkeypatch.undo()
    told = "ended.json"  # says how this attempt ended
    after = tree(run_dir)
    assert {name: after[name] for name in after if name != told} == {
        name: before[name] for name in before if name != told
    }


@pytest.mark.parametrize("file", ["restarts.json", "environment.json", "result.json"])
def test_a_file_of_the_run_that_is_no_json_is_refused_by_name(
    file: str, run_dir: Path, digits_dir: Path
) -> None:
    (run_dir / file).write_text('["cut o')
    before = tree(run_dir / "checkpoints")
    with pytest.raises(ValueError, match=rf"{file} cannot be read"):
        train(make_config(digits_dir, run_dir, *WORDS), never_stop())
    assert tree(run_dir / "checkpoints") == before


def test_checkpoints_are_not_cleared_because_the_list_of_restarts_is_lost(
    run_dir: Path, digits_dir: Path
) -> None:
    """Without it the run would start again from the weights that collapsed."""
    for meta in (run_dir / "checkpoints").glob("step_*/meta.json"):
        meta.write_text(json.dumps({**json.loads(meta.read_text()), "attempt": 1}))
    before = tree(run_dir / "checkpoints")
    with pytest.raises(ValueError, match=r"restarts\.json records 0 restarts"):
        train(make_config(digits_dir, run_dir, *WORDS), never_stop())
    assert tree(run_dir / "checkpoints") == before


# Pointers


def pointers(run_dir: Path) -> dict[str, int]:
    store = CheckpointStore(run_dir / "checkpoints")
    return {name: store.resolve(name) for name in ("best", "last")}


@pytest.mark.parametrize("is_finished", [False, True])
@pytest.mark.parametrize("spoiled", ["best", "last"])
def test_a_start_puts_pointers_right_that_a_kill_left_behind(
    spoiled: str, is_finished: bool, digits_run: Path, digits_dir: Path, tmp_path: Path
) -> None:
    """Also where the run is finished and only tells its result."""
    run_dir = Path(shutil.copytree(digits_run, tmp_path / "run"))
    right = pointers(run_dir)
    (run_dir / "checkpoints" / f"{spoiled}.json").unlink()
    if not is_finished:
        (run_dir / "result.json").unlink()
    words = ("epochs=1", "collapse.action=warn", "allow_changes=true")
    result = train(make_config(digits_dir, run_dir, *words), never_stop())
    assert pointers(run_dir) == right
    assert right["best"] == result["best_step"]


# Numbers that are not finite


def test_a_validation_that_is_not_finite_ends_the_run_before_anything_is_saved(
    digits_dir: Path, tmp_path: Path
) -> None:
    words = ("num_train_items=64", "epochs=1", "optimizer.learning_rate=1e30")
    for _ in range(2):
        with pytest.raises(ExitWithCode, match="not finite") as ended:
            train(make_config(digits_dir, tmp_path / "run", *words), never_stop())
        assert ended.value.code == EXIT_NON_FINITE
        assert RunDirectory(tmp_path / "run").checkpoints.steps() == []


@pytest.mark.parametrize("ema", [(), ("ema_decay=0.5",)])
def test_weights_that_are_not_finite_are_not_saved(
    ema: tuple[str, ...], digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss is computed before the step that spoils them."""
    real = Optimisation.step

    def spoil(self: Optimisation, step: int) -> None:
        real(self, step)
        if step == 6:
            with torch.no_grad():
                self._parameters[-1].fill_(float("inf"))

    monkeypatch.setattr(Optimisation, "step", spoil)
    with pytest.raises(ExitWithCode, match=r"weights are not finite \(.+\) after step 7") as ended:
        train(make_config(digits_dir, tmp_path / "run", *WORDS, *ema), never_stop())
    assert ended.value.code == EXIT_NON_FINITE
    assert RunDirectory(tmp_path / "run").checkpoints.steps() == []


def test_weights_of_a_run_that_diverged_are_refused_in_one_line(
    digits_run: Path, tmp_path: Path
) -> None:
    """Evaluation, export, description and the rest all read them here."""
    run = RunDirectory(Path(shutil.copytree(digits_run, tmp_path / "run")))
    step = run.checkpoints.resolve("best")
    loaded = run.checkpoints.load(step)
    name = next(name for name, values in loaded.weights.items() if values.is_floating_point())
    loaded.weights[name].fill_(float("nan"))
    run.checkpoints.save(step, loaded.weights, loaded.state, {"dataset": "x", "attempt": 0})
    with pytest.raises(ValueError, match=rf"step {step}, are not finite \({name}\)"):
        load_run(run.path)


# A full disk


@pytest.mark.parametrize("method", ["write", "sync"])
def test_a_full_disk_names_the_log_and_hides_nothing(method: str, tmp_path: Path) -> None:
    """Also where closing the log fails once more on the way out."""

    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def close(self) -> None:
            self.flush()

    log = MetricsLog(tmp_path, 0)
    log._file.close()
    log._file = Full()  # type: ignore[assignment]
    with log, pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as raised:
        getattr(log, method)(*([1, 0, "train", {"loss/total": 1.0}] if method == "write" else []))
    assert raised.value.filename == str(tmp_path / "metrics.jsonl")


# What takes a run's place


def test_a_trainer_that_lost_its_directory_saves_nothing_more(
    digits_dir: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"

    class Robbed(StopAfter):
        num_steps = 0

        @property
        def signal_name(self) -> str | None:
            self.num_steps += 1
            if self.num_steps == 9:
                (run_dir / ".lock").write_text(json.dumps({"pid": 1, "host": "other"}))
            return None

        @signal_name.setter
        def signal_name(self, name: str | None) -> None:
            pass

    with pytest.raises(LostLockError):
        train(make_config(digits_dir, run_dir, *WORDS), Robbed(10**9))
    assert RunDirectory(run_dir).checkpoints.steps() == [7]
    assert json.loads((run_dir / ".lock").read_text())["host"] == "other"
    assert not (run_dir / ENDED_FILE).exists()


def test_a_dataset_that_is_replaced_meanwhile_is_read_as_it_was(
    digits_dir: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(digits_dir, tmp_path / "data"))
    train(make_config(data, tmp_path / "before", "epochs=1"), never_stop())

    class Replaced(StopAfter):
        is_done = False

        @property
        def signal_name(self) -> str | None:
            if not self.is_done:
                self.is_done = True
                for split in ("train", "val"):
                    for shard in (data / split).glob("*.h5"):
                        other = shard.with_suffix(".new")
                        other.write_bytes(bytes(shard.stat().st_size))
                        os.replace(other, shard)
            return None

        @signal_name.setter
        def signal_name(self, name: str | None) -> None:
            pass

    train(make_config(data, tmp_path / "during", "epochs=1"), Replaced(10**9))
    assert reproducible_lines(tmp_path / "during") == reproducible_lines(tmp_path / "before")


# Ranks


def second_rank(monkeypatch: pytest.MonkeyPatch, message: list[Any]) -> World:
    """The second of two ranks, to which the first one sends `message`."""

    def broadcast(given: list[Any], **_: Any) -> None:
        given[:] = message

    monkeypatch.setattr(dist, "broadcast_object_list", broadcast)
    return World(1, 2, torch.device("cpu"))


@pytest.mark.parametrize("code", [1, 75, 78])
def test_other_ranks_end_as_the_first_one_does(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the cluster on rank 0 must not become a mistake of rank 1."""
    world = second_rank(monkeypatch, [code, None])
    with pytest.raises(ExitWithCode, match="ended because rank 0 failed") as ended:
        world.first_decides(lambda: None)
    assert ended.value.code == code


def test_the_last_words_are_those_of_the_rank_that_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The others end sooner, because they have no loggers to wait for."""
    message: list[Any] = [None, None]
    world, run = second_rank(monkeypatch, message), RunDirectory(tmp_path)

    def end_with_the_first() -> None:
        with noting_the_end(run, world, StopRequest()):
            message[0] = 1
            world.first_decides(lambda: None)

    with pytest.raises(ExitWithCode):
        end_with_the_first()
    assert not (tmp_path / ENDED_FILE).exists()
    message[0] = None
    with pytest.raises(KeyError), noting_the_end(run, world, StopRequest()):
        raise KeyError("own")
    assert json.loads((tmp_path / ENDED_FILE).read_text())["rank"] == 1


def test_a_cause_is_not_hidden_by_a_folder_that_cannot_be_listed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def away(folder: Path) -> list[str]:
        raise OSError(errno.EIO, "Input/output error", str(folder))

    world, run = World(0, 1, torch.device("cpu")), RunDirectory(tmp_path)
    monkeypatch.setattr(os, "listdir", away)
    with pytest.raises(KeyError), noting_the_end(run, world, StopRequest()):
        raise KeyError("the cause")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ESTALE, "stale"), EXIT_CLUSTER_FAULT),
        (ClusterFaultError("lost"), EXIT_CLUSTER_FAULT),
        (StoppedWaiting("asked to stop"), EXIT_STOPPED),
        (ExitWithCode("x", EXIT_NON_FINITE), EXIT_NON_FINITE),
        (KeyboardInterrupt(), 130),
        (ValueError("x"), 1),
        (KeyError("a bug"), 1),
    ],
)
def test_the_first_rank_sends_its_code_and_keeps_its_error(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where nobody is left to hear it."""
    sent: list[Any] = []

    def broadcast(given: list[Any], **_: Any) -> None:
        sent.extend(given)
        raise RuntimeError("Connection closed by peer")

    def decide() -> None:
        raise error

    monkeypatch.setattr(dist, "broadcast_object_list", broadcast)
    with pytest.raises(type(error)) as raised:
        World(0, 2, torch.device("cpu")).first_decides(decide)
    assert raised.value is error
    assert sent == [code, None]


@pytest.mark.parametrize(
    "left", [{"RANK": "1"}, {"RANK": ""}, {"LOCAL_RANK": "3"}, {"RANK": "5", "WORLD_SIZE": "1"}]
)
def test_ranks_left_in_the_environment_mean_nothing(
    left: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    with join_world("cpu") as world:
        assert (world.rank, world.world_size) == (0, 1)


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK"])
def test_a_rank_that_is_no_number_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", name: "two"}.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(ValueError, match=f"{name}=two"), join_world("cpu"):
        pass


# Waiting for the others


@pytest.fixture
def second_of_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of the second rank of two; returns where the first one would write."""
    file = tmp_path / "rendezvous.json"
    for key, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv(rendezvous.RENDEZVOUS_FILE, str(file))
    monkeypatch.setenv(rendezvous.JOIN_TIMEOUT_S, "1")
    monkeypatch.setattr(rendezvous, "CONNECT_S", 0.1)
    return file


@pytest.mark.parametrize("is_written", [False, True])
def test_a_wait_for_the_first_rank_ends_at_a_signal(
    is_written: bool, second_of_two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(rendezvous.JOIN_TIMEOUT_S, "600")
    if is_written:
        second_of_two.write_text('{"host": "localhost", "port": 1}')
    with pytest.raises(StoppedWaiting, match="first rank"), join_world("cpu", lambda: True):
        pass


@pytest.mark.parametrize("is_written", [False, True])
def test_a_first_rank_that_never_comes_is_a_fault_of_the_cluster(
    is_written: bool, second_of_two: Path
) -> None:
    if is_written:
        second_of_two.write_text('{"host": "localhost", "port": 1}')
    with pytest.raises(ClusterFaultError, match="first rank"), join_world("cpu"):
        pass


def test_a_wait_for_the_last_rank_ends_at_a_signal(
    second_of_two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv(rendezvous.JOIN_TIMEOUT_S, "600")
    with pytest.raises(StoppedWaiting, match="other ranks"), join_world("cpu", lambda: True):
        pass
    monkeypatch.setenv(rendezvous.JOIN_TIMEOUT_S, "1")
    with pytest.raises(ClusterFaultError, match="only 1 of 2 ranks joined"), join_world("cpu"):
        pass


def test_a_stop_while_waiting_ends_with_the_code_of_a_stop(
    digits_dir: Path, tmp_path: Path, second_of_two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(rendezvous.JOIN_TIMEOUT_S, "600")
    with pytest.raises(ExitWithCode, match="asked to stop while waiting") as ended:
        train(make_config(digits_dir, tmp_path / "run"), StopAfter(1))
    assert ended.value.code == EXIT_STOPPED
    assert not (tmp_path / "run").exists()


# Signals


@pytest.fixture
def keeps_signals() -> Iterator[None]:
    """Puts the handlers of the test process back."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_stop_signal_is_remembered(number: signal.Signals, keeps_signals: None) -> None:
    """A closed terminal and a spent limit of processor time too; else they end the process."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    request = StopRequest()
    request.install()
    os.kill(os.getpid(), number)
    assert request.is_made()
    assert request.signal_name == number.name


def test_a_hang_up_that_was_ignored_stays_ignored(keeps_signals: None) -> None:
    """Under `nohup`, and for workers that outlive the terminal they were started from."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    request = StopRequest()
    request.install()
    os.kill(os.getpid(), signal.SIGHUP)
    assert not request.is_made()
