"""The measures that methods share, of latents that do everything right, or nothing.

Protects that views are those that preparation stores, that perfect and constant latents score what
they must through the whole program, that nothing is left out without a reason, and that a method of
a package is measured by one field.
"""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.preparing import prepare
from torch import nn

from orbit.core.groups import make_group
from orbit.core.store.manifest import Manifest
from orbit.core.store.reader import PairStore
from pipeline.evaluation.evaluate_run import evaluate_run
from pipeline.methods.interface import Latents
from pipeline.methods.table import METHODS
from pipeline.probing.features import find_images
from pipeline.referee import measure as referee
from pipeline.referee.fits import Single, class_scores
from pipeline.referee.measure import in_range
from pipeline.referee.scores import image_scores, predictions
from pipeline.referee.views import Coder, MadeViews, StoredViews, common_elements, make_views, see
from pipeline.settings import EvaluateConfig

CPU = torch.device("cpu")
MODELS = (nn.Linear(1, 1), nn.Linear(1, 1))


def pixels(model: nn.Module, manifest: Manifest) -> Latents:
    """Latents are the frames themselves: a perfect model."""
    group = make_group(manifest.group)

    def encode(frames: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"z": frames.float() / 255}

    return Latents(encode, "z", group.act_on_image, lambda parts: parts["z"])


def constant(model: nn.Module, manifest: Manifest) -> Latents:
    def encode(frames: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"z": torch.ones(len(frames), 4)}

    shape = manifest.frames.shape

    def decode(parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return torch.zeros(len(parts["z"]), *shape)

    return Latents(encode, "z", lambda z, g: z, decode)


@pytest.fixture(scope="module")
def shifts(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    """Digits under 64 shifts."""
    words = ("dataset=rotated_digits", "dataset.group=wrap2d:16:2", "num_samples=60")
    drawn = [f"dataset.{split}_pairs=drawn" for split in ("train", "val", "test")]
    return prepare(tmp_path_factory.mktemp("shifts") / "data", *words, *drawn)


# Views


def test_made_views_are_those_that_preparation_stores(digits_dir: Path) -> None:
    store = PairStore(digits_dir)
    made, images = make_views(store, "test"), find_images(store, "test")
    assert isinstance(made, MadeViews)
    stored = StoredViews(store.split("test"), images, make_group("c4"))
    objects, views = np.array([3, 0, 29]), np.tile(np.arange(4), (3, 1))
    np.testing.assert_array_equal(made.elements(objects), stored.elements(objects))
    np.testing.assert_array_equal(made.frames(objects, views), stored.frames(objects, views))
    np.testing.assert_array_equal(made.sources(objects), stored.sources(objects))
    some = np.array([[2], [1], [3]])
    wanted = np.take_along_axis(made.frames(objects, views), some[..., None, None, None], 1)
    np.testing.assert_array_equal(made.frames(objects, some), wanted)


def test_common_elements() -> None:
    assert len(common_elements(make_group("c4"), 36, 64)) == 4
    angles = common_elements(make_group("so2"), 36, 64)
    assert torch.allclose(angles.diff(), torch.tensor(2 * torch.pi / 36))
    drawn = common_elements(make_group("so3"), 36, 64)
    assert drawn[0].tolist() == [1, 0, 0, 0]
    assert torch.equal(drawn, common_elements(make_group("so3"), 36, 64))


def test_classes_are_fitted_near_the_identity_or_where_training_was() -> None:
    group = make_group("c4")
    elements = torch.arange(4)[None]
    assert in_range(group, elements, None).tolist() == [[True, True, False, True]]
    assert in_range(group, elements, ("0", "180")).tolist() == [[True, False, True, False]]
    turn = common_elements(make_group("so2"), 36, 64)[None]
    assert int(in_range(make_group("so2"), turn, None).sum()) == 19


# Scores


def test_a_perfect_model_is_perfect_everywhere(shifts: PairStore) -> None:
    found = referee.measure(pixels, MODELS, shifts, "test", 64)
    scores = found.metrics
    assert scores["orbit_psnr/given"] == scores["orbit_psnr/swapped"] == 100
    assert scores["inferred/hits"] == 1
    assert scores["inferred/hits_chance"] == 1 / 64
    assert scores["retrieval/mrr"] == scores["retrieval/hits_at_1"] == 1
    assert scores["equivariance_gain/cosine"] > 0.1
    assert "equivariance_gain/ratio" not in scores, "its prediction is exact"
    assert scores["class_out_of_range/pose_known"] == scores["class_in_range/pose_known"]
    assert max(scores[f"orbit_psnr/{name}"] for name in ("black", "copy", "mean")) < 30
    assert "allowed c4, so2, so3" in found.refused["pose_r2"]
    assert "36 equal angles" in found.refused["d_lsbd"]


def test_floors_stand_beside_seen_and_unseen_elements(digits_dir: Path) -> None:
    store = PairStore(digits_dir)
    coder = Coder(pixels(MODELS[0], store.manifest), make_group("c4"), CPU, 64)
    views = make_views(store, "test")
    seen = see(coder, views, np.arange(5), np.tile(np.arange(4), (5, 1)))
    predicted = predictions(coder, seen)
    bins = ("0", "180")
    scores = image_scores(coder, seen, predicted, seen.elements, (0.0, 255.0), bins)
    frames = seen.frames.astype(np.float64) / 255
    copy = (frames - seen.source_frames[:, None] / 255) ** 2
    for which, chosen in (("", range(4)), ("/seen_elements", (0, 2)), ("/unseen_elements", (1, 3))):
        assert scores[f"orbit_psnr/given{which}"] == scores[f"orbit_psnr/swapped{which}"] == 100
        error = copy[:, list(chosen)].mean()
        assert scores[f"orbit_psnr/copy{which}"] == pytest.approx(-10 * np.log10(error), rel=1e-5)
        black = (frames[:, list(chosen)] ** 2).mean()
        assert scores[f"orbit_psnr/black{which}"] == pytest.approx(-10 * np.log10(black), rel=1e-5)


def test_classes_without_training_images_are_refused(shifts: PairStore) -> None:
    """Objects of the test split may be new, and then their labels are."""
    coder = Coder(pixels(MODELS[0], shifts.manifest), make_group("wrap2d:16:2"), CPU, 64)
    views = make_views(shifts, "train")
    seen = see(coder, views, np.arange(6), np.zeros((6, 1), np.int64))
    train, others = (Single(seen, np.arange(start, start + 6)) for start in (0, 4))
    with pytest.raises(ValueError, match="classes without training"):
        class_scores(coder, train, train, {"out_of_range": others})
    with pytest.raises(ValueError, match="same label"):
        class_scores(coder, Single(seen, np.zeros(6)), train, {})


def test_latents_that_know_nothing_score_chance(shifts: PairStore) -> None:
    found = referee.measure(constant, MODELS, shifts, "test", 64)
    assert found == referee.measure(constant, MODELS, shifts, "test", 64), "the same views"
    scores = found.metrics
    assert scores["retrieval/mrr"] == pytest.approx(scores["retrieval/mrr_chance"])
    assert scores["retrieval/hits_at_1"] == pytest.approx(1 / 64)
    assert scores["inferred/hits"] == pytest.approx(1 / 64)
    assert (scores["equivariance_gain/cosine"], scores["equivariance_gain/ratio"]) == (0, 1)
    assert scores["orbit_psnr/given"] == scores["orbit_psnr/black"]
    for name in ("pose_known", "pose_inferred", "no_action"):
        assert scores[f"class_out_of_range/{name}"] <= scores["class_out_of_range/chance"]


def test_what_a_method_lacks_is_refused_by_name(digits_dir: Path, episode_dir: Path) -> None:
    store = PairStore(digits_dir)

    def without_decoder(model: nn.Module, manifest: Manifest) -> Latents:
        whole = pixels(model, manifest)
        return Latents(whole.encode, whole.acted, whole.act)

    found = referee.measure(without_decoder, MODELS, store, "test", 64)
    assert "no decoder" in found.refused["orbit_psnr"]
    assert "an orbit has 4 views" in found.refused["retrieval"]
    assert found.metrics["inferred/pose_error"] == 0
    assert found.metrics["inferred/pose_error_chance"] == pytest.approx(0.5)
    of_pixels = found.metrics["pose_r2/gaussian/pixels"]
    assert found.metrics["pose_r2/gaussian/z"] == pytest.approx(of_pixels, abs=1e-4)
    assert of_pixels > 0.3
    assert found.metrics["pose_r2/mean"] < 0.05

    def without_action(model: nn.Module, manifest: Manifest) -> Latents:
        return Latents(pixels(model, manifest).encode)

    found = referee.measure(without_action, MODELS, store, "test", 64)
    assert all(name.startswith(("pose_r2", "relative_r2")) for name in found.metrics)
    assert any("acted on" in reason for reason in found.refused.values())
    with pytest.raises(ValueError, match="actions of pushed_dot are not elements of c4"):
        referee.measure(pixels, MODELS, PairStore(episode_dir), "test", 64)
    with pytest.raises(ValueError, match="both or neither"):
        Latents(lambda frames: {}, "z")


def test_a_call_that_would_measure_nothing_is_refused_before_the_evaluation(
    digits_run: Path, episode_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(digits_run, run_dir)
    with pytest.raises(ValueError, match="referee=true needs views of objects: the actions of"):
        evaluate_run(EvaluateConfig(str(run_dir), data=str(episode_dir), referee=True))
    silent = dataclasses.replace(METHODS["latent_action"], latents=None)
    monkeypatch.setitem(METHODS, "latent_action", silent)
    with pytest.raises(ValueError, match="latent_action offers no latent"):
        evaluate_run(EvaluateConfig(str(run_dir), referee=True))
    assert not list(run_dir.glob("evaluations/*"))


def test_stored_views_are_enough(tmp_path: Path) -> None:
    """Blocks do not move: views cannot be made. Only what needs common elements is refused."""
    from helpers.idx import write_mnist

    write_mnist(tmp_path / "mnist")
    words = ("dataset=rotated_blocked_mnist", f"source.root={tmp_path / 'mnist'}")
    found = referee.measure(pixels, MODELS, prepare(tmp_path / "data", *words), "test", 64)
    assert "same elements" in found.refused["orbit_psnr/swapped"]
    assert found.metrics["orbit_psnr/given"] < 100, "the model turns the block, too"


def test_an_evaluation_holds_them_with_their_meanings(
    digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(digits_run, run_dir)
    result = evaluate_run(
        EvaluateConfig(str(run_dir), pictures=False, analyses=False, referee=True)
    )
    assert result["metrics"]["orbit_psnr/swapped"] > 0
    (file,) = (run_dir / "evaluations").glob("step_*-test.json")
    written = json.loads(file.read_text())
    assert written["not_measured"].keys() == {"retrieval", "d_lsbd"}
    assert "not measured: retrieval: an orbit has 4 views" in capsys.readouterr().err
    meant = {each["name"] for each in written["meanings"]}
    assert {"orbit_psnr/given", "class_out_of_range/pose_inferred", "pose_r2_pooled"} <= meant
    curves = json.loads(file.with_name(file.stem + "-curves.json").read_text())
    assert curves["pose_r2_of_components"]["mean"].keys() == {"cosine", "sine"}
