"""Latent operators (Dinh and Deny): a class that is read off in any pose, also in unseen ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orbit.core.metrics import Column, Metric
from orbit.core.store.manifest import Manifest
from pipeline.methods.interface import Latents, Method
from pipeline.methods.latent_operator.settings import LatentOperatorConfig

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pipeline.measuring import Findings, Subject
    from pipeline.methods.latent_operator.task import LatentOperatorTask


def _make(
    config: LatentOperatorConfig, manifest: Manifest, device: torch.device
) -> LatentOperatorTask:
    from pipeline.methods.latent_operator.task import LatentOperatorTask

    return LatentOperatorTask(config, manifest, device)


def _measure(subject: Subject) -> Findings:
    from pipeline.measuring import Findings
    from pipeline.methods.latent_operator.measures import measure

    return Findings(measure(subject))


def _draw(subject: Subject) -> None:
    from pipeline.methods.latent_operator.measures import draw

    draw(subject)


def _latents(model: nn.Module, manifest: Manifest) -> Latents:
    from pipeline.methods.latent_operator.task import LatentOperatorModel

    assert isinstance(model, LatentOperatorModel)
    if model.operator is None:
        return Latents(lambda frames: {"z": model.latent(frames)})
    return Latents(lambda frames: {"z": model.latent(frames)}, "z", model.act)


def _accuracy(name: str, where: str, heading: str, is_headline: bool = True) -> Metric:
    meaning, column = f"Accuracy of the class {where}.", Column(heading, 3)
    return Metric(name, meaning, "higher", is_headline, by_element=True, column=column)


SEEN = "over the elements that training saw."
INFERRED = "in poses inferred by nearest neighbours"
METRICS = (
    Metric("loss/total", f"The loss that training minimises, {SEEN}", "lower", is_headline=True),
    _accuracy("class_accuracy/unseen_elements", "in poses unseen in training", "class, unseen g"),
    _accuracy("class_accuracy_inferred/unseen_elements", f"{INFERRED}, unseen ones", "inferred"),
    _accuracy("class_accuracy", "in known poses; unmoved without an operator", "class"),
    _accuracy("class_accuracy_inferred", INFERRED, "class, all inferred", is_headline=False),
    Metric("pose_hits", "Share of inferred poses that are right.", "higher", by_element=True),
    Metric("loss/alignment", f"Mean squared difference of two views' latents {SEEN}", "lower"),
    Metric("loss/class", f"Cross-entropy {SEEN} Least at the best checkpoint.", "lower"),
    Metric("loss/order", "Mean squared entry of P^n - 1 for a learned P.", "lower"),
)
METHOD = Method(
    "latent_operator",
    LatentOperatorConfig,
    _make,
    _measure,
    _draw,
    metrics=METRICS,
    latents=_latents,
)
