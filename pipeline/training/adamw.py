"""AdamW by torch's fused kernel, without `torch.optim.Optimizer` around it.

Creating a torch optimiser imports torch's compiler, which takes seconds that a run without
compilation saves. Steps and state are those of `torch.optim.AdamW(fused=True)`, bit for bit.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.profiler import record_function

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
