"""Every dataset that needs no download becomes a trained and evaluated model, in miniature.

Protects the joints between preparation, loader, model and evaluation for images and
volumes, grey, coloured and binary, exact and continuous groups, and all latent actions.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.preparing import prepare
from helpers.programs import call
from helpers.training import make_config, never_stop

from data_prep.sheets import action_names
from data_prep.verification.datasets import verify_dataset
from orbit.core.pictures import as_picture
from orbit.core.store.reader import PairStore
from pipeline.data.batches import EvaluationBatches
from pipeline.data.loader import Loader, LoaderConfig
from pipeline.methods.latent_action.pictures import orbit_records
from pipeline.runs import load_run
from pipeline.training.distributed import World, evaluate
from pipeline.training.run import train

pytestmark = pytest.mark.usefixtures("starts_are_warm")

CPU = torch.device("cpu")
SMALL = ("num_samples=8", "dataset.shard_mib=0.5")

CASES = {
    "planes": (["dataset=planes", "source.size=16"], ["experiment=planes"]),
    "planes_views": (
        ["dataset=planes_views", "source.size=16", "dataset.num_drawn=3"],
        ["experiment=planes_views", "task.model.vector_size=64"],
    ),
    "brain_mri": (["dataset=brain_mri", "source.side=16"], ["experiment=brain_mri"]),
    "brain_mri_so3": (
        ["dataset=brain_mri_so3", "source.side=28", "dataset.num_drawn=2"],
        ["experiment=brain_mri_so3"],
    ),
    "cube_rotations": (
        ["dataset=brain_mri", "source.side=16", "dataset.group=octahedral"]
        + [f"dataset.{split}_pairs=orbit" for split in ("train", "val", "test")],
        ["experiment=brain_mri", "task.action.name=representation", "task.model.vector_size=10"],
    ),
    "residual_d4": (
        ["dataset=planes", "source.size=16", "dataset.group=d4"],
        ["experiment=planes", "task.model.name=residual", "task.model.depth=2"],
    ),
}


def train_words(folder: Path, case: str) -> tuple[PairStore, tuple[str, ...]]:
    words, chosen = CASES[case]
    store = prepare(folder / case, *words, *SMALL)
    more = (
        "epochs=1",
        "global_batch=4",
        *([] if "residual" in case else ["task.model.width=4"]),
        "compile=false",
        "collapse.action=warn",
    )
    return store, (*chosen, *more)


@pytest.mark.parametrize("case", list(CASES))
def test_a_dataset_becomes_a_model(case: str, tmp_path: Path) -> None:
    store, words = train_words(tmp_path, case)
    assert len(list(verify_dataset(store.root))) == 3
    result = train(make_config(store.root, tmp_path / "run", *words), never_stop())
    metrics = result["metrics"]
    assert all(math.isfinite(value) for value in metrics.values())
    assert metrics["equivariance_error/variant"] > 0
    run = load_run(tmp_path / "run")
    found = []
    for batch in (3, 64):
        batches = EvaluationBatches(store.split("test"), batch, 0, 1)
        loader = Loader(batches, 0, batches.num_steps, CPU, LoaderConfig())
        found.append(evaluate(run.task.evaluation(run.model), loader, World(0, 1, CPU)))
    assert found[0] == pytest.approx(found[1], rel=1e-5, abs=1e-6)


def test_binary_shapes_get_logits_and_dice(tmp_path: Path) -> None:
    """A perfect model of shapes has dice 1, one that says nothing has 0."""
    meshes = tmp_path / "meshes"
    meshes.mkdir()
    import trimesh

    trimesh.creation.box((1.0, 0.6, 0.3)).export(meshes / "box.obj")
    trimesh.creation.icosphere(2).export(meshes / "ball.obj")
    words = ["dataset=adrenal", "source=meshes", f"source.root={meshes}", "source.side=12", *SMALL]
    store = prepare(tmp_path / "data", *words)
    assert store.manifest.frames.values == "binary"
    words = ["experiment=adrenal", "epochs=1", "global_batch=4", "collapse.action=warn"]
    train(make_config(store.root, tmp_path / "run", *words), never_stop())
    run = load_run(tmp_path / "run")
    reader = store.split("test")
    batches = EvaluationBatches(reader, 4, 0, 1)

    def dice_of(truth: bool) -> dict[str, float]:
        model = run.model
        decode = model.decode_raw
        wanted = iter(
            [
                reader.read(
                    np.arange(n, min(n + 4, reader.num_records)) % reader.num_records
                ).target
                for n in range(0, reader.num_records, 4)
            ]
        )

        def decode_raw(parts: object) -> torch.Tensor:
            raw: torch.Tensor = decode(parts)
            target = torch.from_numpy(next(wanted)).float() / 255 * 40 - 20
            out = torch.full_like(raw, -20.0)
            if truth:
                out[: len(target)] = target
            return out

        model.decode_raw = decode_raw  # type: ignore[method-assign]
        loader = Loader(batches, 0, batches.num_steps, CPU, LoaderConfig())
        metrics = evaluate(run.task.evaluation(model), loader, World(0, 1, CPU))
        model.decode_raw = decode  # type: ignore[method-assign]
        return metrics

    perfect, silent = dice_of(True), dice_of(False)
    assert perfect["dice"] == 1.0
    assert perfect["loss/recon"] == pytest.approx(0.0, abs=1e-6)
    assert silent["dice"] == 0.0
    assert silent["loss/recon"] > 1.0


def test_programs_show_volumes_and_views(tmp_path: Path) -> None:
    for case in ("brain_mri", "planes_views"):
        store, words = train_words(tmp_path, case)
        run_dir = tmp_path / f"run_{case}"
        train(make_config(store.root, run_dir, *words), never_stop())
        assert call("pipeline/evaluate.py", f"run_dir={run_dir}", "json=true").code == 0
        assert (run_dir / "orbits.png").read_bytes().startswith(b"\x89PNG")
        assert call("data_prep/show.py", str(store.root)).code == 0
        metrics = json.loads(next((run_dir / "evaluations").glob("step_*.json")).read_text())[
            "metrics"
        ]
        assert any(name.startswith("psnr/") for name in metrics)


def test_pictures_take_whole_runs_of_a_source(tmp_path: Path) -> None:
    store = prepare(tmp_path / "d", "dataset=rotated_digits", "num_samples=40")
    reader = store.split("test")
    numbers = orbit_records(reader, 4)
    assert numbers.shape == (4, 4)
    sources = reader.read_column("source", numbers.reshape(-1)).reshape(4, 4)
    assert (sources == sources[0]).all()
    assert len(set(sources[0].tolist())) == 4
    turns = reader.read(numbers.reshape(-1)).action.reshape(4, 4)
    assert turns.tolist() == [[k] * 4 for k in range(4)]


def test_a_volume_is_shown_by_its_middle_slices() -> None:
    volume = np.arange(2 * 4 * 6, dtype=np.float32).reshape(1, 2, 4, 6) / 48
    picture = as_picture(volume)
    assert picture.shape == (4, 6 + 1 + 6 + 1 + 4)
    assert np.array_equal(picture[:, :6], volume[0, 1])
    assert np.array_equal(picture[:2, 7:13], volume[0, ::-1, 2])
    assert np.array_equal(picture[:2, 14:], volume[0, ::-1, :, 3])


def test_actions_of_a_world_are_shown_as_numbers(episode_dir: Path) -> None:
    manifest = PairStore(episode_dir).manifest
    assert action_names(manifest, np.array([[1.0, -1.0]], np.float32)) == ["1, -1"]
    turned = PairStore(episode_dir)
    assert turned.manifest.group == "c4"
