"""Every part of the benchmarks at its smallest size: they run, and say what they must."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.waiting import PATIENCE_S

pytestmark = pytest.mark.usefixtures("starts_are_warm")

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture(scope="module")
def noise_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sys.path.insert(0, str(FOLDER))
    from synthetic import make_dataset

    sys.path.remove(str(FOLDER))
    return make_dataset(tmp_path_factory.mktemp("noise") / "data", (1, 28, 28), 300, 20)


def assert_sensible(report) -> None:
    assert report.rows
    assert report.checks
    assert all(math.isfinite(row.median) and row.best > 0 for row in report.rows)
    assert all(math.isfinite(check.measured) for check in report.checks)


def test_loader_part(noise_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import loader_speed

    monkeypatch.setattr(loader_speed, "WORKERS", (0,))
    assert_sensible(loader_speed.measure_loader(noise_dir, noise_dir, 1, 0.01))


def test_per_sample_reading_gives_the_same_records(noise_dir: Path) -> None:
    from loader_speed import ShardSamples

    from orbit.core.store.reader import PairStore

    store = PairStore(noise_dir)
    split = store.manifest.split("train")
    files = [noise_dir / shard.file for shard in split.shards]
    counts = [shard.num_records for shard in split.shards]
    want = store.split("train").read([0, 5, 1199])
    for through in ("map", "h5py"):
        samples = ShardSamples(files, counts, through)
        assert len(samples) == 1200
        for place, record in enumerate((0, 5, 1199)):
            source, target, action, _ = samples[record]
            assert (source.numpy() == want.source[place]).all()
            assert (target.numpy() == want.target[place]).all()
            assert (action.numpy() == want.action[place]).all()


def test_training_part(noise_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import training_speed

    monkeypatch.setattr(training_speed, "VARIANTS", {})
    monkeypatch.setattr(training_speed, "MODES", (False,))
    assert_sensible(training_speed.measure_training(noise_dir, 1, 1, 2))


def test_pairs_part() -> None:
    import loader_speed

    words = ("experiment=rotated_mnist_so2", "task.model.width=2", "global_batch=8")
    tiny = loader_speed.Setting("so2", (1, 28, 28), 40, words)
    report = loader_speed.measure_pairs((tiny,), num_rounds=1, num_steps=1, seconds=0.01)
    assert all(math.isfinite(row.median) and row.best > 0 for row in report.rows)
    drawn, sources = (row.median for row in report.rows[:2])
    assert 7 < drawn / sources < 10
    assert len(report.notes) == 1


def test_the_three_loops_compute_the_same_loss(noise_dir: Path) -> None:
    """All contenders do the same work: equal model, batch and turns give equal losses."""
    import torch
    from training_speed import loss_of, losses_of, make_model

    from orbit.core.store.reader import PairStore
    from pipeline.methods.latent_action.objective import LatentActionObjective
    from pipeline.methods.latent_action.settings import LossWeights

    store = PairStore(noise_dir)
    reader = store.split("train")
    batch = [torch.from_numpy(values) for values in reader.read(range(40, 72))]
    source, target, action, label = batch
    model = make_model(store.manifest)
    g = model.group.decode(action)
    images = model.normalise(source)
    want, _ = LatentActionObjective(model, LossWeights(), "stop_gradient")(
        *batch, torch.ones(len(label))
    )
    hand = losses_of(model, images, g)
    paper = loss_of(model, images, model.normalise(target), g * 90.0)
    assert torch.allclose(hand, want, rtol=1e-6)
    assert torch.allclose(paper, want, rtol=1e-6)


def test_rank_part(noise_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import rank_speed

    monkeypatch.setattr(rank_speed, "TIMEOUT_S", PATIENCE_S)
    report = rank_speed.measure_ranks(noise_dir, 1, 128, (64,))
    assert len(report.rows) == 3
    assert any("ms on one rank" in note for note in report.notes)


def test_startup_part(noise_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import startup

    monkeypatch.setattr(startup, "TIMEOUT_S", PATIENCE_S)
    seconds = startup.seconds_to_first_step(noise_dir)
    assert seconds > 0
    monkeypatch.setattr(startup, "seconds_to_first_step", lambda data: seconds)
    monkeypatch.setattr(startup, "drop_page_cache", lambda: False)
    assert_sensible(startup.measure_startup(noise_dir, 1, (300,)))


def test_tables_and_plain_values() -> None:
    from measuring import (
        Check,
        PartReport,
        Row,
        as_markdown,
        as_plain,
        describe_machine,
        machine_line,
    )

    checks = [Check("speed", 2.0, 3.0), Check("share", 0.05, 0.1, is_upper_limit=True)]
    report = PartReport("(x) Things", [Row("thing", 1234.0, 2000.0)], checks, ["A note."])
    machine = describe_machine()
    assert machine["packages"]["torch"] in machine_line(machine)
    text = as_markdown(report)
    assert "| thing | 1,234 | 2,000 | pairs/s |" in text
    assert "| speed | >= 2 | 3 | met |" in text
    assert "| share | <= 0.05 | 0.1 | missed |" in text
    plain = json.loads(json.dumps(as_plain(machine, [report])))
    assert [check["is_met"] for check in plain["parts"][0]["checks"]] == [True, False]


def test_contenders_take_turns_after_a_round_of_warming_up() -> None:
    from measuring import fastest, ratio, take_turns

    calls = []

    def lap(name: str, rate: float):
        return lambda: calls.append(name) or rate

    rates = take_turns({"a": lap("a", 2.0), "b": lap("b", 6.0)}, 2)
    assert calls == ["a", "b"] * 3
    assert rates == {"a": [2.0, 2.0], "b": [6.0, 6.0]}
    assert ratio(rates, "b", "a") == 3.0
    assert fastest(rates, ["a", "b"]) == "b"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["parts=lodaer"], "parts=lodaer"),
        (["x=1"], "x=1"),
        (["mnist=/nowhere"], "/nowhere"),
        (["parts=gpu", "minutes=soon"], "minutes=soon"),
    ],
)
def test_mistakes_are_one_line(words: list[str], complaint: str) -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / "run.py"), *words], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert complaint in done.stderr


def test_preparation_part(monkeypatch: pytest.MonkeyPatch) -> None:
    import measuring
    import preparation_speed

    few = {"volumes 1x32x32x32 under SO(3)": ["dataset=brain_mri_so3", "num_samples=3"]}
    monkeypatch.setattr(preparation_speed, "GENERATED", few)
    monkeypatch.setattr(preparation_speed, "MNIST_SIZES", {"train": 50, "test": 20})
    monkeypatch.setattr(preparation_speed, "NUM_DIFFERENT", 4)
    monkeypatch.setattr(preparation_speed, "NUM_COPIES", 2)
    monkeypatch.setattr(measuring, "NUM_WORKERS", 1)
    report = preparation_speed.measure_preparation(None, num_times=1)
    assert_sensible(report)
    assert {row.unit for row in report.rows} == {"s", "frames/s", "pictures/s"}


def test_worlds_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import measuring
    import preparation_speed

    one = ("num_episodes=2", "dataset.num_test_episodes=1", "dataset.num_val_episodes=1")
    board = preparation_speed.World(("dataset=rush_hour", *one))
    monkeypatch.setattr(preparation_speed, "WORLDS", {"Rush Hour": board})
    monkeypatch.setattr(preparation_speed, "TEAPOT_SIZE", (*one, "dataset.world.size=16"))
    monkeypatch.setattr(preparation_speed, "MEMORY_EPISODES", ())
    mesh = tmp_path / "solid.obj"
    mesh.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 2\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n")
    monkeypatch.setattr(measuring, "NUM_WORKERS", 1)
    report = preparation_speed.measure_worlds(mesh, num_times=1)
    assert_sensible(report)
    names = ["Rush Hour, 340 transitions", "Teapot 1x64x64, solid.obj, 14 frames"]
    assert [row.name for row in report.rows] == names
    assert [row.unit for row in report.rows] == ["transitions/s", "frames/s"]
    assert [check.required for check in report.checks] == [20_000, 1_000]


def test_world_models_part(monkeypatch: pytest.MonkeyPatch) -> None:
    import training_speed
    from training_speed import CONTESTS, WORLD_MODES

    monkeypatch.setattr(training_speed, "WORLD_MODES", dict(list(WORLD_MODES.items())[::2]))
    few = dataclasses.replace(
        CONTESTS["2D Shapes Ours"],
        prepare=("dataset=shapes_2d", "num_episodes=2", "episode_length=20"),
        batch=8,
    )
    report = training_speed.measure_world_models(1, 1, 1, {"Shapes": few})
    assert_sensible(report)
    assert [row.unit for row in report.rows] == ["ms", "ms"]
    assert report.checks[0].is_upper_limit


def test_validation_part(noise_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import validation_speed

    monkeypatch.setattr(validation_speed, "LARGE", (3, 16, 16))
    monkeypatch.setattr(validation_speed, "SOLID", (1, 12, 12, 12))
    report = validation_speed.measure_validation(noise_dir, noise_dir, 1, 1, 4, 4)
    assert_sensible(report)
    assert [check.required for check in report.checks] == [1.3] * 4
    assert all(check.is_upper_limit for check in report.checks)
