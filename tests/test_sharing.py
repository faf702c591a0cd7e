"""Protects what is handed on: the layout of hubs, nothing of the sharer's, no code, same model."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from helpers.programs import call
from helpers.training import make_config, never_stop

import orbit
from pipeline.description.facts import describe_run
from pipeline.evaluation.evaluate_run import evaluate_run
from pipeline.run_files.shared import SHARED_FILE
from pipeline.settings import EvaluateConfig
from pipeline.sharing import nameless
from pipeline.training.run import train

PROGRAM = "pipeline/share.py"


@pytest.fixture(scope="module")
def evaluated(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("mine") / "turned"
    shutil.copytree(digits_run, run_dir)
    evaluate_run(EvaluateConfig(str(run_dir), analysis_records=16, pictures=False))
    (run_dir / "pictures").mkdir(exist_ok=True)
    (run_dir / "pictures/one.png").write_bytes(b"a picture")
    return run_dir


@pytest.fixture(scope="module")
def shared(evaluated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("handed") / "on"
    outcome = call(PROGRAM, str(evaluated), f"out={out}", "license=mit", "name=Turned digits")
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    return out


def copied(shared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shared, tmp_path / "on"))


# What lies in it


def test_the_card_is_what_hubs_read(shared: Path) -> None:
    text = (shared / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    values = yaml.safe_load(head)
    assert values["license"] == "mit"
    assert values["library_name"] == "orbit-group-actions"
    assert "psnr" in values["metrics"]
    (results,) = values["model-index"][0]["results"]
    measured = json.loads(next((shared / "evaluations").glob("*-test.json")).read_text())
    for each in results["metrics"]:
        assert each["value"] == measured["metrics"][each["type"]]
    for heading in ("Use it", "exactness", "Metrics", "Dataset", "Training", "Licence"):
        assert heading in body
    assert f"psnr` | {measured['metrics']['psnr']:.4g}" in body
    assert "![one](pictures/one.png)" in body


def test_nothing_of_the_sharers_machine_is_in_it(
    shared: Path, evaluated: Path, digits_dir: Path
) -> None:
    known = json.loads((evaluated / "environment.json").read_text())
    for file in shared.rglob("*"):
        if file.is_file() and file.suffix in (".md", ".json", ".jsonl", ".yaml"):
            text = file.read_text()
            for secret in (str(evaluated.parent), str(digits_dir.parent), known["host"] + '"'):
                assert secret not in text, file
    assert json.loads((shared / "dataset.json").read_text())["source_checksums"] == {}
    plain = {"a": ["/x/y", "x/y", 1], "b": {"c": "/z"}}
    assert nameless(plain) == {"a": ["y", "x/y", 1], "b": {"c": "z"}}


# Using it


def test_it_is_the_same_model(shared: Path, evaluated: Path, tmp_path: Path) -> None:
    """From a copy, without the dataset, through what reads runs; shared once more as well."""
    folder = copied(shared, tmp_path)
    run, own = orbit.load_run(folder), orbit.load_run(evaluated)
    for name, values in own.model.state_dict().items():
        assert torch.equal(run.model.state_dict()[name], values)
    assert run.step == own.step
    assert run.manifest.fingerprint == own.manifest.fingerprint
    assert repr(run).splitlines()[1:] == repr(own).splitlines()[1:]
    assert len(run.metrics()) == len(own.metrics())
    told, known = describe_run(folder), describe_run(evaluated)
    assert told["exactness"] == known["exactness"]
    assert told["parameters"] == known["parameters"]
    again = tmp_path / "again"
    assert call(PROGRAM, str(folder), f"out={again}", "license=mit", "name=Turned digits").code == 0
    for file in ("model.safetensors", "dataset.json", SHARED_FILE, "README.md"):
        assert (again / file).read_bytes() == (folder / file).read_bytes(), file


def test_a_run_begins_with_its_weights_and_none_goes_on_in_it(
    shared: Path, digits_dir: Path, tmp_path: Path
) -> None:
    words = ("epochs=1", "collapse.action=warn", "debug.num_steps=1")
    train(make_config(digits_dir, tmp_path / "run", *words, f"init_from={shared}"), never_stop())
    before = sorted(shared.rglob("*"))
    with pytest.raises(ValueError, match="is a shared model, not a run to continue"):
        train(make_config(digits_dir, shared, *words), never_stop())
    assert sorted(shared.rglob("*")) == before


def test_other_checkpoints_are_not_there(shared: Path) -> None:
    step = orbit.load_run(shared, "last").step
    assert orbit.load_run(shared, str(step)).step == step
    with pytest.raises(FileNotFoundError, match=f"holds only the weights of step {step}"):
        orbit.load_run(shared, "7")
    with pytest.raises(ValueError, match="checkpoint=newest"):
        orbit.load_run(shared, "newest")


def test_an_evaluation_of_other_weights_is_not_told(shared: Path, tmp_path: Path) -> None:
    """As after a restart, which made a checkpoint of the same step anew."""
    folder = copied(shared, tmp_path)
    assert "quality  test: " in repr(orbit.load_run(folder))
    file = next((folder / "evaluations").glob("*-test.json"))
    file.write_text(json.dumps({**json.loads(file.read_text()), "weights": "others"}))
    assert "quality  val: " in repr(orbit.load_run(folder))


# What a stranger may have done to it


def test_damage_is_one_line(shared: Path, tmp_path: Path) -> None:
    folder = copied(shared, tmp_path)
    file = folder / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(
        ValueError, match=r"model\.safetensors is not the file that shared\.json describes"
    ):
        orbit.load_run(folder)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        orbit.load_run(folder)
    meta = json.loads((folder / SHARED_FILE).read_text())
    ranks = [json.dumps({**meta, "world_size": wrong}) for wrong in (0, -1, "2", None)]
    for text in ("[]", "{}", '{"format": 2}', "no json", *ranks):
        (folder / SHARED_FILE).write_text(text)
        with pytest.raises(ValueError, match=r"shared\.json cannot be read"):
            orbit.load_run(folder)


def test_who_hands_on_what_says_too_little_is_told(shared: Path, tmp_path: Path) -> None:
    folder = copied(shared, tmp_path)
    meta = json.loads((folder / SHARED_FILE).read_text())
    (folder / SHARED_FILE).write_text(json.dumps({**meta, "trained": {}}))
    line = call(PROGRAM, str(folder), f"out={tmp_path / 'again'}").error_line
    assert "shared.json does not say how it was trained" in line
    assert [path.name for path in tmp_path.iterdir()] == ["on"]


def test_a_missing_package_is_named(shared: Path, tmp_path: Path) -> None:
    folder = copied(shared, tmp_path)
    text = (folder / "config.yaml").read_text()
    assert "plugins: []" in text
    wanted = "plugins:\n- 'methods/twist: twistlab 0.3'"
    (folder / "config.yaml").write_text(text.replace("plugins: []", wanted))
    with pytest.raises(ValueError, match=r"not installed: pip install twistlab==0\.3"):
        orbit.load_run(folder)


# Making it


def test_what_is_in_the_way_stays(shared: Path, evaluated: Path, tmp_path: Path) -> None:
    folder = copied(shared, tmp_path)
    assert "overwrite=true" in call(PROGRAM, str(evaluated), f"out={folder}").error_line
    (tmp_path / "own").mkdir()
    words = (f"out={tmp_path / 'own'}", "overwrite=true")
    assert "is not a shared folder" in call(PROGRAM, str(evaluated), *words).error_line
    words = (f"out={tmp_path / 'new'}", "license=My own")
    assert "license=My own is no identifier" in call(PROGRAM, str(evaluated), *words).error_line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["on", "own"]


def test_a_run_that_nobody_evaluated_says_so(digits_run: Path, tmp_path: Path) -> None:
    outcome = call(PROGRAM, str(digits_run), f"out={tmp_path / 'on'}", "pictures=false")
    assert "no licence given" in outcome.err
    assert "not evaluated" in outcome.err
    text = (tmp_path / "on/README.md").read_text()
    assert "was not evaluated" in text
    assert "license: unknown" in text
