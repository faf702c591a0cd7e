"""Protects runs that travel: from any folder, without their dataset, and in a notebook."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.programs import call
from helpers.training import StopAfter, make_config, never_stop
from PIL import Image

import orbit
from orbit.core.config.program import ExitWithCode
from orbit.core.config.yaml_files import read_yaml, yaml_text
from orbit.core.store.manifest import FrameSpec, read_manifest
from orbit.core.store.reader import PairStore
from pipeline.exporting import make_signature, programs_of
from pipeline.models.latent_action import LatentActionModel, LatentParts
from pipeline.run_files.reading import DATASET_FILE
from pipeline.runs import Run, as_stored
from pipeline.training.run import train
from pipeline.training.run_directory import RunDirectory


def without_data(run_dir: Path, gone: Path) -> Path:
    """Let a run believe that its dataset was at `gone`, where nothing is."""
    file = run_dir / "config.yaml"
    values = read_yaml(file.read_text())
    file.write_text(yaml_text({**values, "data": str(gone)}))
    return run_dir


@pytest.fixture(scope="module")
def moved(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was copied elsewhere, whose dataset is gone. Only read it."""
    folder = tmp_path_factory.mktemp("elsewhere")
    return without_data(Path(shutil.copytree(digits_run, folder / "run")), folder / "gone" / "data")


@pytest.fixture(scope="module")
def loaded(moved: Path) -> Run:
    return orbit.load_run(moved)  # type: ignore[no-any-return]


# Without the dataset


def test_a_run_holds_its_manifest_also_after_it_was_continued(
    digits_dir: Path, tmp_path: Path
) -> None:
    config = make_config(digits_dir, tmp_path / "run", "epochs=1", "collapse.action=warn")
    with pytest.raises(ExitWithCode):
        train(config, StopAfter(3))
    assert RunDirectory(tmp_path / "run").read_manifest() == read_manifest(digits_dir)
    (tmp_path / "run" / DATASET_FILE).unlink()  # as an earlier version left it
    train(config, never_stop())
    assert RunDirectory(tmp_path / "run").read_manifest() == read_manifest(digits_dir)


def test_runs_of_earlier_versions_are_read_where_their_dataset_is(
    digits_run: Path, digits_dir: Path, tmp_path: Path
) -> None:
    run_dir = Path(shutil.copytree(digits_run, tmp_path / "run"))
    (run_dir / DATASET_FILE).unlink()
    assert orbit.load_run(run_dir).manifest == read_manifest(digits_dir)
    without_data(run_dir, tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match="no dataset at"):
        orbit.load_run(run_dir)


def test_describe_apply_and_export_need_no_dataset(
    moved: Path, loaded: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = call("pipeline/describe.py", str(moved))
    assert outcome.code == 0, outcome.err
    said = " ".join(outcome.out.split())
    assert "rotated_digits (the folder " in said
    assert "not evaluated, and the dataset is not at its recorded path: set data=DIR" in said
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "x.png")
    words = (f"images={tmp_path}/x.png", "element=90", f"out={tmp_path}/out", "sheet=false")
    assert call("pipeline/apply.py", str(moved), *words).code == 0
    assert (tmp_path / "out/x__90.png").is_file()
    programs = programs_of(loaded, loaded.manifest)
    signature = make_signature(
        loaded, loaded.manifest, programs, {program.name: 0.0 for program in programs}
    )
    assert signature["origin"]["fingerprint"] == loaded.manifest.fingerprint


@pytest.mark.parametrize("program", ["evaluate", "classify"])
def test_who_reads_records_names_the_key_for_them(
    program: str, moved: Path, digits_dir: Path, tmp_path: Path
) -> None:
    line = call(f"pipeline/{program}.py", f"run_dir={moved}").error_line
    assert "no dataset at" in line
    assert "set data=DIR" in line
    line = call(f"pipeline/{program}.py", f"run_dir={moved}", f"data={tmp_path}").error_line
    assert "set data=" not in line


def test_another_dataset_in_the_old_place_is_not_described(
    digits_run: Path, volume_dir: Path, tmp_path: Path
) -> None:
    run_dir = without_data(Path(shutil.copytree(digits_run, tmp_path / "run")), volume_dir)
    facts = json.loads(call("pipeline/describe.py", str(run_dir), "json=true").out)
    assert facts["dataset"]["is_own"]
    assert facts["exactness"]["metrics"] == {}


# In a notebook


def test_a_run_says_what_it_is_in_five_lines(loaded: Run, moved: Path) -> None:
    lines = repr(loaded).splitlines()
    assert len(lines) == 5
    assert str(moved) in lines[0]
    assert "rotated_digits" in lines[1]
    assert lines[4].startswith("quality  val: loss/total")


def test_latents_and_outputs_are_those_of_the_model(loaded: Run, digits_dir: Path) -> None:
    model = loaded.model
    assert isinstance(model, LatentActionModel)
    stored = PairStore(digits_dir).split("test").read(np.arange(20)).source
    with torch.no_grad():
        images = model.normalise(torch.from_numpy(stored))
        wanted = model.encode(images)
        g = loaded.group.elements()[1].expand(len(images))
        moved = model.to_unit_range(model.transform(images, g))
    for given in (stored, torch.from_numpy(stored), stored.astype(np.float64) / 255):
        found = loaded.encode(given)
        assert isinstance(found, LatentParts)
        for part, own in zip(found, wanted, strict=True):
            assert torch.allclose(part, own, atol=1e-5)
        for element in ("90", 90, loaded.group.elements()[1:2], g):
            assert torch.allclose(loaded.transform(given, element), moved, atol=1e-5)
    (one,) = loaded.transform(stored[0], "90")
    assert torch.allclose(one, moved[0], atol=1e-5)


def test_many_images_go_through_in_parts(loaded: Run) -> None:
    """More than fit at a time, with an element each."""
    num = 2 * loaded.places() + 3
    images = np.random.default_rng(0).integers(0, 255, (num, 1, 16, 16), np.uint8)
    g = loaded.group.elements()[torch.arange(num) % 4]
    whole = loaded.transform(images, g)
    last = loaded.transform(images[-5:], g[-5:])
    assert len(whole) == num
    assert torch.allclose(whole[-5:], last, atol=1e-5)
    with pytest.raises(ValueError, match=f"element: 3 elements for {num} images"):
        loaded.transform(images, g[:3])


FLOAT16 = FrameSpec((1, 2, 2), "float16", (0.0, 4.0), (-1.0, 1.0))


def test_images_become_what_a_dataset_stores() -> None:
    grey = torch.tensor([[[[0, 255], [51, 102]]]], dtype=torch.uint8)
    wanted = grey.to(torch.float16) / 255 * 4
    for given in (wanted, grey, grey[0], grey.float() / 255):
        assert torch.allclose(as_stored(given, FLOAT16).float(), wanted.float(), atol=2e-3)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((3, 16, 16, 1), np.uint8), r"shape \(3, 16, 16, 1\).*\(N, 1, 16, 16\)"),
        (np.zeros((0, 1, 16, 16), np.uint8), "shape"),
        (np.full((1, 16, 16), 2.0), "from 2 to 2; allowed: 0 to 1"),
        (np.full((1, 16, 16), np.nan), "from nan to nan"),
        (np.zeros((1, 16, 16), np.int64), "images of torch.int64"),
    ],
)
def test_images_of_another_kind_are_refused(images: np.ndarray, words: str, loaded: Run) -> None:
    with pytest.raises(ValueError, match=words):
        loaded.encode(images)


def test_elements_are_refused_in_the_groups_words(loaded: Run) -> None:
    with pytest.raises(ValueError, match="element=45"):
        loaded.transform(np.zeros((1, 16, 16), np.uint8), "45")


def test_metrics_are_a_table_with_pandas_and_a_list_without(
    loaded: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pandas = pytest.importorskip("pandas")
    frame = loaded.metrics()
    assert isinstance(frame, pandas.DataFrame)
    monkeypatch.setitem(sys.modules, "pandas", None)
    lines = loaded.metrics()
    assert [line["step"] for line in lines] == list(frame["step"])
    assert {line["source"] for line in lines} == {"training"}
