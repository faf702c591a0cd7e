"""What is being built: one description for the build under way and for the manifest.

Everything that the manifest will need is looked at before the first shard is made.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from data_prep.store.manifest import SCHEMA_VERSION, Manifest, SplitInfo
from data_prep.store.recipe import BadInputError, Recipe
from pipeline import __version__

KEYS = ("name", "group", "seed", "action", "frames", "columns", "generator", "source_checksums")
"""What two datasets must agree in for their shards to be the same."""


def make_manifest(recipe: Recipe, splits: dict[str, SplitInfo]) -> Manifest:
    """The manifest of a recipe's dataset."""
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=recipe.name,
        group=recipe.group,
        action=recipe.action_components,
        frames=recipe.frames,
        label_meaning=recipe.label_meaning,
        target_is_action_on_source=recipe.target_is_action_on_source,
        columns=dict(recipe.columns),
        splits=splits,
        seed=recipe.seed,
        generator=recipe.generator(),
        source_checksums=recipe.source_checksums(),
        package_version=__version__,
    )


def description_of(manifest: Manifest) -> dict[str, Any]:
    """What determines the records, as plain values."""
    plain = json.loads(json.dumps(dataclasses.asdict(manifest)))
    return {key: plain[key] for key in KEYS}


def description_of_recipe(recipe: Recipe) -> dict[str, Any]:
    """The same of a dataset that is not there yet.

    Raises BadInputError naming a value that no manifest can hold: a name that is not UTF-8,
    a number that is not finite.
    """
    manifest = make_manifest(recipe, {})
    for key, value in dataclasses.asdict(manifest).items():
        fault = _fault_of(value, key)
        if fault is not None:
            raise BadInputError(f"{recipe.name} cannot be described in a manifest: {fault}")
    return description_of(manifest)


def refuse_difference(out: Path, state: str, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise ValueError naming the keys in which the dataset in `out` is another one."""
    differing = []
    for key in wanted:
        if isinstance(wanted[key], dict) and isinstance(found.get(key), dict):
            keys = {*wanted[key], *found[key]}
            differing += [
                f"{key}.{name}"
                for name in sorted(keys)
                if wanted[key].get(name) != found[key].get(name)
            ]
        elif wanted[key] != found.get(key):
            differing.append(key)
    if differing:
        raise ValueError(
            f"{out} holds a{'n' if state[0] in 'aeiou' else ''} {state} dataset made with another"
            f" configuration (differing: {', '.join(differing)}):"
            " choose another directory, or say overwrite=true"
        )


def _fault_of(value: Any, place: str) -> str | None:
    """Why a value cannot stand in a JSON file, and where; None if it can."""
    if isinstance(value, dict):
        parts = [(key, f"a name in {place}") for key in value]
        parts += [(each, f"{place}.{_shown(str(key))}") for key, each in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(each, place) for each in value]
    elif isinstance(value, float) and not math.isfinite(value):
        return f"{place}={value} is not a finite number"
    elif isinstance(value, str) and _shown(value) != value:
        return f"{place}, '{_shown(value)}', is not UTF-8: rename the file or folder"
    else:
        return None
    return next((fault for part, where in parts if (fault := _fault_of(part, where))), None)


def _shown(text: str) -> str:
    """The same text, with escapes for what is not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
