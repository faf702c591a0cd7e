"""Protects results that survive: made once, by runs of which none stops the others.

A failed or collapsed run that took the others with it, or a stop that lost what was done,
would cost a night.
"""

import dataclasses
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from helpers.reproducing import (
    calls,
    read_result,
    request_in,
    small_settings,
    stand_ins,
)
from helpers.waiting import wait_until

from launch.reproduction.command import carry_out
from launch.reproduction.settings import DatasetSettings, PresetOverrides, VariantSettings
from orbit.core.config.program import EXIT_STOPPED, ExitWithCode

pytestmark = pytest.mark.usefixtures("starts_are_warm")

SETTINGS = small_settings()


def test_a_failed_run_does_not_stop_the_others_and_a_collapsed_one_is_a_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = request_in(tmp_path, SETTINGS, only=("digits",))
    programs = stand_ins(tmp_path / "programs")
    assert carry_out(request, programs) == 1
    said = capsys.readouterr().out
    assert "failed: digits/broken_seed1: train: step 7: not a number in the code" in said
    assert "[7/7]" in said
    assert len(list((tmp_path / "results/digits").iterdir())) == 5
    assert not list((tmp_path / "results/digits").glob("broken*"))
    constant = read_result(tmp_path, "digits/constant_seed0")
    assert (constant["state"], constant["metrics"]) == ("collapsed", {})
    assert constant["message"] == "the outputs are constant"
    half = read_result(tmp_path, "digits/half_seed1")
    assert half["metrics"] == {"psnr": 21.0}
    assert half["mask"]["mask/fraction_variant"] == 0.5
    assert half["mask"]["mask/flips"] == 3
    assert half["num_parameters"] == 17
    assert half["machine"]["processor"] == "Loom"
    assert set(half["seconds"]) == {"train", "evaluate"}
    calls(tmp_path)

    # The same command tries only what failed.
    assert carry_out(request, programs) == 1
    assert calls(tmp_path) == ["train digits-broken_seed0", "train digits-broken_seed1"]


def test_results_are_made_once_and_again_when_a_word_changes(tmp_path: Path) -> None:
    keys: dict[str, Any] = {
        "only": ("digits",),
        "controls": ("half", "constant"),
        "seeds": (0,),
    }
    programs = stand_ins(tmp_path / "programs")
    assert carry_out(request_in(tmp_path, SETTINGS, **keys), programs) == 0
    done = ["evaluate digits-half_seed0", "train digits-constant_seed0", "train digits-half_seed0"]
    assert calls(tmp_path) == done
    before = read_result(tmp_path, "digits/half_seed0")
    assert carry_out(request_in(tmp_path, SETTINGS, **keys), programs) == 0
    assert calls(tmp_path) == []
    variants = {**SETTINGS.variants, "half": VariantSettings(train=("control=half_mask", "x=1"))}
    changed = small_settings(variants=variants)
    assert carry_out(request_in(tmp_path, changed, **keys), programs) == 0
    assert calls(tmp_path) == ["evaluate digits-half_seed0", "train digits-half_seed0"]
    now = read_result(tmp_path, "digits/half_seed0")
    assert now["digest"] != before["digest"]

    # Other words of evaluation do not cost another training.
    keys["controls"] = ("half",)
    changed = dataclasses.replace(changed, evaluate=("batch=8",))
    assert carry_out(request_in(tmp_path, changed, **keys), programs) == 0
    assert calls(tmp_path) == ["evaluate digits-half_seed0"]
    again = read_result(tmp_path, "digits/half_seed0")
    assert again["digest"] not in (before["digest"], now["digest"])
    assert again["seconds"]["train"] == now["seconds"]["train"]


def test_metrics_on_further_datasets_are_named_after_them(tmp_path: Path) -> None:
    tested = dataclasses.replace(
        SETTINGS.datasets["digits"], tests={"long": ("dataset=others", "length=100")}
    )
    settings = small_settings(datasets={"digits": tested})
    request = request_in(tmp_path, settings, controls=("half",), seeds=(1,))
    assert carry_out(request, stand_ins(tmp_path / "programs")) == 0
    result = read_result(tmp_path, "digits/half_seed1")
    assert result["metrics"] == {"psnr": 21.0, "long/psnr": 21.0, "long/mask/fraction_variant": 0.5}
    assert result["words"]["tests"] == {"long": ["dataset=others", "length=100"]}
    assert set(result["seconds"]) == {"train", "evaluate", "evaluate_long"}

    request = request_in(tmp_path, SETTINGS, controls=("half",), seeds=(1,), only=("digits",))
    assert carry_out(request, stand_ins(tmp_path / "programs")) == 0
    untested = read_result(tmp_path, "digits/half_seed1")
    assert set(untested["seconds"]) == {"train", "evaluate"}, "no time of what is not done now"

    broken = dataclasses.replace(tested, tests={"long": ("dataset=broken",)})
    settings = small_settings(datasets={"digits": broken})
    request = request_in(tmp_path, settings, controls=("half",), seeds=(1,))
    assert carry_out(request, stand_ins(tmp_path / "programs")) == 1


def test_a_text_that_cannot_take_the_tables_is_found_before_the_first_run(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- table: gone --><!-- end -->")
    request = request_in(tmp_path, SETTINGS, document=str(page))
    with pytest.raises(ValueError, match="unknown table 'gone'"):
        carry_out(request, stand_ins(tmp_path / "programs"))
    assert not (tmp_path / "work").exists()


def test_a_dataset_that_cannot_be_prepared_fails_its_own_runs_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = DatasetSettings(experiment="x", prepare=("dataset=broken",))
    settings = small_settings(datasets={**SETTINGS.datasets, "others": broken})
    request = request_in(tmp_path, settings, controls=("half",), seeds=(0,))
    assert carry_out(request, stand_ins(tmp_path / "programs")) == 1
    assert "failed: others/half_seed0: not prepared: no images there" in capsys.readouterr().out
    assert read_result(tmp_path, "digits/half_seed0")["state"] == "finished"


def test_a_stop_signal_ends_the_children_and_the_same_command_goes_on(tmp_path: Path) -> None:
    slow = {"half": VariantSettings(train=("task.tau=0.9",))}
    settings = small_settings(variants=slow, tables={})
    request = request_in(tmp_path, settings, only=("digits",), num_parallel=1)
    programs = stand_ins(tmp_path / "programs")

    def stop_soon() -> None:
        wait_until(lambda: list(tmp_path.glob("work/runs/*/began")))
        os.kill(os.getpid(), signal.SIGTERM)

    handler = signal.getsignal(signal.SIGTERM)
    watcher = threading.Thread(target=stop_soon)
    watcher.start()
    with pytest.raises(ExitWithCode, match="SIGTERM") as error:
        carry_out(request, programs)
    watcher.join()
    assert error.value.code == EXIT_STOPPED
    assert signal.getsignal(signal.SIGTERM) is handler
    assert not (tmp_path / "results").exists()
    assert calls(tmp_path) == ["train digits-half_seed0"], "no second run was started"

    programs.train.write_text(programs.train.read_text().replace("time.sleep(3000)", "pass"))
    assert carry_out(request, programs) == 0
    assert len(calls(tmp_path)) == 4
    assert len(list((tmp_path / "results/digits").iterdir())) == 2


def test_the_real_programs_end_in_a_result_of_a_few_kilobytes(tmp_path: Path) -> None:
    words = PresetOverrides(
        prepare=("num_samples=200",),
        train=("epochs=1", "task.model.width=8", "global_batch=32"),
    )
    dataset = DatasetSettings(
        experiment="rotated_digits",
        prepare=("dataset=rotated_digits",),
        small=words,
        classify=(
            "features=[pooled_z_v]",
            "labels=[rotated]",
            "fractions=[1.0]",
            "classifiers=[linear]",
            "seeds=[0]",
        ),
    )
    settings = small_settings(
        datasets={"digits": dataset},
        variants={"method": SETTINGS.variants["method"]},
        tables={},
        evaluate=("pictures=false", "analysis_records=16"),
    )
    assert carry_out(request_in(tmp_path, settings, seeds=(0,))) == 0
    result = read_result(tmp_path, "digits/method_seed0")
    assert result["state"] == "finished"
    assert result["metrics"]["psnr"] > 0
    assert not any(key.startswith("mask/") for key in result["metrics"])
    assert {"mask/fraction_variant", "mask/flips"} <= set(result["mask"])
    assert set(result["seconds"]) == {"train", "evaluate", "classify"}
    (row,) = result["classification"]
    assert (row["labels"], row["feature"], row["fraction"]) == ("rotated", "pooled_z_v", 1.0)
    assert 0 <= row["accuracy"] <= 1
    # Two convolutions down to 8 and 16 channels, two up again, 16 logits.
    assert result["num_parameters"] == (16 * 8 + 8) + (128 * 16 + 16) + (128 * 16 + 8) + 129 + 16
    assert (tmp_path / "results/digits/method_seed0.json").stat().st_size < 8192
    assert "$ " in next((tmp_path / "work/logs").glob("*method*.txt")).read_text()
