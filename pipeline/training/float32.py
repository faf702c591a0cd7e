"""How exactly float32 is computed on a GPU, and whether alike each time.

torch lets convolutions use TF32 (10 of a number's 23 bits) unless it is told otherwise. Here
a training step may, where `precision=tf32` says so; what is measured or handed out never is.
"""

import importlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def float32_arithmetic(precision: str) -> Iterator[None]:
    """Let products and convolutions of float32 use TF32 inside if `precision` is `tf32`.

    Otherwise they do not. The settings from before come back at the end. Only the one
    older family of torch's switches is touched: it complains where the two are mixed.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (matmul.allow_tf32, cudnn.allow_tf32)
    matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


@contextmanager
def exact_float32() -> Iterator[None]:
    """Context, or decorator of a function, in which float32 is float32 on every device."""
    with float32_arithmetic("fp32"):
        yield


@contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """Choose algorithms inside that give the same bits each time, where torch has one.

    Where it has none (the gradient of interpolation, `grid_sample`) torch warns once. To be
    entered before the process has used a GPU, for cuBLAS reads its setting only once.
    """
    if not wanted:
        yield
        return
    cudnn = torch.backends.cudnn
    before = (cudnn.deterministic, cudnn.benchmark)
    memory: Any = torch.utils.deterministic
    compiler: Any = importlib.import_module("torch._inductor.config")
    timed_choices = getattr(compiler, "deterministic", None)
    was_on = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = memory.fill_uninitialized_memory
    workspace = os.environ.get(CUBLAS_WORKSPACE)
    os.environ.setdefault(CUBLAS_WORKSPACE, ":4096:8")
    cudnn.deterministic, cudnn.benchmark = True, False
    if timed_choices is not None:
        # Kernels are chosen by what they are, not by how long they took just now.
        compiler.deterministic = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Memory that is read before it is written would be a bug of ours; to fill it costs time.
    memory.fill_uninitialized_memory = False
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("once", message=".*does not have a deterministic.*")
            yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before
        torch.use_deterministic_algorithms(was_on, warn_only=only_warned)
        memory.fill_uninitialized_memory = filled
        if timed_choices is not None:
            compiler.deterministic = timed_choices
        if workspace is None:
            os.environ.pop(CUBLAS_WORKSPACE, None)
