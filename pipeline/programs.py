"""One exported program: example inputs, checks of inputs, the file, the comparison with the model.

For an invalid action or an empty batch a program raises a RuntimeError that says so. On a GPU,
where checks do not wait, the error comes from the next call that waits.
"""

import io
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from orbit.core.actions import ActionComponent
from orbit.core.groups import Group
from orbit.core.store.manifest import FrameSpec

SEED = 0


def uniform(shape: tuple[int, ...], stream: int) -> torch.Tensor:
    """Numbers in [0, 1), float32."""
    values = np.random.default_rng([SEED, stream]).random(math.prod(shape), np.float32)
    return torch.from_numpy(values.reshape(shape))


def example_frames(spec: FrameSpec, num: int) -> torch.Tensor:
    """Noise over the whole stored range, (num, C, ...), as stored."""
    low, high = spec.stored_range
    values = low + uniform((num, *spec.shape), 0) * (high - low)
    return values.to(getattr(torch, spec.dtype))


def example_actions(components: Sequence[ActionComponent], num: int) -> torch.Tensor:
    """Action vectors (num, A) within the ranges of their components; counted components are
    integers."""
    low, high = (
        torch.tensor([getattr(component, end) for component in components])
        for end in ("minimum", "maximum")
    )
    values = low + uniform((num, len(components)), 1) * (high - low)
    is_counted = (high - low) > 2
    return torch.where(is_counted, values.round(), values)


COUNTED = "number"
"""The unit of components that count or number things."""
ELEMENT_TOLERANCE = 0.02
"""The largest difference of the numbers of an action vector from those of an element."""


def check_batch(values: torch.Tensor) -> None:
    """Fail for an empty batch, which the model cannot process."""
    each = torch.ones(values.shape[0], dtype=torch.bool, device=values.device)
    torch._assert_async(each.any(), "a batch must hold at least one record")


def check_element(group: Group, action: torch.Tensor) -> None:
    """Fail for action vectors (B, A) that no element of the group has."""
    check_range(group.action_components, action)
    written = group.encode(group.decode(action))
    # A quaternion and its negative are one rotation.
    distance = torch.minimum((written - action).abs(), (written + action).abs())
    torch._assert_async(
        (distance <= ELEMENT_TOLERANCE).all(),
        f"action: a vector is not an element of the group {group.name};"
        " see group in signature.json",
    )


def check_range(components: Sequence[ActionComponent], action: torch.Tensor) -> None:
    """Fail for action vectors (B, A) with a number outside its component's range, or NaN.

    Also fail for a fraction in a component that counts things.
    """
    low, high = (
        torch.tensor([getattr(component, end) for component in components], dtype=action.dtype)
        for end in ("minimum", "maximum")
    )
    ranges = ", ".join(f"{each.name} {each.minimum:g} to {each.maximum:g}" for each in components)
    is_inside = (action >= low - ELEMENT_TOLERANCE) & (action <= high + ELEMENT_TOLERANCE)
    torch._assert_async(is_inside.all(), f"action: a number is out of its range ({ranges})")
    counted = torch.tensor([component.unit == COUNTED for component in components])
    is_whole = (action - action.round()).abs() <= ELEMENT_TOLERANCE
    names = ", ".join(each.name for each in components if each.unit == COUNTED)
    if names:
        torch._assert_async((is_whole | ~counted).all(), f"action: not whole numbers: {names}")


BATCHES = (1, 2, 5)
"""Batch sizes for which a written program is compared with its model."""
TRACED_BATCH = 3


@dataclass(frozen=True)
class TensorSpec:
    """An input or output tensor; `shape` is without the batch, which is the first axis."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    meaning: str

    def as_json(self) -> dict[str, Any]:
        """The entry in the signature."""
        shape = ["batch", *self.shape]
        return {"name": self.name, "dtype": self.dtype, "shape": shape, "meaning": self.meaning}


@dataclass(frozen=True)
class Program:
    """A program: `module` maps tensors of `inputs` to a tuple of those of `outputs`.

    `example` makes inputs of a batch size, always the same ones.
    """

    name: str
    meaning: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    example: Callable[[int], tuple[torch.Tensor, ...]]

    @property
    def file(self) -> str:
        return f"{self.name}.pt2"


@torch.no_grad()
def write_program(program: Program, path: Path) -> None:
    """Trace a program for any batch size and save it with its weights."""
    inputs = program.example(TRACED_BATCH)
    batch = torch.export.Dim("batch")
    shapes = tuple({0: batch} for _ in inputs)
    # Only the strict tracer keeps the batch size variable if the code uses len().
    exported = torch.export.export(program.module, inputs, dynamic_shapes=shapes, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = io.BytesIO()
        torch.export.save(exported, content)
    # With Python's files: torch's own writer and reader do not report errors of the disk by name.
    path.write_bytes(content.getvalue())


@torch.no_grad()
def greatest_difference(program: Program, path: Path, max_batch: int) -> float:
    """The greatest difference between the model and the program read back from its file, over
    several batch sizes up to `max_batch` (at least two, to show that the size is variable)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        written = torch.export.load(io.BytesIO(path.read_bytes())).module()
    greatest = 0.0
    for batch in (size for size in BATCHES if size <= max(2, max_batch)):
        inputs = program.example(batch)
        pairs = zip(program.module(*inputs), written(*inputs), strict=True)
        greatest = max(greatest, *(float((a - b).abs().max()) for a, b in pairs))
    return greatest
