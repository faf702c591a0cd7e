"""Every kind of run gets the pictures that fit it, and what they show is what they say.

Protects which pictures are written for images, volumes and latents that are vectors,
and the arrays behind them: error maps, latent maps, iso-surfaces.
"""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.idx import write_mnist
from helpers.preparing import prepare
from helpers.programs import call
from helpers.training import make_config, never_stop
from PIL import Image

from orbit.core.groups import make_group
from orbit.core.pictures import read_frame_set
from orbit.core.store.reader import PairStore
from pipeline.evaluation.evaluate_run import write_events
from pipeline.measuring import spread_sources
from pipeline.methods.latent_action.measures import analyse
from pipeline.methods.latent_action.pictures.elements import (
    element_frames,
    predict,
    shrunk,
    slider_elements,
    varied_records,
    write_elements,
)
from pipeline.methods.latent_action.pictures.latents import error_maps, latent_rows, write_mask
from pipeline.methods.latent_action.pictures.write import (
    content_radius,
    slanted_view,
    surface_picture,
)
from pipeline.runs import load_run
from pipeline.training.run import train

TRAINING = ("epochs=1", "global_batch=4", "task.model.width=4", "compile=false")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[PairStore, Path]]:
    folder = tmp_path_factory.mktemp("pictured")
    write_mnist(folder / "mnist", 20, 8)
    root = f"source.root={folder / 'mnist'}"
    views = ("dataset=planes_views", "source.size=16")
    cases = {
        "blocked": (["dataset=rotated_blocked_mnist", root], ["experiment=rotated_blocked_mnist"]),
        "planes": (
            ["dataset=planes", "source.size=16", "num_samples=10"],
            ["experiment=planes"],
        ),
        "volumes": (
            ["dataset=brain_mri", "source.side=16", "num_samples=8"],
            ["experiment=brain_mri"],
        ),
        "vectors": (
            [*views, "num_samples=8", "dataset.num_drawn=3", "dataset.test_fraction=0.3"],
            ["experiment=planes_views", "task.model.vector_size=64"],
        ),
    }
    made = {}
    for name, (data, words) in cases.items():
        store = prepare(folder / name, *data)
        run_dir = folder / f"run_{name}"
        words = [*words, *TRAINING, "collapse.action=warn"]
        train(make_config(store.root, run_dir, *words), never_stop())
        made[name] = (store, run_dir)
    return made


WANTED = {
    "blocked": {"errors", "mask", "latent_maps", "swap"},
    "planes": {"errors", "mask", "latent_maps", "swap"},
    "volumes": {"errors", "mask", "latent_maps", "surface"},
    "vectors": {"errors", "mask", "swap"},
}
ANALYSES = {
    "blocked": {"block/share_invariant", "swap/background_rmse"},
    "planes": {"swap/background_rmse", "swap/unswapped_foreground_rmse"},
    "volumes": {"psnr/composed"},
    "vectors": {"swap/foreground_rmse"},
}


@pytest.mark.parametrize("case", list(WANTED))
def test_a_run_gets_the_pictures_that_fit(
    case: str, runs: dict[str, tuple[PairStore, Path]]
) -> None:
    _, run_dir = runs[case]
    assert call("pipeline/evaluate.py", f"run_dir={run_dir}", "analyses=false").code == 0
    pictures = sorted((run_dir / "pictures").glob("*.png"))
    assert {path.stem for path in pictures} == WANTED[case]
    for path in [run_dir / "orbits.png", *pictures]:
        with Image.open(path) as picture:
            assert np.asarray(picture.convert("L")).std() > 5, path.name


def test_tensorboard_shows_metrics_and_pictures(
    runs: dict[str, tuple[PairStore, Path]], tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_dir = shutil.copytree(runs["planes"][1], tmp_path / "run")
    assert call("pipeline/evaluate.py", f"run_dir={run_dir}", "analyses=false").code == 0
    (result,) = (run_dir / "evaluations").glob("*.json")
    content = json.loads(result.read_text())
    write_events(run_dir, content["step"], "test", content["metrics"])
    (file,) = (run_dir / "evaluations").glob("events.out.tfevents.*")
    events = EventAccumulator(str(file), size_guidance={"images": 0})
    events.Reload()
    assert set(events.Tags()["images"]) == {"orbits", *WANTED["planes"]}
    (image,) = events.Images("orbits")
    with Image.open(run_dir / "orbits.png") as picture:
        assert (image.width, image.height) == picture.size
    (result,) = (run_dir / "evaluations").glob("*.json")
    content = json.loads(result.read_text())
    (scalar,) = events.Scalars("test/psnr")
    assert (scalar.step, scalar.value) == (
        content["step"],
        pytest.approx(content["metrics"]["psnr"]),
    )


FRAMES = {  # rows, columns, elements, slices
    "blocked": (["source", "output", "truth"], 8, 4, 1),
    "planes": (["source", "output", "truth"], 2, 4, 1),
    "volumes": (["source", "output", "truth"], 1, 4, 16),
    "vectors": (["source", "output"], 2, 24, 1),
}


@pytest.mark.parametrize("case", list(FRAMES))
def test_frames_show_every_element(
    case: str, runs: dict[str, tuple[PairStore, Path]], tmp_path: Path
) -> None:
    store, run_dir = runs[case]
    run, reader = load_run(run_dir), store.split("test")
    shown = element_frames(run, store.manifest, reader)
    frames, labels, rows = np.stack(list(shown.frames)), shown.labels, shown.rows
    assert shown.num_sources == frames.shape[2]
    wanted_rows, num_columns, num_elements, num_slices = FRAMES[case]
    assert (rows, len(labels)) == (wanted_rows, num_elements)
    assert frames.shape[1:3] == (len(rows), num_columns)
    assert len(set(labels)) == num_elements
    found = write_elements(tmp_path / "elements", run, store.manifest, reader)
    assert read_frame_set(tmp_path / "elements") == found
    assert (found.num_slices, found.labels) == (num_slices, tuple(labels))
    for row, name in enumerate(rows):
        if name == "truth":
            # Under the identity a source stays as it is.
            np.testing.assert_allclose(frames[0, row], frames[0, 0], atol=1e-6)
    if case == "blocked":
        # Every frame that is stored is shown as it is stored.
        numbers = spread_sources(reader, num_columns)
        for place in range(4):
            records = reader.read(numbers + place)
            element = records.action[:, 0].astype(int)
            for column in range(num_columns):
                shown = frames[element[column], 2, column]
                np.testing.assert_allclose(shown, records.target[column] / 255, atol=1e-6)
                output = predict(run, records.source, records.action)
                shown = frames[element[column], 1, column]
                np.testing.assert_allclose(shown, output[column], atol=1e-4)


def test_frames_to_slide_through_are_shrunk_by_whole_blocks() -> None:
    """Means over blocks, no side longer than asked for; small frames as they are."""
    frames = np.arange(2 * 3 * 8 * 13, dtype=np.float32).reshape(2, 3, 8, 13)
    assert shrunk(frames, 13) is frames
    found = shrunk(frames, 5)
    assert found.shape == (2, 3, 2, 4)
    np.testing.assert_allclose(found[1, 2, 1, 3], frames[1, 2, 3:6, 9:12].mean())
    assert shrunk(np.ones((1, 1, 1, 4, 9)), 3).shape == (1, 1, 1, 1, 3)


def test_no_pictures_are_written_unasked(
    runs: dict[str, tuple[PairStore, Path]], tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    leave_out = shutil.ignore_patterns("*.png", "pictures", "evaluations")
    shutil.copytree(runs["planes"][1], run_dir, ignore=leave_out)
    assert call("pipeline/evaluate.py", f"run_dir={run_dir}", "pictures=false").code == 0
    assert list((run_dir / "evaluations").iterdir())
    assert not list(run_dir.rglob("*.png"))


@pytest.mark.parametrize("case", list(ANALYSES))
def test_analyses_do_not_depend_on_the_batch(
    case: str, runs: dict[str, tuple[PairStore, Path]]
) -> None:
    store, run_dir = runs[case]
    run, reader = load_run(run_dir), store.split("test")
    whole, parts = (analyse(run, store.manifest, reader, 9, batch) for batch in (64, 2))
    assert whole == pytest.approx(parts, rel=1e-4, abs=1e-6)
    assert all(math.isfinite(value) for value in whole.values())
    common = {"equivariance_error/latent", "composition_error/image", "composition_error/latent"}
    common |= {"baseline/psnr_copy", "baseline/psnr_mean"}
    assert whole.keys() >= common | ANALYSES[case]
    assert ("block/area_fraction" in whole) == (case == "blocked")
    assert ("psnr/composed" in whole) == (case == "volumes")


def test_error_maps_are_means_over_records(runs: dict[str, tuple[PairStore, Path]]) -> None:
    for case in ("planes", "volumes"):
        store, run_dir = runs[case]
        run, reader = load_run(run_dir), store.split("test")
        records = reader.read(np.arange(reader.num_records))
        error = np.abs(predict(run, records.source, records.action) - records.target / 255)
        found = error_maps(run, reader)
        assert list(found) == ["0", "90", "180", "270"]
        for turns, (count, mean) in enumerate(found.values()):
            chosen = error[records.action[:, 0] == turns]
            assert count == len(chosen)
            expected = chosen.reshape(len(chosen), -1, *mean.shape).mean((0, 1))
            np.testing.assert_allclose(mean, expected, atol=1e-6)


def test_latent_maps_turn_with_the_element(runs: dict[str, tuple[PairStore, Path]]) -> None:
    """The paper's own figure holds to this: |g z_v| is |z_v| turned, and |z| is the sum."""
    store, run_dir = runs["blocked"]
    run, reader = load_run(run_dir), store.split("test")
    numbers = varied_records(run, reader, 5)
    assert len(set(numbers.tolist())) == 5
    records = reader.read(numbers)
    assert records.action[:, 0].tolist() == [0, 1, 2, 3, 0]
    z, variant, invariant, moved, together = latent_rows(
        run, records.source, records.action
    ).values()
    for column, turns in enumerate(records.action[:, 0]):
        turned = np.rot90(variant[column], int(turns))
        np.testing.assert_allclose(turned, moved[column], rtol=1e-5)
        for parts, whole in ((variant, z), (moved, together)):
            np.testing.assert_allclose(parts[column] + invariant[column], whole[column], atol=1e-6)


def ball(radius: float, side: int = 24) -> np.ndarray:
    x = (2 * np.arange(side) + 1) / side - 1
    distance = np.sqrt(x[:, None, None] ** 2 + x[:, None] ** 2 + x**2)
    return np.asarray((0.5 + 4 * (radius - distance)).clip(0, 1), np.float32)


def is_white(picture: np.ndarray) -> np.ndarray:
    return np.asarray((picture == 1).all(-1))


def test_a_ball_looks_round_from_everywhere() -> None:
    volume = ball(0.7)
    assert content_radius(volume[None]) == pytest.approx(0.7, abs=0.1)
    for view in (np.eye(3), slanted_view()):
        picture = surface_picture(volume, view, 96, 1.0)
        assert (~is_white(picture)).mean() * 4 == pytest.approx(math.pi * 0.7**2, rel=0.03)
    assert is_white(surface_picture(np.zeros((4, 4, 4), np.float32), np.eye(3), 16, 1.0)).all()


def test_turning_the_volume_turns_the_surface() -> None:
    """The camera keeps to the group's convention: x right, y up, z to the viewer."""
    volume = ball(0.3)
    volume[:, 10:14, 12:20] = 1.0
    volume[14:, 4:8, 10:13] = 1.0
    front = surface_picture(volume, np.eye(3), 48, 1.0)
    assert not np.array_equal(is_white(front), is_white(front)[:, ::-1])
    turned = make_group("c4").act_on_image(torch.from_numpy(volume[None, None]), torch.tensor([1]))
    seen = surface_picture(turned[0, 0].numpy(), np.eye(3), 48, 1.0)
    assert (is_white(seen) != np.rot90(is_white(front))).mean() < 0.01
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    viewed = surface_picture(volume, quarter, 48, 1.0)
    assert (is_white(viewed) != is_white(seen)).mean() < 0.01
    aside = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    beside = surface_picture(volume, aside, 48, 1.0)
    silhouette = np.zeros((24, 24), bool)
    silhouette[:] = (volume >= 0.5).any(2).T  # rows y, columns z: z has become x
    assert (~is_white(beside)[1::2, 1::2] != silhouette).mean() < 0.05


def test_the_mask_needs_a_log_that_knows_of_one(tmp_path: Path) -> None:
    log, picture = tmp_path / "metrics.jsonl", tmp_path / "mask.png"
    assert not write_mask(picture, log)
    line = {"step": 1, "epoch": 0, "split": "train", "loss/total": 1.0}
    log.write_text(json.dumps(line) + "\n")
    assert not write_mask(picture, log)
    assert not picture.exists()
    line |= {"mask/fraction_variant": 0.5, "mask/flips_in_epoch": 3.0}
    log.write_text(json.dumps(line) + "\n")
    assert write_mask(picture, log)
    assert picture.exists()


@pytest.mark.parametrize(
    ("name", "num"),
    [
        ("c4", 4),
        ("octahedral", 24),
        ("so2", 24),
        ("so3", 24),
        ("so2+shift:16:3", 24),
        ("wrap2d:28:1", 8),
    ],
)
def test_elements_to_slide_through(name: str, num: int) -> None:
    group = make_group(name)
    elements = slider_elements(group)
    assert len(elements) == num
    assert torch.allclose(
        group.distance(elements[:1], group.identity(1)), torch.zeros(1), atol=1e-3
    )
    assert len(set(group.names(elements))) == num
    if group.num_elements is None:
        # One step after another, round to where it began.
        step = elements[1].expand_as(elements)
        ahead = group.compose(step, elements)
        apart = group.distance(ahead, elements.roll(-1, 0))
        assert float(apart.max()) < 1e-3
