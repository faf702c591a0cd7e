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

from data_prep.store.reader import PairStore
from pipeline.analysis.analyse import analyse
from pipeline.evaluation.pictures.errors import error_maps
from pipeline.evaluation.pictures.latent_maps import latent_rows
from pipeline.evaluation.pictures.mask import write_mask
from pipeline.evaluation.pictures.prediction import predict, varied_records
from pipeline.evaluation.pictures.ray_march import content_radius, surface_picture
from pipeline.evaluation.pictures.surface import slanted_view
from pipeline.groups import make_group
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
