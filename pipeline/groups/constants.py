"""Functions whose results the compiler may take as constants."""

from collections.abc import Callable
from typing import TypeVar

Function = TypeVar("Function", bound=Callable[..., object])


def constant_to_compiler(function: Function) -> Function:
    """What `torch.compiler.assume_constant_result` does, without importing the compiler.

    That takes a second, for which programs that compile nothing need not wait.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
