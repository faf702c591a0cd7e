"""Bugs that a judge of faults must find, planted into the process that calls `plant`."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LATE = ".late"


def plant(name: str) -> None:
    """Plant one of BUGS; the modules are imported already."""
    BUGS[name]()


def _write_in_place() -> None:
    """Files are written under their own names, without a rename at the end."""
    from orbit.core.files import atomic

    sound = atomic.replacing

    @contextlib.contextmanager
    def replacing(path: Path) -> Iterator[Path]:
        yield path

    for module in list(sys.modules.values()):
        if getattr(module, "replacing", None) is sound:
            module.replacing = replacing  # type: ignore[attr-defined]


def _manifest_first() -> None:
    """A dataset is declared complete before its shards have their names."""
    from data_prep.building import builder

    finish = builder.finish_build

    def finish_build(recipe: Any, out: Path, *rest: Any) -> Any:
        files = [out / plan.file for plan in recipe.plans()]
        for file in files:
            os.rename(file, file.with_suffix(LATE))
        manifest = finish(recipe, out, *rest)
        for file in files:
            os.rename(file.with_suffix(LATE), file)
        return manifest

    builder.finish_build = finish_build


def _error_taken_for_damage() -> None:
    """A checkpoint that cannot be read at the moment counts as damaged."""
    from pipeline.run_files.checkpoint import CheckpointStore, DamagedCheckpointError

    load = CheckpointStore.load

    def load_or_damaged(self: CheckpointStore, step: int) -> Any:
        try:
            return load(self, step)
        except OSError as error:
            raise DamagedCheckpointError(f"step {step} is damaged: {error}") from None

    CheckpointStore.load = load_or_damaged  # type: ignore[method-assign]


BUGS: dict[str, Callable[[], None]] = {
    "a write without a rename": _write_in_place,
    "the manifest first": _manifest_first,
    "an error taken for damage": _error_taken_for_damage,
}
