"""TensorBoard's event files."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_print_error = threading.excepthook


def open_events(folder: Path, **options: Any) -> Any:
    """TensorBoard's SummaryWriter, with these options.

    It writes in a separate thread. An error of the operating system is raised by the next call of
    `add_scalar` or `flush`; the thread does not print it.
    """
    from torch.utils.tensorboard import SummaryWriter

    threading.excepthook = _pass_over_errors_of_writers
    return SummaryWriter(str(folder), **options)  # type: ignore[no-untyped-call]


def write_settings(writer: Any, settings: Mapping[str, Any]) -> None:
    """Fill the tab HPARAMS, which shows settings beside all scalars of the folder.

    Numbers, truth values and texts stay what they are; anything else becomes its text.
    """
    from torch.utils.tensorboard.summary import hparams

    plain = {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in settings.items()
    }
    # The first summary lists the metrics; without it TensorBoard takes all scalars there are.
    _, begin, end = hparams(plain, {})  # type: ignore[no-untyped-call]
    for summary in (begin, end):
        writer._get_file_writer().add_summary(summary)


def _pass_over_errors_of_writers(error: Any) -> None:
    is_writer = type(error.thread).__module__.startswith("tensorboard.")
    if not (is_writer and isinstance(error.exc_value, OSError)):
        _print_error(error)
