"""Optimiser, learning-rate schedule, precision and weight averaging."""

import contextlib
import math
from typing import Any

import torch
from torch import nn

from pipeline.training.adamw import FusedAdamW
from pipeline.training.settings import OptimizerConfig, ScheduleConfig, TrainConfig


def learning_rate(
    optimizer: OptimizerConfig, schedule: ScheduleConfig, step: int, num_steps: int
) -> float:
    """Learning rate of a step (counted from 0): linear warm-up, then constant or half cosine."""
    if step < schedule.warmup_steps:
        return optimizer.learning_rate * (step + 1) / schedule.warmup_steps
    if schedule.shape == "constant":
        return optimizer.learning_rate
    length = max(1, num_steps - schedule.warmup_steps)
    progress = min(1.0, (step - schedule.warmup_steps) / length)
    final = schedule.final_fraction or 0.0
    return optimizer.learning_rate * (
        final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))
    )


class Optimisation:
    """One optimiser step at a time, in the configured precision.

    `step` expects gradients of the whole global batch. Its state is part of a
    checkpoint; the learning rate is computed from the step number.
    """

    def __init__(
        self, config: TrainConfig, model: nn.Module, device: torch.device, num_steps: int
    ) -> None:
        assert config.precision != "auto", "decided before anything is trained"
        self._config, self._num_steps, self._device = config, num_steps, device
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = config.optimizer
        self.optimizer = FusedAdamW(
            self._parameters,
            lr=optimizer.learning_rate,
            betas=optimizer.betas,
            weight_decay=optimizer.weight_decay,
        )
        uses_scaler = config.precision == "fp16"
        # Typed for torch's own optimisers; it only uses members that ours has too.
        self.scaler: Any = torch.amp.GradScaler(device.type) if uses_scaler else None

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Context for the forward pass."""
        dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16}
        dtype = dtypes.get(self._config.precision)
        if dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, dtype)

    def backward(self, loss: torch.Tensor) -> None:
        """Compute a loss's gradients and add them."""
        loss = self.scaler.scale(loss) if self.scaler else loss
        loss.backward()

    def step(self, step: int) -> None:
        """Update the weights in step number `step` (from 0) and clear the gradients."""
        rate = learning_rate(self._config.optimizer, self._config.schedule, step, self._num_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        clip_norm = self._config.optimizer.clip_norm
        if clip_norm is not None:
            if self.scaler:
                self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self._parameters, clip_norm)
        if self.scaler:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()
        self.optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"optimizer": self.optimizer.state_dict()}
        if self.scaler:
            state["scaler"] = self.scaler.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler:
            self.scaler.load_state_dict(state["scaler"])


def make_average(model: nn.Module, decay: float | None) -> Any:
    """An exponential moving average of a model's weights, None without a decay.

    Buffers are copied from the model: they are tables, and batch norm's running statistics, which
    are averages already.
    """
    if decay is None:
        return None
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=False)
