"""How torch computes: 16 bits, exact float32, determinism, threads, what the compiler leaves alone.

By default, torch lets convolutions use TF32 (10 of a number's 23 bits). Here only training steps
with `precision=tf32` do; measurements and outputs never do.

Functions that torch's compiler must not trace are marked without importing the compiler:
`torch.compiler.disable` imports it, which takes seconds that a program without compilation saves.
"""

import functools
import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from torch import nn

UNITS = {
    "bf16": frozenset({"avx512_bf16", "amx_bf16", "bf16"}),
    "fp16": frozenset({"avx512_fp16", "amx_fp16", "asimdhp"}),
}
"""Names in /proc/cpuinfo of the units for products in a format: Intel's and AMD's, then ARM's."""
FIRST_GPUS_WITH_BF16 = (8, 0)
"""Compute capability, as torch gives it: Ampere."""


def native_formats(device: torch.device) -> frozenset[str]:
    """Those of bf16 and fp16 for which a device has units.

    A processor without them converts every number back and forth: in bf16, one without AVX-512
    took 59 times as long for a matrix product and 8 times for a convolution as in float32, one
    with AVX-512 but without units for bf16 3 times for a training step.
    """
    if device.type == "cpu":
        return formats_of(read_cpu_flags())
    has_bf16 = torch.cuda.get_device_capability(device) >= FIRST_GPUS_WITH_BF16
    return frozenset({"bf16", "fp16"} if has_bf16 else {"fp16"})


def formats_of(cpu_flags: frozenset[str]) -> frozenset[str]:
    """Those of bf16 and fp16 for which a processor with these flags has units."""
    return frozenset(name for name, units in UNITS.items() if units & cpu_flags)


def read_cpu_flags(file: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The flags of the first processor; empty if they are not known."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(values.split())
    return frozenset()


def complaint(precision: str, device: torch.device) -> str | None:
    """A message if this precision is slower than float32 on this device, else None."""
    if precision not in UNITS or precision in native_formats(device):
        return None
    what = "CPU" if device.type == "cpu" else "GPU"
    return f"precision={precision} is slower than fp32 on this {what}, which has no units for it"


CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def float32_arithmetic(precision: str) -> Iterator[None]:
    """Let products and convolutions of float32 use TF32 inside if `precision` is `tf32`.

    Otherwise they do not. Earlier settings are restored at the end. Only the older family of
    torch's switches is used, because torch raises an error if the two are mixed.
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
    """Context or decorator in which float32 is computed exactly, without TF32, on every device."""
    with float32_arithmetic("fp32"):
        yield


@contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """Choose algorithms inside that give the same bits each time, if torch has one.

    If it has none (the gradient of interpolation, `grid_sample`), torch warns once. Enter it before
    the process uses a GPU, because cuBLAS reads its setting only once.
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
        # Kernels are chosen by a rule, not by timing them.
        compiler.deterministic = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Reading memory before it is written would be a bug; filling it would cost time.
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


MAX_THREADS = 1024
"""More than any machine can use; with a hundred times as many torch ends the process."""


def use_threads(num_threads: int) -> None:
    """Set the number of threads for arithmetic; ValueError for an impossible number."""
    if not 1 <= num_threads <= MAX_THREADS:
        raise ValueError(f"num_threads={num_threads} is not allowed; allowed: 1 to {MAX_THREADS}")
    torch.set_num_threads(num_threads)


P = ParamSpec("P")
T = TypeVar("T")

_marked: list[list[Callable[..., Any]]] = []


def not_compiled(function: Callable[P, T]) -> Callable[P, T]:
    """Mark a function that no graph can contain: it draws by a seed, or communicates with other
    ranks."""
    called: list[Callable[P, T]] = [function]
    _marked.append(called)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return called[0](*args, **kwargs)

    return call


def prepare_compiler() -> None:
    """Tell the compiler which functions not to trace; call this before anything is compiled.

    If torch must not use vector instructions (ATEN_CPU_CAPABILITY=default), its compiler does not
    either, but may take code with vectors from its cache. A setting that is part of the cache's
    keys prevents this.
    """
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        config: Any = importlib.import_module("torch._inductor.config")
        config.cpp.simdlen = 1
    while _marked:
        called = _marked.pop()
        called[0] = torch.compiler.disable(called[0])


def compile_in_place(module: nn.Module, mode: str | None = None) -> None:
    """`module.compile(mode=mode)`, without tracing marked functions."""
    prepare_compiler()
    module.compile(mode=mode)
