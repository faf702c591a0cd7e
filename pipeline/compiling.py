"""Marking functions that torch's compiler must not trace, without importing the compiler.

`torch.compiler.disable` imports the compiler, which takes seconds that a program without
compilation saves.
"""

import functools
import importlib
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import nn

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
