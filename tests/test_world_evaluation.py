"""World models are measured as their definitions say, on episodes with twins.

Protects what is read of a dataset, and metrics of models whose faults are known: exact
ones, ones whose latents lean to one side, collapsed ones, and ones that stand still.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.preparing import prepare
from helpers.tiny_rotations import ReadingModel, TinyRotations, UnrelatedModel, draw_this_world
from helpers.tiny_world import ExactModel, TinyWorld, make_store, turn_state

from orbit.core.groups import make_group, quaternions
from orbit.core.store.facts import Solid
from orbit.core.store.reader import PairStore
from pipeline.data.batches import EvaluationBatches
from pipeline.evaluation.evaluate_run import untransformed_records
from pipeline.methods.world_model.measures.encoding import (
    Episodes,
    MeasuredModel,
    encode_frames,
    partners,
    read_episodes,
    roll_out,
)
from pipeline.methods.world_model.measures.following import divisions, seen_rollouts
from pipeline.methods.world_model.measures.measure import measure_episodes
from pipeline.methods.world_model.measures.turning import hard_hit_metrics, traverse
from pipeline.metrics.images import DistanceErrors
from pipeline.world_models.building import make_world_model
from pipeline.world_models.settings import GridModelConfig

CPU = torch.device("cpu")
TILT = 0.3


class Tilted(ExactModel):
    """One number of every latent is too large, which quarter turns do not know."""

    def encode(self, embedding: torch.Tensor) -> torch.Tensor:
        return self._tilted(super().encode(embedding), TILT)

    def predict(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return self._tilted(super().predict(self._tilted(latent, -TILT), action), TILT)

    def _tilted(self, latent: torch.Tensor, by: float) -> torch.Tensor:
        latent = latent.clone()
        latent[:, 0, 0, 0] += by
        return latent


class Stretched(ExactModel):
    """Rows count twice, so that distances change when the board turns."""

    def encode(self, embedding: torch.Tensor) -> torch.Tensor:
        return super().encode(embedding)[:, :, 0] * torch.tensor([2.0, 1.0])

    def predict(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return latent

    def act_on_latent(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        raise ValueError("this model has no action on latents")


class Collapsed(ExactModel):
    def encode(self, embedding: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(embedding), 2, 4, 2)

    def predict(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return latent


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    return make_store(tmp_path_factory.mktemp("tiny") / "data", TinyWorld())


def episodes_of(store: PairStore, max_episodes: int | None = None) -> Episodes:
    reader, group = store.split("test"), make_group(store.manifest.group)
    return read_episodes(store.manifest, reader, "test", group, max_episodes)


def measured(
    model: MeasuredModel, store: PairStore, batch: int = 64
) -> tuple[dict[str, float], dict[str, Any]]:
    return measure_episodes(model, episodes_of(store), store.manifest, batch, CPU)


def test_episodes_are_what_was_written(store: PairStore) -> None:
    world, episodes = TinyWorld(), episodes_of(store)
    numbers, times = np.array([3, 0, 11]), [0, 4, 10, 2]
    for twin in range(4):
        frames = episodes.frames(numbers, twin, times)
        actions = episodes.actions(numbers, twin, 6)
        assert episodes.elements(numbers, twin).tolist() == [twin] * 3
        for place, episode in enumerate(numbers):
            states, taken = world.episode(int(episode))
            shown = turn_state(states, twin)[times]
            where = frames[place].reshape(len(times), 2, -1).argmax(-1)
            np.testing.assert_array_equal(where, shown[..., 0] * 5 + shown[..., 1])
            wanted = (taken[:6, 1] - twin) % 4
            np.testing.assert_array_equal(actions[place, :, 1], wanted)
    assert [len(block) for block in episodes_of(store, 7).blocks(3)] == [3, 3, 1]


def test_datasets_without_episodes_are_refused(digits_dir: Path) -> None:
    with pytest.raises(ValueError, match="holds no episodes of a world"):
        episodes_of(PairStore(digits_dir))


def test_an_exact_model_is_perfect(store: PairStore) -> None:
    metrics, curves = measured(ExactModel(), store)
    for h in (1, 5, 10):
        assert metrics[f"hits_at_1/horizon_{h}"] == metrics[f"mrr/horizon_{h}"] == 1
        assert metrics[f"rollout_error/horizon_{h}"] == 0
        assert metrics[f"change_error/horizon_{h}"] == 0
        assert metrics[f"latent_spread/horizon_{h}"] > 1
    errors = [name for name in metrics if "error" in name]
    for part in ("embedding", "encoder", "latent", "transition", "model/horizon_10"):
        assert f"equivariance_error/{part}" in errors
        assert f"equivariance_error_centred/{part}" in errors
    for part in ("embedding", "latent", "model/horizon_1"):
        for form in ("raw", "centred"):
            assert f"distance_invariance_error_{form}/{part}" in errors
    # Frames of two pieces are all equally distant.
    chance = [name for name in errors if "over_chance" in name]
    assert chance[0] == "distance_invariance_error_over_chance/latent"
    assert {name: metrics[name] for name in errors} == dict.fromkeys(errors, 0)
    assert list(curves["equivariance_error"]["embedding"]) == ["90", "180", "270"]
    assert curves["drift"]["steps_measured"] == 10
    assert curves["drift"]["steps_wanted"] == 100
    json.dumps(curves, allow_nan=False)


def test_latents_that_lean_are_not_equivariant_but_keep_distances(store: PairStore) -> None:
    metrics, curves = measured(Tilted(), store)
    for part in ("encoder", "latent", "transition", "model/horizon_10"):
        raw = metrics[f"equivariance_error_raw/{part}"]
        assert raw == pytest.approx(TILT * math.sqrt(2), rel=1e-5), part
    norm = encoded_norm(Tilted(), store)
    relative = metrics["equivariance_error/latent"]
    assert relative == pytest.approx(TILT * math.sqrt(2) / norm, rel=1e-5)
    for each in curves["equivariance_error"]["latent"].values():
        assert each["raw"] == pytest.approx(TILT * math.sqrt(2), rel=1e-5)
        assert each["num"] == 12
    assert metrics["equivariance_error/embedding"] == 0
    assert metrics["distance_invariance_error/latent"] == pytest.approx(0, abs=1e-6)
    assert metrics["distance_invariance_error/model/horizon_5"] == pytest.approx(0, abs=1e-6)
    assert metrics["hits_at_1/horizon_10"] == 1


class Unrelated(ExactModel):
    """Latents are noise, drawn anew for every frame, that quarter turns permute; no prediction."""

    def __init__(self, size: int, constant: float = 0.0, factor: float = 1.0) -> None:
        super().__init__()
        self.size, self.constant, self.factor = size, constant, factor
        self.draws = torch.Generator().manual_seed(1)

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(len(images), self.size, 4, generator=self.draws)
        return self.factor * (noise + self.constant)

    def encode(self, embedding: torch.Tensor) -> torch.Tensor:
        return embedding

    def predict(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return latent

    def act_on_embedding(self, embedding: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        places = (torch.arange(4) + g.view(-1, 1).long()) % 4
        return embedding.gather(2, places[:, None].expand_as(embedding))

    act_on_latent = act_on_embedding


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    return make_store(
        tmp_path_factory.mktemp("many") / "data", TinyWorld(num_episodes=200, length=5)
    )


def expected_of_normal(size: int) -> float:
    """The mean of |z - z'| by its root mean square, for `size` independent normal numbers."""
    return math.sqrt(2 / size) * math.gamma((size + 1) / 2) / math.gamma(size / 2)


def test_unrelated_latents_have_centred_errors_known_in_closed_form(many: PairStore) -> None:
    """Whatever constant and factor they have; by the norm a constant makes them look good."""
    plain, _ = measured(Unrelated(2), many)
    moved, _ = measured(Unrelated(2, constant=50.0, factor=-3.0), many)
    for part in ("embedding", "latent", "model/horizon_5"):
        name = f"equivariance_error_centred/{part}"
        assert plain[name] == pytest.approx(expected_of_normal(8), rel=0.05), part
        assert moved[name] == pytest.approx(plain[name], rel=1e-4), part
        assert moved[f"equivariance_error/{part}"] < 0.05 < plain[f"equivariance_error/{part}"]
    for part in ("embedding", "latent", "model/horizon_5"):
        for form, expected in (("centred", 0.278), ("over_chance", 1.0)):
            name = f"distance_invariance_error_{form}/{part}"
            assert plain[name] == pytest.approx(expected, rel=0.1), name
            assert moved[name] == pytest.approx(plain[name], rel=1e-4), name
        assert moved[f"distance_invariance_error/{part}"] < 0.02


def test_a_constant_that_the_group_moves_is_an_error_and_keeps_distances(store: PairStore) -> None:
    exact, _ = measured(ExactModel(), store)
    metrics, _ = measured(Tilted(), store)
    spread = metrics["latent_spread/horizon_5"]
    assert spread == pytest.approx(exact["latent_spread/horizon_5"], rel=1e-6)
    centred = metrics["equivariance_error_centred/model/horizon_5"]
    assert centred == pytest.approx(TILT / spread, rel=1e-5)
    for form in ("centred", "over_chance"):
        error = metrics[f"distance_invariance_error_{form}/model/horizon_5"]
        assert error == pytest.approx(0, abs=1e-6)


def test_chance_is_the_change_between_different_pairs() -> None:
    """Against loops."""
    group = make_group("c4")
    draws = torch.Generator().manual_seed(0)
    plain, moved = torch.rand(2, 9, generator=draws).double()
    errors = DistanceErrors(group)
    for part in (slice(0, 4), slice(4, 9)):
        g = torch.ones(len(plain[part]), dtype=torch.int64)
        errors.add(g, plain[part], moved[part], torch.ones(len(g)))
    wanted = [abs(a - b) for i, a in enumerate(plain) for j, b in enumerate(moved) if i != j]
    assert errors.chance == pytest.approx(float(sum(wanted)) / len(wanted))
    assert errors.by_element.total().raw == pytest.approx(float((plain - moved).abs().mean()))


def encoded_norm(model: MeasuredModel, store: PairStore) -> float:
    frames = episodes_of(store).frames(np.arange(12), 0, [0])
    _, latents = encode_frames(model, frames, 5, CPU)
    return float(latents.flatten(1).double().norm(dim=1).mean())


def test_distances_that_a_turn_changes_show(store: PairStore) -> None:
    """Against loops over episodes and twins, by the definition."""
    metrics, curves = measured(Stretched(), store)
    episodes, model = episodes_of(store), Stretched()
    numbers = np.arange(12)
    latents = [
        encode_frames(model, episodes.frames(numbers, twin, [0, 5]), 64, CPU)[1].flatten(2)
        for twin in range(4)
    ]
    predicted = [each[:, 0] for each in latents]
    changes, rollouts = [], []
    for twin in range(1, 4):
        for i in range(12):
            j = i + 1 if i % 2 == 0 else i - 1
            now, moved = (
                float((each[i, 0] - each[j, 0]).norm()) for each in (latents[0], latents[twin])
            )
            changes.append(abs(now - moved))
            now, moved = (
                float((p[i] - each[j, 1]).norm())
                for p, each in ((predicted[0], latents[0]), (predicted[twin], latents[twin]))
            )
            rollouts.append(abs(now - moved))
    name = "distance_invariance_error_raw"
    assert metrics[f"{name}/latent"] == pytest.approx(np.mean(changes), rel=1e-5)
    assert metrics[f"{name}/model/horizon_5"] == pytest.approx(np.mean(rollouts), rel=1e-5)
    norm = float(latents[0][:, 0].norm(dim=1).mean())
    relative = metrics["distance_invariance_error/latent"]
    assert relative == pytest.approx(np.mean(changes) / norm, rel=1e-5)
    assert not any(name.startswith("equivariance_error/latent") for name in metrics)
    assert "180" in curves["distance_invariance_error"]["latent"]
    assert curves["distance_invariance_error"]["latent"]["180"]["raw"] == pytest.approx(0, abs=1e-6)


def test_a_model_that_stands_still_drifts(store: PairStore) -> None:
    """Its error is how far the truth has moved, by the definition."""

    class Still(ExactModel):
        def predict(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
            return latent

    metrics, curves = measured(Still(), store)
    _, latents = encode_frames(
        Still(), episodes_of(store).frames(np.arange(12), 0, range(11)), 64, CPU
    )
    flat = latents.flatten(2).double()
    error = (flat - flat[:, :1]).norm(dim=2).mean(0)
    np.testing.assert_allclose(curves["drift"]["error_raw"], error, rtol=1e-6)
    pairs = (flat[:, None] - flat[None]).square().sum(3).mean((0, 1)).sqrt()
    np.testing.assert_allclose(curves["drift"]["typical_distance"], pairs, rtol=1e-6)
    assert metrics["change_error/horizon_1"] == metrics["change_error/horizon_10"] == 1
    wanted = error[5] / pairs[5]
    assert metrics["rollout_error/horizon_5"] == pytest.approx(float(wanted), rel=1e-6)
    assert metrics["hits_at_1/horizon_10"] < 1
    assert metrics["equivariance_error/model/horizon_10"] == 0


def test_a_collapsed_model_shows(store: PairStore) -> None:
    metrics, curves = measured(Collapsed(), store)
    assert metrics["hits_at_1/horizon_10"] == metrics["ties/horizon_10"] == 1
    assert metrics["hits_at_1_strict/horizon_10"] == 0
    assert metrics["latent_spread/horizon_10"] == 0
    assert metrics["distinct_latents/horizon_10"] == pytest.approx(1 / 12)
    assert not any(name.startswith("equivariance_error_centred/latent") for name in metrics)
    assert not any(name.startswith("distance_invariance_error_centred/m") for name in metrics)
    assert all(math.isfinite(value) for value in metrics.values())
    json.dumps(curves, allow_nan=False)


@pytest.mark.parametrize("model", [Tilted(), Stretched()])
def test_the_batch_does_not_matter(model: ExactModel, store: PairStore) -> None:
    whole, parts = measured(model, store, 1000), measured(model, store, 7)
    assert whole[0] == pytest.approx(parts[0], rel=1e-6)
    assert whole[0].keys() == parts[0].keys()


def test_rollouts_feed_on_themselves() -> None:
    class Adding(ExactModel):
        def predict(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
            return 2 * latent + action

    actions = torch.tensor([[[1.0], [10.0], [100.0]]])
    found = roll_out(Adding(), torch.tensor([[1.0]]), actions, [0, 1, 3])
    assert found.flatten().tolist() == [1, 3, 132]


@pytest.fixture(autouse=True)
def _world_of_rotations(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_this_world(monkeypatch)


@pytest.fixture(scope="module")
def rotations(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    return make_store(tmp_path_factory.mktemp("rotations") / "data", TinyRotations())


def test_drawn_elements_are_known(rotations: PairStore) -> None:
    """A model that reads the pose off the frame is exact, but for the frames' 11 bits."""
    metrics, curves = measured(ReadingModel(), rotations)
    assert metrics["hits_at_1/horizon_1"] == 1
    for part in ("embedding", "encoder", "latent", "transition", "model/horizon_1"):
        assert metrics[f"equivariance_error_raw/{part}"] < 2e-3, part
    for part in ("embedding", "latent", "model/horizon_1"):
        assert metrics[f"distance_invariance_error_raw/{part}"] < 2e-3, part
    assert metrics["hard_hits_at_1/horizon_1"] == 1
    for axis in ("yaw", "pitch", "roll"):
        assert metrics[f"traversal_hits_at_1/{axis}"] == 1
    table = curves["equivariance_error"]["latent"]
    assert sum(each["num"] for each in table.values()) == 3 * 200


def test_unrelated_rotations_have_the_errors_known_in_closed_form(rotations: PairStore) -> None:
    """The paper's teapot without equivariance: EE 2.40; two unrelated distances differ by 0.495."""
    metrics, _ = measured(UnrelatedModel(), rotations)
    expected = 8 * 2 * math.sqrt(2) / (3 * math.pi)
    assert metrics["equivariance_error_raw/embedding"] == pytest.approx(expected, rel=0.03)
    assert metrics["equivariance_error/latent"] == pytest.approx(expected / 3**0.5, rel=0.03)
    centred = metrics["equivariance_error_centred/latent"]
    assert centred == pytest.approx(expected / 6**0.5, rel=0.03)
    error = metrics["distance_invariance_error_raw/latent"]
    assert error == pytest.approx(0.495, abs=0.05)
    centred = metrics["distance_invariance_error_centred/latent"]
    assert centred == pytest.approx(0.495 / 6**0.5, abs=0.02)
    assert metrics["distance_invariance_error_over_chance/latent"] == pytest.approx(1, abs=0.1)
    assert metrics["equivariance_error_raw/transition"] == pytest.approx(0, abs=1e-5)
    assert metrics["hits_at_1/horizon_1"] < 0.1
    # One in seven candidates, one in thirty poses.
    assert metrics["hard_hits_at_1/horizon_1"] == pytest.approx(1 / 7, abs=0.08)
    assert metrics["traversal_hits_at_1/roll"] == pytest.approx(1 / 30, abs=0.03)


def test_turns_are_about_the_axes_that_one_sees(rotations: PairStore) -> None:
    """Yaw keeps the upright axis, pitch the one to the right, roll the line of sight."""
    episodes = episodes_of(rotations)
    for kept, name in ((1, "yaw"), (0, "pitch"), (2, "roll")):
        found = traverse(ReadingModel(), episodes, Solid(3), name, 3, 64, CPU)
        assert found.frames.shape == (3, 31, 1, 3, 3)
        poses = found.encoded
        turn = poses[:, 1:] @ poses[:, :-1].mT
        angle = 2 * math.pi / 30
        trace = turn.diagonal(dim1=-2, dim2=-1).sum(-1)
        torch.testing.assert_close(
            trace, torch.full_like(trace, 1 + 2 * math.cos(angle)), atol=3e-3, rtol=0
        )
        axis = torch.eye(3)[kept]
        torch.testing.assert_close(turn @ axis, axis.expand(3, 30, 3), atol=3e-3, rtol=0)
        torch.testing.assert_close(poses[:, 30], poses[:, 0], atol=3e-3, rtol=0)


def test_hard_negatives_tell_models_apart_that_are_nearly_right(rotations: PairStore) -> None:
    """An error of less than half a step of 12 degrees is a hit, one of more is none."""

    class Sloppy(ReadingModel):
        def __init__(self, degrees: float) -> None:
            super().__init__()
            self.error = quaternions.to_matrix(
                quaternions.from_axis((0.0, 0.0, 1.0), degrees).float()
            )

        def predict(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
            return self.error @ super().predict(latent, action)

    episodes = episodes_of(rotations)
    for degrees, wanted in ((5.0, 1.0), (7.0, 0.0)):
        metrics = hard_hit_metrics(Sloppy(degrees), episodes, Solid(3), 64, CPU)
        assert metrics["hard_hits_at_1/horizon_1"] == wanted
        assert metrics["hard_hits_at_5/horizon_1"] == 1.0


def test_the_metrics_of_training_leave_twins_out(tmp_path: Path) -> None:
    words = ("num_episodes=3", "episode_length=4", "dataset.test_episode_length=3")
    store = prepare(tmp_path / "data", "dataset=shapes_2d", *words)
    reader = store.split("test")
    chosen = untransformed_records(store.manifest, reader)
    assert chosen is not None
    assert len(chosen) * 4 == reader.num_records
    assert untransformed_records(store.manifest, store.split("val")) is None
    batches = EvaluationBatches(reader, 5, 0, 1, chosen)
    records, valid = reader.empty(5 * batches.num_steps), np.empty(5 * batches.num_steps)
    batches.read(0, records, valid)
    assert valid.sum() == len(chosen)
    np.testing.assert_array_equal(records.source[valid > 0], reader.read(chosen).source)


def test_rollouts_of_unknown_actions_are_told_apart(tmp_path: Path) -> None:
    words = ("num_episodes=3", "episode_length=2", "dataset.num_test_episodes=60")
    data = tmp_path / "data"
    store = prepare(data, "dataset=shapes_2d", *words, "dataset.actions=[up,right]")
    episodes = episodes_of(store)
    actions = episodes.actions(np.arange(60), 0, 5)
    seen = seen_rollouts(store.manifest, actions.numpy(), [1, 5])
    assert seen is not None
    for horizon in (1, 5):
        known = (actions[:, :horizon, 1] <= 1).all(1)
        assert torch.equal(seen[horizon], known)
    torch.manual_seed(0)
    config = GridModelConfig("grid", "none", "cells", channels=4, hidden=8)
    model = make_world_model(config, store.manifest).eval()
    metrics, curves = measure_episodes(model, episodes, store.manifest, 64, CPU)
    share = curves["num_seen"][1] / 60
    assert share == float(seen[1].double().mean())
    for name in ("hits_at_1", "mrr", "rollout_error"):
        parts = [metrics[f"{name}/horizon_1/{part}_actions"] for part in ("seen", "unseen")]
        joined = share * parts[0] + (1 - share) * parts[1]
        assert metrics[f"{name}/horizon_1"] == pytest.approx(joined)


def test_objects_that_make_an_unknown_move_are_told_apart(tmp_path: Path) -> None:
    words = ("num_samples=3", "dataset.num_test_episodes=60")
    store = prepare(tmp_path / "data", "dataset=shapes_2d_combinations", *words)
    actions = episodes_of(store).actions(np.arange(60), 0, 2).numpy()
    seen = seen_rollouts(store.manifest, actions, [1, 2])
    assert seen is not None
    # Object k never makes move k, but for object 4.
    is_new = actions[..., 0] == actions[..., 1]
    for horizon in (1, 2):
        np.testing.assert_array_equal(seen[horizon].numpy(), ~is_new[:, :horizon].any(1))
    assert is_new[:, 0].any()


def test_rollouts_from_or_to_poses_that_were_held_out_are_told_apart(tmp_path: Path) -> None:
    """z is what is held out here: poses whose upright axis points to the viewer's half."""
    words = ("num_episodes=4", "dataset.num_test_episodes=40", "dataset.world.size=16")
    held_out = "dataset.world.held_out={degrees: 90, axis: [0, 1, 0], towards: [0, 0, 1]}"
    store = prepare(tmp_path / "data", "dataset=teapot", *words, held_out)
    episodes = episodes_of(store)
    (division,) = divisions(store.manifest, episodes, episodes.actions(np.arange(40), 0, 1), [1])
    ends = [episodes.column(name, np.arange(40), 0, 1)[:, 0] for name in ("state", "next_state")]
    is_new = [end.reshape(-1, 3, 3)[:, 2, 1] >= 0 for end in ends]
    assert np.array_equal(~division.known[1].numpy(), is_new[0] | is_new[1])
    assert division.names == ("known_poses", "held_out_poses")
    assert 0 < division.known[1].sum() < 40
    trained = store.split("train")
    known = trained.read_column("state", np.arange(4)).reshape(-1, 3, 3)
    assert (known[:, 2, 1] < 0).all()


def test_distances_are_between_states_that_one_element_moved() -> None:
    numbers = torch.tensor([0, 0, 1, 2, 3, 3, 4])
    for elements in (numbers, numbers[:, None] * torch.ones(1, 4)):
        first, second = partners(elements)
        assert first.tolist() == [0, 1, 4, 5]
        assert second.tolist() == [1, 0, 5, 4]
    assert len(partners(numbers[:1])[0]) == 0
