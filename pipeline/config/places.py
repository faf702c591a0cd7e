"""The paths in the configuration of a run: absolute when they are written down, and found again
where the run directory was moved together with what it names. Pure but for looking whether a
path exists.
"""

import copy
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.config.user_text import check_utf8

RUN_DIR = "run_dir"
INPUTS = ("data", "init_from", "task.run")
PATH_KEYS = frozenset({RUN_DIR, *INPUTS})
"""Dotted keys of a training configuration that hold paths."""
WRITTEN_DOWN = PATH_KEYS | {"out", "images", "runs", "sweep_dir", "jobs_dir", "work"}
"""Keys of any configuration whose absolute paths records hold."""


def check_path(key: str, text: str) -> None:
    """ValueError naming the key for a path that no record can hold: one that is not UTF-8."""
    check_utf8(key, os.path.abspath(text) if key in WRITTEN_DOWN else text)


def with_absolute_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same nested values, with paths that mean the same from every folder."""
    return _changed(values, PATH_KEYS, os.path.abspath)


def with_real_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same nested values, with one spelling for each place: for comparisons."""
    return _changed(values, PATH_KEYS, os.path.realpath)


def with_found_paths(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What a run directory that lies in `folder` by now was made from, as far as it is there.

    A path that was written down counts where it leads somewhere. Otherwise, and first of all
    if it is relative to a folder that nobody remembers, the place counts that is as far from
    the run directory as it was at the start.
    """
    before = values.get(RUN_DIR)
    if not isinstance(before, str):
        return copy.deepcopy(dict(values))

    def find(path: str) -> str:
        beside = None
        if os.path.isabs(path) == os.path.isabs(before):
            steps = os.path.relpath(path, before)
            beside = os.path.normpath(os.path.join(os.path.abspath(folder), steps))
        if not os.path.isabs(path):
            return beside if beside is not None and os.path.exists(beside) else path
        if beside is not None and not os.path.exists(path) and os.path.exists(beside):
            return beside
        return path

    return _changed(values, INPUTS, find)


def _changed(
    values: Mapping[str, Any],
    keys: "frozenset[str] | tuple[str, ...]",
    change: Callable[[str], str],
) -> dict[str, Any]:
    """A copy in which the texts at dotted keys are changed, where there are any."""
    found = copy.deepcopy(dict(values))
    for key in keys:
        *parents, leaf = key.split(".")
        holder: Any = found
        for parent in parents:
            holder = holder.get(parent) if isinstance(holder, dict) else None
        if isinstance(holder, dict) and isinstance(holder.get(leaf), str) and holder[leaf]:
            holder[leaf] = change(holder[leaf])
    return found
