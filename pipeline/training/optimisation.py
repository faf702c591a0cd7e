"""Optimiser, learning-rate schedule, precision and weight averaging.

AdamW runs by torch's fused kernel, without `torch.optim.Optimizer` around it. Creating a torch
optimiser imports torch's compiler, which takes seconds that a run without compilation saves. Steps
and state are those of `torch.optim.AdamW(fused=True)`, bit for bit.
"""

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.profiler import record_function

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


STATE = ("step", "exp_avg", "exp_avg_sq")


class FusedAdamW:
    """Adam with decoupled weight decay over parameters on one device.

    `param_groups` holds one group, whose `lr` may be changed between steps. A gradient scaler uses
    it like a torch optimiser: it sets `grad_scale` and `found_inf` for a step, which then divides
    gradients by the first and does nothing if the second is not 0.
    """

    _step_supports_amp_scaling = True

    def __init__(
        self,
        parameters: Sequence[torch.nn.Parameter],
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
        eps: float = 1e-8,
    ) -> None:
        self._parameters = list(parameters)
        self.param_groups: list[dict[str, Any]] = [
            {
                "params": self._parameters,
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
            }
        ]
        self.state: dict[int, dict[str, torch.Tensor]] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters that have gradients."""
        with record_function("Optimizer.step#AdamW.step"):
            self._step()

    def _step(self) -> None:
        (group,) = self.param_groups
        by_type: dict[torch.dtype, list[int]] = {}
        for number, parameter in enumerate(self._parameters):
            if parameter.grad is not None:
                by_type.setdefault(parameter.dtype, []).append(number)
                if number not in self.state:
                    self.state[number] = _new_state(parameter)
        beta1, beta2 = group["betas"]
        # Set by the gradient scaler for this step, if there is one.
        grad_scale, found_inf = (getattr(self, name, None) for name in ("grad_scale", "found_inf"))
        for numbers in by_type.values():
            chosen: list[torch.Tensor] = [self._parameters[number] for number in numbers]
            steps, first, second = (
                [self.state[number][name] for number in numbers] for name in STATE
            )
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                chosen,
                [p.grad for p in chosen if p.grad is not None],
                first,
                second,
                [],
                steps,
                amsgrad=False,
                lr=group["lr"],
                beta1=beta1,
                beta2=beta2,
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                maximize=False,
                grad_scale=grad_scale,
                found_inf=found_inf,
            )
            if found_inf is not None:
                torch._foreach_sub_(steps, [found_inf] * len(steps))

    def zero_grad(self) -> None:
        """Release all gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Steps and moments by number of the parameter, and settings of the group."""
        (group,) = self.param_groups
        own = {**group, "params": list(range(len(self._parameters)))}
        return {"state": {n: dict(of) for n, of in self.state.items()}, "param_groups": [own]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of this class or of `torch.optim.AdamW`; settings are unchanged.

        Raises ValueError if the number of parameters differs.
        """
        (group,) = state["param_groups"]
        if len(group["params"]) != len(self._parameters):
            raise ValueError(
                f"the optimiser's state is of {len(group['params'])} parameters,"
                f" this model has {len(self._parameters)}"
            )
        self.state = {
            int(number): _to_device(of, self._parameters[int(number)])
            for number, of in state["state"].items()
        }


def _new_state(parameter: torch.nn.Parameter) -> dict[str, torch.Tensor]:
    return {
        "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": torch.zeros_like(parameter),
    }


def _to_device(
    state: dict[str, torch.Tensor], parameter: torch.nn.Parameter
) -> dict[str, torch.Tensor]:
    """A copy on the device, because the moments are changed in place."""
    types = {"step": torch.float32}
    return {
        name: state[name].to(parameter.device, types.get(name, parameter.dtype), copy=True)
        for name in STATE
    }
