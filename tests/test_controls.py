"""Protects the controls: each takes away exactly what its name says.

A control that secretly sees the group, or a fixed mask that learns, would make the method
look better or worse than it is.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training import PATH_KEYS, make_config, never_stop
from torch import nn
from torch.nn.functional import mse_loss

from launch.reproduction.command import read_request
from orbit.core.config.compose import compose, group_options
from orbit.core.config.schema import build
from orbit.core.groups import make_group
from orbit.core.store.manifest import FrameSpec, Manifest
from orbit.core.store.reader import PairStore
from pipeline.methods.latent_action.task import LatentActionTask
from pipeline.methods.table import make_task
from pipeline.models.latent_action import LatentActionModel, LatentParts
from pipeline.models.networks import OrbitAverage, orbit_mean
from pipeline.training.run import train
from pipeline.training.run_directory import RunDirectory
from pipeline.training.settings import TrainConfig

CPU = torch.device("cpu")
OF_WORLD_MODELS = "masked_latent"
"""See `test_masked_world_model.py`."""


def task_of(data: Path, control: str, *words: str) -> tuple[LatentActionTask, Manifest]:
    config = make_config(data, Path("unused"), f"control={control}", *words)
    manifest = PairStore(data).manifest
    task = make_task(config.task, manifest, 0, CPU)
    assert isinstance(task, LatentActionTask)
    return task, manifest


def batch_of(data: Path, num: int = 32) -> dict[str, torch.Tensor]:
    records = PairStore(data).split("train").read(torch.arange(0, 7 * num, 7).numpy())
    batch = {name: torch.from_numpy(values) for name, values in records._asdict().items()}
    return {**batch, "valid": torch.ones(num)}


def terms_of(task: LatentActionTask, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    loss, terms = task.objective(**batch)
    return loss, dict(zip(task.term_names, terms.tolist(), strict=True))


@pytest.mark.parametrize("control", sorted({*group_options("control")} - {OF_WORLD_MODELS}))
def test_every_control_trains_and_is_selected_by_what_it_minimises(
    control: str, digits_dir: Path, tmp_path: Path
) -> None:
    words = (f"control={control}", "epochs=1", "collapse.action=warn")
    result = train(make_config(digits_dir, tmp_path / "run", *words), never_stop())
    metrics = result["metrics"]
    total = metrics["loss/recon"]
    weights = RunDirectory(tmp_path / "run").read_config().task.weights
    total += weights.invariance * metrics["loss/invariance"]
    total += weights.consistency * metrics["loss/consistency"]
    assert metrics["loss/total"] == pytest.approx(total)


@pytest.mark.parametrize(
    ("control", "end"), [("plain_autoencoder", "source"), ("rotation_augmentation", "target")]
)
def test_autoencoders_never_see_the_group(control: str, end: str, digits_dir: Path) -> None:
    """The loss is that of one end alone: it does not change with the element or the other end."""
    task, _ = task_of(digits_dir, control)
    batch = batch_of(digits_dir)
    loss, terms = terms_of(task, batch)
    images = task.model.normalise(batch[end])
    expected = mse_loss(task.model.decode(task.model.encode(images)), images)
    torch.testing.assert_close(loss, expected)
    assert (terms["loss/invariance"], terms["loss/consistency"]) == (0, 0)
    other = "target" if end == "source" else "source"
    changed = {**batch, "action": (batch["action"] + 1) % 4, other: 255 - batch[other]}
    assert torch.equal(terms_of(task, changed)[0], loss)
    assert not torch.equal(terms_of(task, {**batch, end: 255 - batch[end]})[0], loss)


def test_reconstruction_only_leaves_the_latent_losses_out(digits_dir: Path) -> None:
    batch = batch_of(digits_dir)
    method, control = (
        terms_of(task_of(digits_dir, name)[0], batch)
        for name in ("learned_mask", "reconstruction_only")
    )
    assert control[0].item() == pytest.approx(method[1]["loss/recon"])
    assert control[1]["loss/consistency"] == pytest.approx(method[1]["loss/consistency"])
    assert method[0] > control[0]


@pytest.mark.parametrize(
    ("control", "fraction"), [("half_mask", 0.5), ("all_variant", 1.0), ("all_invariant", 0.0)]
)
def test_fixed_masks_do_not_learn(control: str, fraction: float, digits_dir: Path) -> None:
    model = task_of(digits_dir, control)[0].model
    assert isinstance(model, LatentActionModel)
    assert model.mask.is_variant().double().mean() == fraction
    assert not list(model.mask.parameters())
    images = torch.rand(4, *model.frames.shape) * 2 - 1
    parts = model.encode(images)
    assert parts.variant.any() == (fraction > 0)
    assert parts.invariant.any() == (fraction < 1)


def test_an_all_invariant_model_cannot_move_anything(digits_dir: Path) -> None:
    model = task_of(digits_dir, "all_invariant")[0].model
    assert isinstance(model, LatentActionModel)
    images = torch.rand(4, *model.frames.shape) * 2 - 1
    with torch.no_grad():
        outputs = [model.transform(images, torch.full((4,), turns)) for turns in range(4)]
    assert all(torch.equal(outputs[0], output) for output in outputs[1:])


def test_an_orbit_average_turns_exactly_with_the_image(digits_dir: Path) -> None:
    """Whatever the weights: an untrained encoder is enough, and a plain one is far from it."""
    images = torch.rand(4, 1, 16, 16) * 2 - 1
    for control, is_exact in (("orbit_averaged", True), ("rotation_augmentation", False)):
        model = task_of(digits_dir, control)[0].model
        assert isinstance(model, LatentActionModel)
        group = model.group
        for turns in range(1, 4):
            g = torch.full((4,), turns)
            with torch.no_grad():
                moved = model.act(model.encode(images).variant, g)
                wanted = model.encode(group.act_on_image(images, g)).variant
                outputs = model.transform(images, g), model.decode(LatentParts(wanted, 0 * wanted))
            assert torch.allclose(moved, wanted, atol=1e-5) == is_exact
            assert torch.allclose(*outputs, atol=1e-5) == is_exact


def test_an_orbit_average_is_the_mean_over_turned_weights() -> None:
    """In closed form: multiplied by w, an image becomes x times the mean of the turned w."""
    group = make_group("c4")
    weights, images = torch.rand(1, 1, 6, 6), torch.rand(3, 1, 6, 6)

    class Times(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return weights * x

    found = OrbitAverage(Times(), group)(images)
    turned = torch.stack([torch.rot90(weights, turns, (2, 3)) for turns in range(4)]).mean(0)
    torch.testing.assert_close(found, turned * images)
    constant = orbit_mean(
        lambda x, g: (weights * x).sum((1, 2, 3)), images, group.elements(), group
    )
    torch.testing.assert_close(constant, (turned * images).sum((1, 2, 3)))
    with pytest.raises(ValueError, match="needs a finite group, and so2 is continuous"):
        OrbitAverage(Times(), make_group("so2"))


def test_a_contrast_without_an_action_sees_the_group_in_its_views_alone(digits_dir: Path) -> None:
    """Its loss is that of the autoencoder and of the contrast; no element reaches it."""
    words = ("experiment=rotated_mnist_contrast",)
    task, _ = task_of(digits_dir, "contrast_without_action", *words)
    method, _ = task_of(digits_dir, "learned_mask", *words)
    batch = batch_of(digits_dir)
    loss, terms = terms_of(task, batch)
    weight = task.objective.contrast.config.weight
    assert weight == method.objective.contrast.config.weight
    assert loss.item() == pytest.approx(terms["loss/recon"] + weight * terms["loss/contrast"])
    assert terms["loss/contrast"] > 0
    changed = {**batch, "action": (batch["action"] + 1) % 4}
    assert torch.equal(terms_of(task, changed)[0], loss)
    changed = {**batch, "source": 255 - batch["source"]}
    assert terms_of(task, changed)[1]["loss/contrast"] != terms["loss/contrast"]
    counts = [sum(p.numel() for p in each.model.parameters()) for each in (method, task)]
    num_mask_logits = method.model.latent_shape[0]
    assert counts[0] == counts[1] + num_mask_logits


def test_a_matched_row_has_as_many_parameters() -> None:
    """Within one percent of the contrast's, projector included, on frames of MNIST's size."""
    settings = read_request(["paper1", "dry_run=true"]).reproduction
    frames, counts = FrameSpec((1, 28, 28), "uint8", (0.0, 255.0), (-1.0, 1.0)), {}
    for variant in ("contrast", "learned_mask_wide"):
        words = ["experiment=rotated_mnist", *settings.variants[variant].train]
        given = compose("train", [*words, "data=x", "run_dir=y"], PATH_KEYS)
        task = build(TrainConfig, given).task
        sizes = (task.contrast.hidden, task.contrast.size) if variant == "contrast" else None
        group = make_group("c4")
        model = LatentActionModel(task.model, task.tau, frames, group, projector_sizes=sizes)
        counts[variant] = sum(p.numel() for p in model.parameters())
    assert counts["learned_mask_wide"] == pytest.approx(counts["contrast"], rel=0.01)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["task.orbit_average=true", "task.action.name=learned", "task.model.vector_size=16"],
            "orbit_average=true turns latent cells back; with action.name=learned there are none",
        ),
        (
            ["control=plain_autoencoder", "task.both_directions=true"],
            "both_directions=true has no effect with reconstruct=source, which knows no action",
        ),
        (["task.reconstruct=source"], "reconstruct=source knows no action: set weights.inv"),
        (["control=half_mask", "task.tau=0.6"], "tau=0.6 has no effect with mask.name=fixed"),
        (["control=half_mask", "task.mask.variant_fraction=2"], "must lie between 0 and 1"),
        (
            ["task.contrast.name=views", "control=all_invariant"],
            "contrast.name=views has no effect with mask.variant_fraction=0",
        ),
        (
            [
                "task.contrast.name=views",
                "task.action.name=representation",
                "task.model.vector_size=16",
            ],
            "with action.name=representation it would work against the action",
        ),
        (
            [
                "task.contrast.name=views",
                "control=plain_autoencoder",
                "task.mask.variant_fraction=0.5",
            ],
            "reconstruct=source leaves z_v without a meaning",
        ),
        ([f"control={OF_WORLD_MODELS}"], "task.loss has no effect with task.name=latent_action"),
        (["control=placebo"], "unknown control=placebo; nearest of 14"),
        (
            ["task.mask.variant_fraction=0.5"],
            "variant_fraction has no effect with task.mask.name=learned",
        ),
    ],
)
def test_settings_without_effect_are_refused(
    words: list[str], message: str, digits_dir: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        make_config(digits_dir, Path("unused"), *words)
