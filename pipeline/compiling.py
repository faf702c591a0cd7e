"""What torch's compiler shall leave alone, said without importing it.

`torch.compiler.disable` imports the compiler, which takes seconds; a program that compiles
nothing does without.
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
    """Decorate what no graph can hold: it draws by a seed, or speaks with other ranks."""
    called: list[Callable[P, T]] = [function]
    _marked.append(called)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return called[0](*args, **kwargs)

    return call


def prepare_compiler() -> None:
    """Tell the compiler what to leave alone; before anything is compiled.

    Where torch is told to do without vectors (ATEN_CPU_CAPABILITY=default), its compiler does so
    too, but takes code with vectors from its cache: a setting that is part of the cache's keys
    keeps the two apart.
    """
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        config: Any = importlib.import_module("torch._inductor.config")
        config.cpp.simdlen = 1
    while _marked:
        called = _marked.pop()
        called[0] = torch.compiler.disable(called[0])


def compile_in_place(module: nn.Module, mode: str | None = None) -> None:
    """`module.compile(mode=mode)`, with what is marked left alone."""
    prepare_compiler()
    module.compile(mode=mode)
