"""Names of runs: readable, safe as file names, and bound to the configuration by a hash."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.training.run_directory import flatten
from pipeline.training.settings import KEYS_FREE_TO_CHANGE, TrainConfig

HASH_LENGTH, LONG_HASH_LENGTH = 8, 16
MAX_LABEL = 80


def content_hash(config: TrainConfig, dataset: str) -> str:
    """Hash of all that decides a run's results: keys off their defaults, and the dataset.

    The first `HASH_LENGTH` digits stand in a run's name, or `LONG_HASH_LENGTH` where others
    have the same ones.
    `dataset` is the fingerprint. Keys at their default are left out, so that a key
    added later does not rename the runs there are.
    """
    values = {
        key: value
        for key, value in flatten(off_default(config)).items()
        if key not in KEYS_FREE_TO_CHANGE
    }
    text = json.dumps({"dataset": dataset, **values}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def off_default(config: Any) -> dict[str, Any]:
    """Fields of a dataclass that differ from their default or have none, nested ones likewise."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            inner = off_default(value)
            if inner:
                found[field.name] = inner
        elif field.default is dataclasses.MISSING or value != field.default:
            found[field.name] = value
    return found


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """The shortest ends of dotted keys that tell them apart."""
    short = {}
    for key in keys:
        parts = key.split(".")
        for length in range(1, len(parts) + 1):
            end = parts[-length:]
            if sum(other.split(".")[-length:] == end for other in keys) == 1:
                break
        short[key] = ".".join(end)
    return short


def readable_name(point: Mapping[str, Any], short: Mapping[str, str]) -> str:
    """`control-half-mask_tau0.3_seed1` for {control: half_mask, task.tau: 0.3, seed: 1}."""
    parts = [f"{short[key]}{_between(point[key])}{_safe(point[key])}" for key in point]
    return "_".join(parts)[:MAX_LABEL].strip("._-") or "run"


def _between(value: Any) -> str:
    return "-" if isinstance(value, str) else ""


def _safe(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    if text.startswith(("/", "./", "../", "~")):
        text = text.rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", text).strip("-")
