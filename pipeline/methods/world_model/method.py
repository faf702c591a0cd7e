"""Symmetric embedding networks (paper 2), and the homeomorphic VAE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orbit.core.metrics import TOTAL_LOSS, Column, Metric
from orbit.core.store.manifest import FrameSpec, Manifest
from pipeline.methods.interface import Method
from pipeline.methods.world_model.settings import WorldModelConfig

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from orbit.core.store.reader import Records
    from pipeline.measuring import Findings, Subject, TrainedModel
    from pipeline.methods.world_model.task import WorldModelTask
    from pipeline.programs import Program


def _make(config: WorldModelConfig, manifest: Manifest, device: torch.device) -> WorldModelTask:
    from pipeline.methods.world_model.task import WorldModelTask

    return WorldModelTask(config, manifest, device)


def _measure(subject: Subject) -> Findings:
    from pipeline.methods.world_model.final import measure

    return measure(subject)


def _draw(subject: Subject) -> None:
    from pipeline.methods.world_model.final import draw

    draw(subject)


def _programs(run: TrainedModel, manifest: Manifest) -> list[Program]:
    from pipeline.methods.world_model.programs import world_model_programs
    from pipeline.world_models.world_model import WorldModel

    assert isinstance(run.model, WorldModel)
    return world_model_programs(run.model, manifest.action)


def _preview(model: nn.Module, records: Records, frames: FrameSpec) -> Mapping[str, np.ndarray]:
    from pipeline.methods.world_model.pictures.rollouts import preview_rows
    from pipeline.world_models.world_model import WorldModel

    assert isinstance(model, WorldModel)
    return preview_rows(model, records, frames)


HITS = "Share of episodes whose own prediction is among the K nearest to the true latent."
RANKS = "Mean of 1 / rank of an episode's own prediction among those of all episodes."
EQUIVARIANCE = "Distance between acting before and after a part of the model, over the mean norm."
DISTANCES = "Change of distances between latents under g, over the mean norm."
CENTRED = "Distance between acting before and after a part, over that of two different states."
DISTANCES_CENTRED = "Change of distances under g, over the typical distance of two states."
METRICS = (
    TOTAL_LOSS,
    Metric("hits_at_1/horizon_10", HITS, "higher", True, column=Column("H@1, 10 steps", 3)),
    Metric("mrr/horizon_10", RANKS, "higher", True),
    Metric("hits_at_1/horizon_1", HITS, "higher", True, column=Column("H@1, 1 step", 3)),
    Metric("mrr/horizon_1", RANKS, "higher", True),
    Metric(
        "hard_hits_at_1/horizon_1",
        "Share of episodes whose prediction is nearer to the truth than to six close poses.",
        "higher",
        is_headline=True,
    ),
    Metric("equivariance_error_centred/embedding", CENTRED, "lower", is_headline=True),
    *(
        Metric(
            f"distance_invariance_error_centred/model/horizon_{horizon}",
            DISTANCES_CENTRED,
            "lower",
            is_headline=True,
        )
        for horizon in (10, 1)
    ),
    Metric("equivariance_error/embedding", EQUIVARIANCE, "lower", is_headline=True),
    Metric("distance_invariance_error/model/horizon_10", DISTANCES, "lower", is_headline=True),
    Metric("distance_invariance_error/model/horizon_1", DISTANCES, "lower", is_headline=True),
    *(Metric(f"hits_at_{k}", HITS, "higher") for k in (1, 5, 10)),
    Metric("mrr", RANKS, "higher"),
    Metric("hits_at_1_strict", "As hits_at_1, but ties count as misses.", "higher"),
    Metric("ties", "Share of episodes with another prediction at exactly the same distance."),
    Metric("num_ranked", "Number of ranked episodes; hits and ranks depend on it."),
    Metric("latent_spread", "Root mean square distance of true latents from their mean."),
    Metric("latent_change", "Mean energy between a state and its next, in validation."),
    Metric(
        "distinct_latents", "Number of different true latents divided by the number of episodes."
    ),
    Metric(
        "hard_hits_at_5", "As hard_hits_at_1, but among the five nearest of seven poses.", "higher"
    ),
    Metric("traversal_hits_at_1", "Share of hits along a whole turn about an axis.", "higher"),
    Metric("equivariance_error_centred", CENTRED, "lower"),
    Metric("equivariance_error", EQUIVARIANCE, "lower"),
    Metric("equivariance_error_raw", "The same without division, in units of the latent."),
    Metric("distance_invariance_error_centred", DISTANCES_CENTRED, "lower"),
    Metric(
        "distance_invariance_error_over_chance",
        "Change of distances under g, over that between the distances of two different pairs.",
        "lower",
    ),
    Metric("distance_invariance_error", DISTANCES, "lower"),
    Metric("distance_invariance_error_raw", "The same without division, in units of the latent."),
    Metric(
        "rollout_error", "Mean error of rollouts divided by the distance of two truths.", "lower"
    ),
    Metric("rollout_error_raw", "The same without division, in units of the latent."),
    Metric(
        "change_error",
        "Mean error of rollouts over the distance that the truth has moved; no change gives 1.",
        "lower",
    ),
    Metric("irreps", "Share of the latents' variance in an irreducible representation."),
    Metric("backdrop_share", "Share of the latents' variance between backdrops."),
    Metric("mask/fraction_variant", "Share of S's outputs that a learned mask selects."),
    Metric("same_episode_share", "Share of negatives from a record's own episode, in training."),
    Metric("loss/positive", "Mean energy of predictions against the truth.", "lower"),
    Metric("loss/negative", "Mean hinge of energies between states.", "lower"),
    Metric("loss/reconstruction", "Squared error of decoded frames, summed over pixels.", "lower"),
    Metric("loss/divergence", "KL divergence of the latents, in nats.", "lower"),
)
METHOD = Method(
    "world_model",
    WorldModelConfig,
    _make,
    _measure,
    _draw,
    _programs,
    preview=_preview,
    metrics=METRICS,
)
