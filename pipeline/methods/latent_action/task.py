"""The task of latent actions: model, objective and evaluation for the trainer.

Other methods whose model is a `LatentActionModel` share its evaluation, with losses of their own.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from orbit.core.groups import make_group
from orbit.core.store.manifest import FrameSpec, Manifest
from orbit.core.store.origin import Episodes, Orbits
from pipeline.data.packing import Batch, parts_of_pass
from pipeline.methods.latent_action.evaluation import LatentActionEvaluation
from pipeline.methods.latent_action.objective import (
    CONTRAST_TERM,
    TERM_NAMES,
    LatentActionObjective,
    ReconstructionObjective,
    ViewsContrast,
)
from pipeline.methods.latent_action.settings import (
    LatentActionConfig,
    LossWeights,
    ViewsContrastConfig,
)
from pipeline.metrics.similarity import MIN_SIDE
from pipeline.models.latent_action import LatentActionModel, OutputKind

COLLAPSED_VARIATION = 0.02
RUNAWAY_RATIO = 10.0


def output_kind(config: LatentActionConfig, frames: FrameSpec) -> OutputKind:
    """The kind of the decoder's output; ValueError for logits of grey values."""
    if config.output == "logits" and frames.values != "binary":
        raise ValueError("task.output=logits needs a dataset of binary shapes; allowed: auto, tanh")
    if config.output != "auto":
        return config.output
    return "logits" if frames.values == "binary" else "tanh"


def make_objective(
    model: LatentActionModel, config: LatentActionConfig
) -> LatentActionObjective | ReconstructionObjective:
    """The training objective."""
    if config.reconstruct == "action":
        return LatentActionObjective(
            model,
            config.weights,
            config.latent_losses,
            make_contrast(model, config),
            config.both_directions,
        )
    weight = config.weights.recon
    return ReconstructionObjective(model, config.reconstruct, weight, make_contrast(model, config))


def make_contrast(model: LatentActionModel, config: LatentActionConfig) -> ViewsContrast | None:
    """The contrast that training adds; its seed is drawn from torch's generator after the
    weights."""
    if not isinstance(config.contrast, ViewsContrastConfig):
        return None
    return ViewsContrast(model, config.contrast, int(torch.randint(2**62, ())))


def check_images(manifest: Manifest, task: str) -> None:
    """Raise ValueError unless a dataset has images on which its group acts, of enough pixels."""
    if isinstance(manifest.origin, Episodes):
        raise ValueError(
            f"task.name={task} learns how {manifest.group} acts on images; the actions"
            f" of {manifest.name} are those of a world, which task=world_model learns"
        )
    shape = manifest.frames.shape[1:]
    if min(shape) < MIN_SIDE:
        raise ValueError(f"frames of {shape} are too small: at least {MIN_SIDE} pixels a side")


class LatentActionTask:
    """See `pipeline.methods.interface.Task`. Tracks how often mask entries flip in an epoch."""

    selection_metric = "loss/total"

    def __init__(
        self, config: LatentActionConfig, manifest: Manifest, device: torch.device
    ) -> None:
        group = make_group(manifest.group)
        check_images(manifest, "latent_action")
        frames = manifest.frames
        kind = output_kind(config, frames)
        contrast = config.contrast if isinstance(config.contrast, ViewsContrastConfig) else None
        if contrast is not None and len(frames.shape) != 3:
            raise ValueError("task.contrast.name=views deforms images, not volumes; allowed: none")
        sizes = None if contrast is None else (contrast.hidden, contrast.size)
        model = LatentActionModel(
            config.model,
            config.tau,
            frames,
            group,
            config.action,
            kind,
            config.mask,
            sizes,
            config.orbit_average,
        )
        self.mixes_batch = contrast is not None
        self.term_names = TERM_NAMES if contrast is None else (*TERM_NAMES, CONTRAST_TERM)
        self.model = model.to(device)
        self.objective = make_objective(self.model, config)
        self._contrast = getattr(self.objective, "contrast", None)
        self._config, self._weights = config, config.weights
        origin = manifest.origin
        self._seen_bins = origin.train_bins if isinstance(origin, Orbits) else None
        self._is_variant = self.model.mask.is_variant()
        self._num_flips = torch.zeros((), dtype=torch.int64, device=device)

    def after_step(self) -> None:
        now = self.model.mask.is_variant()
        self._num_flips += (now != self._is_variant).sum()
        self._is_variant = now
        if self._contrast is not None:
            self._contrast.step += 1

    def end_epoch(self) -> None:
        self._num_flips.zero_()

    def statistics(self) -> dict[str, float]:
        return {
            "mask/fraction_variant": self._is_variant.double().mean().item(),
            "mask/flips_in_epoch": float(self._num_flips.item()),
        }

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"is_variant": self._is_variant, "num_flips": self._num_flips}
        if self._contrast is not None:
            state["views_step"] = self._contrast.step
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._is_variant.copy_(state["is_variant"])
        self._num_flips.copy_(state["num_flips"])
        if self._contrast is not None:
            self._contrast.step = state["views_step"]

    def collapse_message(self, means: Mapping[str, float]) -> str | None:
        """A constant output image, or latent losses that grow without bound.

        The first compares the variance of outputs across a batch with that of the targets. The
        second happens if all sources are upright: the target branch grows with the source branch,
        and no gradient limits it.
        """
        variation = means["output_variation"]
        if variation < COLLAPSED_VARIATION:
            return (
                "the model has collapsed to a constant image: its outputs vary"
                f" {variation:.2%} as much as the targets"
            )
        latent = self._weights.invariance * means["loss/invariance"]
        latent += self._weights.consistency * means["loss/consistency"]
        if latent > RUNAWAY_RATIO * means["loss/recon"]:
            way_out = "train on sources in all poses (dataset.train_pairs=all_pairs)"
            if self._config.latent_losses != "relative":
                way_out += ", or set task.latent_losses=relative"
            return (
                f"the latent losses have run away ({latent:.3g} against a reconstruction loss of"
                f" {means['loss/recon']:.3g}); {way_out}"
            )
        return None

    def evaluation(self, model: nn.Module) -> LatentActionEvaluation:
        assert isinstance(model, LatentActionModel)
        return LatentActionEvaluation(
            model,
            self._weights,
            self._config.reconstruct,
            self._seen_bins,
            self._config.latent_losses,
        )


PairLosses = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Normalised images x and g x, and elements, to losses (T, N), one column a pair."""


class PairLossEvaluation(LatentActionEvaluation):
    """PSNR, similarity and errors of latents as for a latent action, and means of `losses`, which
    `names` names."""

    def __init__(
        self,
        model: LatentActionModel,
        names: Sequence[str],
        losses: PairLosses,
        seen_bins: tuple[str, ...] | None,
    ) -> None:
        super().__init__(model, LossWeights(), seen_bins=seen_bins)
        self._measured, self._names, self._of_pairs = model, tuple(names), losses
        self._own = self._losses.new_zeros(1 + len(self._names))

    @torch.no_grad()
    def update(self, batch: Batch) -> None:
        super().update(batch)
        model = self._measured
        for part in parts_of_pass(batch.source):
            images, wanted = (model.normalise(x[part]) for x in (batch.source, batch.target))
            g, valid = model.group.decode(batch.action[part]), batch.valid[part].double()
            losses = self._of_pairs(images, wanted, g).double()
            self._own += torch.cat([torch.ones_like(losses[:1]), losses]) @ valid

    def sums(self) -> torch.Tensor:
        return torch.cat([super().sums(), self._own])

    def metrics(self, sums: torch.Tensor) -> dict[str, float]:
        shared, own = sums.split([len(sums) - len(self._own), len(self._own)])
        count, *losses = own.tolist()
        found = {name: x / count for name, x in zip(self._names, losses, strict=True)}
        others = super().metrics(shared).items()
        return found | {n: x for n, x in others if not n.startswith(("loss/", "mask/"))}
