"""Where each value of a composed configuration came from: `print_config=true`.

The output is YAML, with the origin of each value in a comment: a file of `configs/`, the command
line, or the default of a class. A training configuration in this form can be used again:
config=FILE.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orbit.core.config.compose import choices_of, hydra_overrides, split_override
from orbit.core.config.roots import CONFIG_ROOT, config_roots
from orbit.core.config.yaml_files import read_yaml, yaml_line

COMMAND_LINE = "command line"


def print_text(
    config: Any,
    config_name: str,
    overrides: Sequence[str],
    dependent_groups: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> str:
    """A composed configuration, an instance of its dataclass, with the origin of each value.

    The other arguments are those of `compose`; `file` was read instead of composing, if given.
    """
    if file is not None:
        return _file_text(config, file, overrides)
    choices = choices_of(config_name, overrides, dependent_groups or {})
    origins: dict[str, str] = {}
    for name, keys in files_of(config_name, choices, dependent_groups or {}):
        origins |= dict.fromkeys(keys, name)
    said = {key: COMMAND_LINE for key, _ in map(split_override, overrides) if key not in choices}
    return annotated(config, origins | said, [f"{key}={value}" for key, value in choices.items()])


def _file_text(config: Any, file: Path, overrides: Sequence[str]) -> str:
    origins = dict.fromkeys(_leaves(read_yaml(file.read_text(encoding="utf-8"))), str(file))
    said = {key: COMMAND_LINE for key, _ in map(split_override, overrides)}
    return annotated(config, origins | said, ())


def files_of(
    config_name: str, choices: Mapping[str, str], dependent_groups: Mapping[str, str]
) -> Iterator[tuple[str, list[str]]]:
    """The files that are composed, in the order in which one overrides the other, by their names
    below `configs/`, each with the dotted keys that it sets."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    chosen = hydra_overrides(config_name, choices, dependent_groups)
    with initialize_config_dir(str(CONFIG_ROOT), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        loader = hydra.config_loader
        listed = loader.compute_defaults_list(config_name, chosen, RunMode.RUN).defaults
    for entry in listed:
        file = _find(entry.config_path)
        if file is None:
            continue
        content = read_yaml(file.read_text(encoding="utf-8")) or {}
        package = (entry.package or "").removeprefix("_global_").strip(".")
        prefix = f"{package}." if package else ""
        keys = [f"{prefix}{key}" for key in _leaves(content) if not key.startswith("defaults")]
        yield _name(file), keys


def annotated(config: Any, origins: Mapping[str, str], choices: Sequence[str]) -> str:
    """YAML of a dataclass, with the origin of each value in a comment; `choices` are listed
    above."""
    lines = list(_lines(config, dataclasses.asdict(config), origins, "", ""))
    width = min(44, max((len(line) for line, _ in lines), default=0))
    head = [f"# {COMMAND_LINE}: {word}" for word in choices]
    return "\n".join(
        [*head, *(f"{line:{width}}  # {origin}" if origin else line for line, origin in lines)]
    )


def _lines(
    config: Any, values: Any, origins: Mapping[str, str], prefix: str, indent: str
) -> Iterator[tuple[str, str]]:
    """Lines of YAML, each with the origin of its value; the origin is empty for a line that only
    names a group of keys."""
    for key, value in values.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            own = getattr(config, key, None)
            # A plain mapping belongs to the class that has it.
            owner = own if dataclasses.is_dataclass(own) else config
            yield f"{indent}{yaml_line(key)}:", ""
            yield from _lines(owner, value, origins, f"{dotted}.", f"{indent}  ")
            continue
        origin = _origin(dotted, origins) or f"default of {type(config).__name__}"
        yield f"{indent}{yaml_line(key)}: {yaml_line(value)}", origin


def _origin(key: str, origins: Mapping[str, str]) -> str | None:
    """The origin of a key, or of the nearest parent that was set as a whole."""
    while key:
        if key in origins:
            return origins[key]
        key = key.rpartition(".")[0]
    return None


def _leaves(values: Any, prefix: str = "") -> Iterator[str]:
    """Dotted keys of the values of nested mappings."""
    for key, value in values.items() if isinstance(values, Mapping) else ():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _find(config_path: str | None) -> Path | None:
    places = (root / f"{config_path}.yaml" for root in config_roots())
    return next((place for place in places if config_path and place.is_file()), None)


def _name(file: Path) -> str:
    """The path of a file relative to Orbit's folder, or the whole path of any other file."""
    if file.is_relative_to(CONFIG_ROOT):
        return f"configs/{file.relative_to(CONFIG_ROOT).as_posix()}"
    return str(file)
