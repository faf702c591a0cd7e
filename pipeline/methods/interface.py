"""The interfaces of methods and of their tasks, as the trainer and other programs use them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from orbit.core.metrics import Metric
from orbit.core.store.manifest import FrameSpec, Manifest

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from orbit.core.store.reader import Records
    from pipeline.data.packing import Batch
    from pipeline.measuring import Findings, Subject, TrainedModel
    from pipeline.programs import Program


class Evaluation(Protocol):
    """Sums over a split, on the device, which can be added over batches and ranks."""

    def update(self, batch: Batch) -> None:
        """Add one batch; records with `valid` 0 must not count."""

    def sums(self) -> torch.Tensor:
        """All sums as one float64 vector."""

    def metrics(self, sums: torch.Tensor) -> dict[str, float]:
        """Named metrics from the (all-reduced) sums."""


class Task(Protocol):
    """A model with its training objective and its evaluation."""

    @property
    def model(self) -> nn.Module:
        """The module whose state is checkpointed."""

    @property
    def objective(self) -> nn.Module:
        """Holds `model`; called with the tensors of a `Batch` it returns the loss to
        minimise and the detached float32 vector of `term_names`."""

    @property
    def term_names(self) -> tuple[str, ...]:
        """Names of the terms of each step, logged as means; `loss/total` first."""

    @property
    def mixes_batch(self) -> bool:
        """Whether the loss of a record depends on the other records of its global batch
        (batch norm, negatives). Gradient accumulation would change such a loss."""

    @property
    def selection_metric(self) -> str:
        """Validation metric whose lowest value marks the best checkpoint."""

    def after_step(self) -> None:
        """Update running statistics after an optimiser step, on the device, without a sync."""

    def end_epoch(self) -> None:
        """Reset the statistics that count over an epoch."""

    def statistics(self) -> dict[str, float]:
        """Running statistics for the log; may synchronise with the device."""

    def state_dict(self) -> dict[str, Any]:
        """Running statistics, as tensors, for a checkpoint."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""

    def collapse_message(self, means: Mapping[str, float]) -> str | None:
        """A message if the logged means show a collapsed model, else None."""

    def evaluation(self, model: nn.Module) -> Evaluation:
        """A fresh evaluation of `model` (the task's own, or an average of its weights), which
        is in evaluation mode. Every rank updates it equally often."""


class PlainTask:
    """Defaults to inherit from, for the members of a `Task` that most methods do not use: no
    statistics and no detection of a collapse."""

    def after_step(self) -> None:
        """Do nothing."""

    def end_epoch(self) -> None:
        """Do nothing."""

    def statistics(self) -> dict[str, float]:
        """None."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Do nothing: there is no state."""

    def collapse_message(self, means: Mapping[str, float]) -> str | None:
        """None."""
        return None


@dataclass(frozen=True)
class Latents:
    """The latent of a model, as the measures that all methods share use it.

    `encode` maps frames as stored (N, C, ...), on the model's device, to the parts of their
    latents by name, (N, ...) float32 each; together they are the whole latent. `acted` names the
    part on which the group acts: `act` maps values of it and elements, one each, to moved values.
    `decode` maps parts to images (N, C, ...) on [0, 1]. A model without an action has neither
    `acted` nor `act`, one without a decoder no `decode`.
    """

    encode: Callable[[torch.Tensor], Mapping[str, torch.Tensor]]
    acted: str | None = None
    act: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    decode: Callable[[Mapping[str, torch.Tensor]], torch.Tensor] | None = None

    def __post_init__(self) -> None:
        if (self.acted is None) != (self.act is None):
            raise ValueError("acted names the part that act moves: give both or neither")


@dataclass(frozen=True)
class Method:
    """A way to learn how a group acts, from its settings to its pictures: `METHOD` of its folder.

    `config` is its dataclass, whose `name` is the method's. `make` builds the task, its weights
    drawn from torch's generator, and raises ValueError for a dataset that it cannot be trained
    on. `measure` takes metrics and curves of a finished run, but for rounding the same for any
    batch; `draw` writes pictures below the run directory. `programs` are what is exported,
    None where nothing is yet. `describe` gives further lines of a description, by their
    headings. `preview` makes rows of frames (N, C, H, W) on [0, 1] of N validation records, by
    their names, with a model in evaluation mode that is still being trained. `latents` offers the
    latent of such a model to the measures that methods share (`referee=true`). `metrics` says what
    they mean, what is better and where in tables they stand. What takes long to import is
    imported when it is called: launchers and reports read methods, too.
    """

    name: str
    config: type
    make: Callable[[Any, Manifest, torch.device], Task]
    measure: Callable[[Subject], Findings]
    draw: Callable[[Subject], None]
    programs: Callable[[TrainedModel, Manifest], list[Program]] | None = None
    describe: Callable[[TrainedModel, Manifest], Mapping[str, str]] | None = None
    preview: Callable[[nn.Module, Records, FrameSpec], Mapping[str, np.ndarray]] | None = None
    metrics: tuple[Metric, ...] = ()
    latents: Callable[[nn.Module, Manifest], Latents] | None = None
