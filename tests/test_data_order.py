"""Protects the choice of the order: made once, by the memory there is, and kept by the run."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.training import StopAfter, final_weights, make_config, never_stop, reproducible_lines

import orbit.core.memory as memory
import pipeline.training.data_order as data_order
from orbit.core.config.program import ExitWithCode
from orbit.core.store.direct_reader import DirectReader
from orbit.core.store.reader import PairStore, SplitReader
from pipeline.training.data_order import choose_order, training_bytes
from pipeline.training.distributed import World
from pipeline.training.run import _check_share, open_readers, train
from pipeline.training.run_directory import RunDirectory

WORDS = ("epochs=1", "checkpoint_every=7", "global_batch=32", "collapse.action=warn")
BLOCKS = ("blocks.num_lanes=8", "blocks.block_items=6", "blocks.window_mib=1")


def with_memory(monkeypatch: pytest.MonkeyPatch, num_bytes: int) -> None:
    monkeypatch.setattr(data_order, "available_memory", lambda: num_bytes)


def noted(run_dir: Path) -> str:
    return str(json.loads((run_dir / "order.json").read_text())["order"])


def test_auto_goes_by_the_memory_once(
    digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    """Stopped and continued where there is more memory, the run is what it would have been, bit
    for bit; and one line says what was taken and why."""
    with_memory(monkeypatch, 2**10)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(make_config(digits_dir, whole, *WORDS, *BLOCKS), never_stop())
    assert noted(whole) == "blocks"
    said = capfd.readouterr().out
    assert "order: blocks, because the training data does not fit into memory" in said
    assert "8 lanes, blocks of 6 items" in said
    config = make_config(digits_dir, stopped, *WORDS, *BLOCKS)
    with pytest.raises(ExitWithCode):
        train(config, StopAfter(9))
    with_memory(monkeypatch, 2**40)
    capfd.readouterr()
    (stopped / "order.json").unlink()  # The checkpoints know it too.
    train(config, never_stop())
    assert "order:" not in capfd.readouterr().out
    assert noted(stopped) == "blocks"
    assert final_weights(stopped) == final_weights(whole)
    assert reproducible_lines(stopped) == reproducible_lines(whole)


def test_where_data_fits_auto_is_uniform_and_reads_maps(
    digits_dir: Path, digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is a run that was begun before there was a choice, on whatever machine it goes on."""
    assert noted(digits_run) == "uniform"
    store = PairStore(digits_dir)
    config = make_config(digits_dir, tmp_path / "new")
    with_memory(monkeypatch, 2**40)
    order, line = choose_order(RunDirectory(tmp_path / "new"), config, store.manifest)
    assert line is not None
    assert line.startswith("order: uniform, because the training data fits into memory (data ")
    assert isinstance(open_readers(store, order, 2**20)["train"], SplitReader)
    with_memory(monkeypatch, 2**10)
    assert isinstance(open_readers(store, order, 2**20)["val"], DirectReader)
    old = Path(shutil.copytree(digits_run, tmp_path / "old"))
    (old / "order.json").unlink()
    order, line = choose_order(RunDirectory(old), config, store.manifest)
    assert (order.order, line) == ("uniform", None)
    monkeypatch.setattr("pipeline.training.data_order.NUM_STORED", 100)
    order, line = choose_order(RunDirectory(old), config, store.manifest)
    assert order.order == "uniform"
    assert line is not None
    assert "may occur twice" in line


def test_what_counts_are_the_bytes_that_training_reads(
    digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The items that are used, and of fresh pairs the sources with what lies on their pages."""
    manifest = PairStore(digits_dir).manifest
    whole = data_order.split_bytes(manifest, "train")

    def counted(*words: str) -> int:
        return training_bytes(make_config(digits_dir, tmp_path / "run", *words), manifest)

    assert counted("pairs=online") == counted("pairs=stored") == whole
    assert counted("pairs=online", "num_train_items=280") == whole // 2
    assert counted("pairs=stored", "num_train_items=560") == whole // 4
    monkeypatch.setattr("mmap.PAGESIZE", 16)
    assert counted("pairs=fresh") == 560 * (16 * 16 + 16) < whole
    monkeypatch.setattr("mmap.PAGESIZE", 4096)
    assert counted("pairs=fresh") == whole


def test_by_position_a_uniform_run_is_the_same_run(
    digits_dir: Path, digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_memory(monkeypatch, 2**10)
    words = ("epochs=1", "collapse.action=warn", "order=uniform")
    train(make_config(digits_dir, tmp_path / "run", *words), never_stop())
    assert final_weights(tmp_path / "run") == final_weights(digits_run)


def test_an_altered_note_is_refused_by_name(digits_dir: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_json("order.json", {"order": "blocks", "because": "?", "sizes": None, "asked": 3})
    with pytest.raises(ValueError, match=r"order.json cannot be read"):
        choose_order(run, make_config(digits_dir, tmp_path), PairStore(digits_dir).manifest)


def test_keys_without_effect_and_numbers_of_ranks_are_refused(
    digits_dir: Path, tmp_path: Path
) -> None:
    def configured(*words: str):
        return make_config(digits_dir, tmp_path / "run", *words)

    with pytest.raises(ValueError, match=r"block_items has no effect with order=uniform"):
        configured("order=uniform", "blocks.block_items=4")
    with pytest.raises(ValueError, match=r"num_workers=2 cannot go with order=blocks"):
        configured("order=blocks", "loader.num_workers=2")
    config = configured("order=blocks", *BLOCKS)
    order, _ = choose_order(RunDirectory(tmp_path), config, PairStore(digits_dir).manifest)
    _check_share(config, order, World(0, 4, torch.device("cpu")))
    with pytest.raises(ValueError, match=r"num_lanes=8 .* 16 ranks; allowed: 1, 2, 4, 8 ranks"):
        _check_share(config, order, World(0, 16, torch.device("cpu")))


@pytest.mark.parametrize(
    ("line", "folder", "files"),
    [
        (
            "0::/job/step\n",
            "job",
            {
                "memory.max": "3000",
                "memory.current": "1200",
                "memory.stat": "inactive_file 100\nactive_file 200\nanon 900\n",
            },
        ),
        (
            "9:cpuset:/\n4:memory:/job/step\n",
            "memory/job",
            {
                "memory.limit_in_bytes": "3000",
                "memory.usage_in_bytes": "1200",
                "memory.stat": "cache 0\ntotal_inactive_file 100\ntotal_active_file 200\n",
            },
        ),
    ],
)
def test_limits_of_the_control_group_count(
    line: str,
    folder: str,
    files: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of a group above, too; files kept in memory can be given up."""
    (tmp_path / folder / "step").mkdir(parents=True)
    for name, text in files.items():
        (tmp_path / folder / name).write_text(text)
    (tmp_path / "own").write_text(line)
    monkeypatch.setattr(memory, "GROUPS", tmp_path)
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "own")
    assert memory.available_memory() == 3000 - 1200 + 300
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "missing")
    assert memory.available_memory() > 2**20
