"""Protects the description of a run: its numbers are those of the model and of its evaluation."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.programs import call
from helpers.training import make_config, never_stop

from pipeline.description.facts import describe_run, flops_by_part
from pipeline.description.words import VERDICTS, amount, in_words, verdict
from pipeline.runs import load_run
from pipeline.training.run import train

PROGRAM = "pipeline/describe.py"


def test_facts_are_those_of_the_model(digits_run: Path) -> None:
    facts = describe_run(digits_run)
    model = load_run(digits_run).model
    assert facts["parameters"]["total"] == sum(p.numel() for p in model.parameters())
    assert sum(facts["parameters"]["parts"].values()) == facts["parameters"]["total"]
    latent = model.encode(torch.zeros(1, *facts["dataset"]["frame"])).variant
    assert facts["latent"]["shape"] == list(latent.shape[1:])
    assert facts["mask"]["num_variant"] == int(model.mask.is_variant().sum())
    assert facts["group"]["names"] == ["0", "90", "180", "270"]
    assert facts["state"] == "finished"


def test_operations_are_counted_by_hand(digits_run: Path) -> None:
    """Two for each weight and place: convolutions of 16 pixels, 16x16 to 8x8 to 4x4."""
    flops = flops_by_part(load_run(digits_run).model)
    encode = 2 * 16 * (8 * 8 * 1 * 8 + 4 * 4 * 8 * 16)
    assert flops == {"encode": encode, "act": 0, "decode": encode}


def test_an_evaluation_is_read_and_without_one_it_is_measured(
    digits_run: Path, tmp_path: Path
) -> None:
    """The test split has fewer records than are measured at most: both ways agree."""
    run_dir = tmp_path / "run"
    shutil.copytree(digits_run, run_dir)
    measured = describe_run(run_dir)["exactness"]
    assert measured["origin"] == "measured just now on 120 test records"
    assert call("pipeline/evaluate.py", f"run_dir={run_dir}", "pictures=false").code == 0
    read = describe_run(run_dir)["exactness"]
    assert read["origin"].startswith("evaluations/step_")
    shared = measured["metrics"].keys() & read["metrics"].keys()
    assert {"equivariance_error/variant", "composition_error/image", "psnr"} <= shared
    for name in shared:
        assert measured["metrics"][name] == pytest.approx(read["metrics"][name], rel=1e-3, abs=1e-5)


def test_an_evaluation_of_other_weights_is_not_believed(digits_run: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(digits_run, run_dir)
    assert call("pipeline/evaluate.py", f"run_dir={run_dir}", "pictures=false").code == 0
    (file,) = (run_dir / "evaluations").glob("step_*.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "weights": "of another"}))
    assert describe_run(run_dir)["exactness"]["origin"].startswith("measured")


def test_the_program_says_it_on_one_screen(digits_run: Path) -> None:
    text = call(PROGRAM, str(digits_run)).out
    lines = text.splitlines()
    assert len(lines) < 30
    assert all(len(line) <= 100 for line in lines[1:] if str(digits_run.parent.parent) not in line)
    for label in ("dataset", "group", "model", "latent", "cost", "mask", "exactness", "images"):
        assert any(line.startswith(label) for line in lines), label
    facts = json.loads(call(PROGRAM, str(digits_run), "json=true").out)
    assert f"{facts['parameters']['total']:,} parameters" in text
    assert f"{facts['exactness']['metrics']['psnr']:.2f} dB" in text


@pytest.mark.parametrize(("control", "words"), [("all_variant", "none"), ("all_invariant", "no ")])
def test_controls_are_described_too(
    control: str, words: str, digits_dir: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    words_of_run = ("epochs=1", f"control={control}", "collapse.action=warn", "global_batch=128")
    train(make_config(digits_dir, run_dir, *words_of_run), never_stop())
    text = in_words(describe_run(run_dir))
    assert words in text
    assert ("z_i of g x" in text) == (control == "all_invariant")


def test_verdicts_become_worse_as_errors_grow() -> None:
    assert [verdict(limit) for limit, _ in VERDICTS] == [words for _, words in VERDICTS]
    assert verdict(0.0) == VERDICTS[0][1]
    assert [amount(n) for n in (999, 2.24e6, 3e9)] == ["999", "2.2 million", "3.0 billion"]


def test_mistakes_are_one_line(digits_run: Path, tmp_path: Path) -> None:
    assert "give one directory, the run directory" in call(PROGRAM).error_line
    assert "no run at" in call(PROGRAM, str(tmp_path)).error_line
    assert "no dataset at" in call(PROGRAM, str(digits_run), f"data={tmp_path}/x").error_line
    assert "json=yes" in call(PROGRAM, str(digits_run), "json=yes").error_line
    assert "checkpoint" in call(PROGRAM, str(digits_run), "checkpoint=7").error_line
