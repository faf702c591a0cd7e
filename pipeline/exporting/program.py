"""One function of a model on plain tensors, and its file."""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

BATCHES = (1, 2, 5)
"""Batch sizes at which a written program is compared with its model."""
TRACED_BATCH = 3


@dataclass(frozen=True)
class TensorSpec:
    """A tensor that goes in or comes out; `shape` without the batch, which is the first axis."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    meaning: str

    def as_json(self) -> dict[str, Any]:
        """For the signature."""
        shape = ["batch", *self.shape]
        return {"name": self.name, "dtype": self.dtype, "shape": shape, "meaning": self.meaning}


@dataclass(frozen=True)
class Program:
    """`module` maps tensors of `inputs` to a tuple of those of `outputs`.

    `example` makes inputs of a batch size, the same ones every time.
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
    # Only the strict tracer keeps a batch size open that the code asks for by len().
    exported = torch.export.export(program.module, inputs, dynamic_shapes=shapes, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = io.BytesIO()
        torch.export.save(exported, content)
    # By Python: torch's own writer and reader of files have no names for what a disk lacks.
    path.write_bytes(content.getvalue())


@torch.no_grad()
def greatest_difference(program: Program, path: Path, max_batch: int) -> float:
    """Between the model and the program read back from its file, over several batch sizes: no
    larger than `max_batch`, but for the two that show that the size is open."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        written = torch.export.load(io.BytesIO(path.read_bytes())).module()
    greatest = 0.0
    for batch in (size for size in BATCHES if size <= max(2, max_batch)):
        inputs = program.example(batch)
        pairs = zip(program.module(*inputs), written(*inputs), strict=True)
        greatest = max(greatest, *(float((a - b).abs().max()) for a, b in pairs))
    return greatest
