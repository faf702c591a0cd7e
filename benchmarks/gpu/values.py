"""Whether a device computes what the CPU does: outputs, gradients, and their scaling in fp16."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from trainer_laps import alone

from gpu.found import Found, config_of, first_records
from gpu.plan import PRECISIONS, Job, Sizes
from gpu.speed import forget_compiled
from orbit.core.store.manifest import read_manifest
from pipeline.arithmetic import float32_arithmetic
from pipeline.data.packing import Batch
from pipeline.methods.interface import Task
from pipeline.methods.table import make_task
from pipeline.training.optimisation import Optimisation
from pipeline.training.settings import TrainConfig
from pipeline.training.trainer import compile_mode

OUTPUT_LIMITS = {"fp32": 1e-4, "tf32": 2e-2, "bf16": 1e-1}
"""How far a layer's outputs may lie from those in float32 on a CPU, relative to the largest."""

GRADIENT_LIMITS = {"fp32": 3e-4, "tf32": 3e-2, "bf16": 2e-1, "fp16": 5e-2}
"""Likewise all gradients together, by Euclidean norm."""

NUM_COMPILED_STEPS = 4
"""From the third on CUDA graphs repeat what they have recorded."""

MAX_HALVINGS = 20
"""Of a scale that begins at 65,536: down to less than 1."""


@dataclass(frozen=True)
class Values:
    """What a step computes: loss, outputs of every layer, gradients; on the CPU, float32."""

    loss: torch.Tensor
    outputs: dict[str, torch.Tensor]
    gradients: dict[str, torch.Tensor]


def check_values(job: Job, folder: Path, device: str, sizes: Sizes) -> Found:
    """Layers' outputs and gradients of a small batch in every precision of the device, against
    those of the CPU in float32."""
    batch = first_records(job, folder, sizes)
    wanted = step_values(config_of(job, folder, "cpu"), batch, torch.device("cpu"))
    values: dict[str, float] = {}
    missed = []
    for precision in PRECISIONS:
        if precision == "tf32" and device == "cpu":
            continue
        config = config_of(job, folder, device, f"precision={precision}")
        found = deviations(wanted, step_values(config, batch, alone(device).device))
        values |= {f"{precision} {name}": value for name, value in found.items()}
        limits = {"outputs": OUTPUT_LIMITS[precision], "gradients": GRADIENT_LIMITS[precision]}
        missed += [
            f"{precision} {name} {found[name]:.2g} apart, allowed {limit:.2g}"
            for name, limit in limits.items()
            if found[name] > limit
        ]
    return Found(not missed, values, "; ".join(missed))


def check_compiled(job: Job, folder: Path, device: str, sizes: Sizes) -> Found:
    """Gradients of a compiled step against those of an eager one on the same device."""
    forget_compiled()
    batch, where = first_records(job, folder, sizes), alone(device).device
    wanted = step_values(config_of(job, folder, device, "compile=false"), batch, where)
    found = step_values(config_of(job, folder, device), batch, where, NUM_COMPILED_STEPS)
    apart = deviations(Values(wanted.loss, {}, wanted.gradients), found)
    forget_compiled()
    limit = GRADIENT_LIMITS["fp32"]
    is_met = apart["gradients"] <= limit
    note = "" if is_met else f"gradients {apart['gradients']:.2g} apart, allowed {limit:.2g}"
    return Found(is_met, apart, note)


def check_scaling(job: Job, folder: Path, device: str, sizes: Sizes) -> Found:
    """In fp16 gradients are those of float32, and a step that overflows changes no weight but
    halves the scale, which a checkpoint keeps."""
    batch, where = first_records(job, folder, sizes), alone(device).device
    wanted = step_values(config_of(job, folder, device), batch, where)
    config = config_of(job, folder, device, "precision=fp16")
    task = _task(config, where)
    optimisation = Optimisation(config, task.model, where, 2)
    scaler = optimisation.scaler
    assert scaler is not None
    here = Batch(*(values.to(where) for values in batch))
    problems = []

    def backward(factor: float) -> None:
        with optimisation.autocast():
            loss, _ = task.objective(*here)
        optimisation.backward(loss * factor)

    scaled: dict[str, torch.Tensor] = {}
    for attempt in range(MAX_HALVINGS):
        backward(1.0)
        scale = scaler.get_scale()
        scaled = {name: values / scale for name, values in _gradients(task.model).items()}
        if all(values.isfinite().all() for values in scaled.values()):
            break
        optimisation.step(attempt)
    apart = deviations(Values(wanted.loss, {}, wanted.gradients), Values(wanted.loss, {}, scaled))
    if apart["gradients"] > GRADIENT_LIMITS["fp16"]:
        problems.append(f"gradients {apart['gradients']:.2g} apart")
    optimisation.optimizer.zero_grad()
    before = [parameter.detach().clone() for parameter in task.model.parameters()]
    backward(float("inf"))
    optimisation.step(0)
    if not _are_equal(before, task.model.parameters()):
        problems.append("a step that overflowed changed the weights")
    if scaler.get_scale() != scale / 2:
        problems.append(f"the scale went from {scale:g} to {scaler.get_scale():g}, not to a half")
    other = Optimisation(config, task.model, where, 2)
    other.load_state_dict(optimisation.state_dict())
    if other.scaler is None or other.scaler.get_scale() != scaler.get_scale():
        problems.append("a checkpoint lost the scale")
    backward(1.0)
    optimisation.step(1)
    if _are_equal(before, task.model.parameters()):
        problems.append("an ordinary step changed no weight")
    values = {"gradients": apart["gradients"], "scale": scale}
    return Found(not problems, values, "; ".join(problems))


def step_values(
    config: TrainConfig, batch: Batch, device: torch.device, num_steps: int = 1
) -> Values:
    """What a batch gives with weights of seed 0, in the last of `num_steps` equal steps.

    Compiled as configured; then the outputs of layers cannot be seen and there are none.
    """
    task = _task(config, device)
    outputs: dict[str, torch.Tensor] = {}
    if config.compile is False:
        _watch_outputs(task.model, outputs)
    else:
        task.objective.compile(mode=compile_mode(config))
    optimisation = Optimisation(config, task.model, device, num_steps)
    here = Batch(*(values.to(device) for values in batch))
    for _ in range(num_steps):
        optimisation.optimizer.zero_grad()
        with float32_arithmetic(config.precision):
            with optimisation.autocast():
                loss, _ = task.objective(*here)
            loss.backward()
    return Values(_on_cpu(loss), outputs, _gradients(task.model))


def deviations(wanted: Values, found: Values) -> dict[str, float]:
    """How far apart: `loss` relative, `outputs` in the worst layer relative to its largest
    value, `gradients` as a whole by Euclidean norm. Infinite where something is missing or
    not finite."""
    values = {
        "loss": _relative(found.loss - wanted.loss, wanted.loss),
        "gradients": _apart(wanted.gradients, found.gradients),
    }
    if wanted.outputs:
        is_whole = wanted.outputs.keys() == found.outputs.keys()
        values["outputs"] = (
            max(_relative(found.outputs[name] - y, y) for name, y in wanted.outputs.items())
            if is_whole
            else float("inf")
        )
    return {name: value if value == value else float("inf") for name, value in values.items()}


def _apart(wanted: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> float:
    if wanted.keys() != found.keys() or not wanted:
        return float("inf")
    both = [torch.cat([part[name].flatten() for name in wanted]) for part in (wanted, found)]
    size = both[0].double().norm()
    return float((both[1].double() - both[0].double()).norm() / size.clamp_min(1e-30))


def _relative(difference: torch.Tensor, wanted: torch.Tensor) -> float:
    return float(difference.abs().max() / wanted.abs().max().clamp_min(1e-12))


def _task(config: TrainConfig, device: torch.device) -> Task:
    return make_task(config.task, read_manifest(Path(config.data)), 0, device)


def _watch_outputs(model: nn.Module, outputs: dict[str, torch.Tensor]) -> None:
    """Keep the first output of every layer that holds no other."""

    def keep(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, torch.Tensor) and output.numel():
                outputs.setdefault(name, _on_cpu(output))

        return hook

    for name, module in model.named_modules():
        if not list(module.children()):
            module.register_forward_hook(keep(name))


def _gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: _on_cpu(parameter.grad)
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def _on_cpu(values: torch.Tensor) -> torch.Tensor:
    return values.detach().float().cpu().clone()


def _are_equal(before: Iterable[torch.Tensor], now: Iterable[torch.Tensor]) -> bool:
    return all(map(torch.equal, before, now))
