"""TensorBoard's event files."""

import threading
from pathlib import Path
from typing import Any

_print_error = threading.excepthook


def open_events(folder: Path, **options: Any) -> Any:
    """TensorBoard's SummaryWriter, with these options.

    It writes in a thread of its own. An error of the operating system is raised by the next call of
    `add_scalar` or `flush`; the thread does not print it.
    """
    from torch.utils.tensorboard import SummaryWriter

    threading.excepthook = _pass_over_errors_of_writers
    return SummaryWriter(str(folder), **options)  # type: ignore[no-untyped-call]


def _pass_over_errors_of_writers(error: Any) -> None:
    is_writer = type(error.thread).__module__.startswith("tensorboard.")
    if not (is_writer and isinstance(error.exc_value, OSError)):
        _print_error(error)
