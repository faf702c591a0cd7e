"""From overrides and YAML files to a plain mapping, through hydra's compose API.

It also names the file and line of a mistake in YAML, which hydra's own parser does not.

Overrides have the form `key=value`. A key that names a folder under `configs/` chooses a file from
it; any other key sets a value in hydra's override grammar, except keys that hold paths: their text
is taken literally. In a file, `${by_kind:{A: VALUE, B: VALUE}}` goes with the key `kind` beside it.
"""

import copy
import difflib
import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orbit.core.config.former import overrides_instead
from orbit.core.config.roots import (
    CONFIG_ROOT,
    SUFFIX,
    config_roots,
    group_files,
    is_group,
)
from orbit.core.config.roots import WORD as CONFIGS_WORD
from orbit.core.config.schema import suggestion
from orbit.core.config.yaml_files import read_yaml
from orbit.core.files.listing import list_folder
from orbit.core.user_text import check_utf8

RUN_DIR = "run_dir"
TASK_RUN = "task_run"
"""The copy, in a run directory, of the run that its method learns from (`task.run`)."""


def check_path(key: str, text: str) -> None:
    """ValueError naming the key for a path that is not UTF-8, which no record can hold."""
    check_utf8(key, os.path.abspath(text))


def with_found_paths(
    values: Mapping[str, Any], folder: Path, keys: frozenset[str]
) -> dict[str, Any]:
    """The recorded values of a run directory that may have been moved to `folder`.

    `keys` hold paths. A recorded absolute path is kept if it exists. Otherwise, and for a relative
    path whose starting folder is not known, the path with the same position relative to the run
    directory is taken.
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

    def find_task_run(path: str) -> str:
        found, copy = find(path), folder / TASK_RUN
        # A relative path is the mere name that a shared folder keeps of it.
        is_known = os.path.isabs(path) and os.path.exists(found)
        return str(copy) if copy.is_dir() and not is_known else found

    changed = _changed(values, keys - {RUN_DIR, "task.run"}, find)
    return _changed(changed, keys & {"task.run"}, find_task_run)


def _changed(
    values: Mapping[str, Any], keys: frozenset[str], change: Callable[[str], str]
) -> dict[str, Any]:
    """A copy in which the texts at these dotted keys, if they exist, are changed."""
    found = copy.deepcopy(dict(values))
    for key in keys:
        *parents, leaf = key.split(".")
        holder: Any = found
        for parent in parents:
            holder = holder.get(parent) if isinstance(holder, dict) else None
        if isinstance(holder, dict) and isinstance(holder.get(leaf), str) and holder[leaf]:
            holder[leaf] = change(holder[leaf])
    return found


SWEEP_HINT = "to train with each of several values: launch/sweep.py sweep.search.grid.{key}=[A,B]"


def split_override(override: str) -> tuple[str, str]:
    """'key=value' at its first '='; ValueError for anything else."""
    if override in ("-m", "--multirun"):
        raise ValueError(f"cannot read {override!r}: {SWEEP_HINT.format(key='KEY')}")
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise ValueError(
            f"cannot read {override!r}: arguments have the form key=value (see --help)"
        )
    check_utf8(key, value)
    if key[0] in "+~":
        raise ValueError(f"cannot read {override!r}: keys are set as key=value, without {key[0]!r}")
    return key, value


def group_options(group: str) -> list[str]:
    """The names that one can choose for a configuration group, sorted; empty if there is no such
    group."""
    return list(group_files(group))


def compose(
    config_name: str,
    overrides: Sequence[str],
    path_keys: frozenset[str],
    dependent_groups: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Compose `configs/<config_name>.yaml` with overrides into plain values.

    `path_keys` are those of the schema (see `orbit.core.config.schema`), whose text is taken as
    it stands.
    `dependent_groups` maps a group whose options depend on the choice of another group to that
    other group: {'source': 'dataset'} makes `source=NAME` choose a file of the folder below
    `configs/source/` that the defaults of the dataset's file name, or, where they name none, the
    only source in that file. Files in all `config_roots` are considered. Raises ValueError with one
    line for an unknown choice or a value that cannot be read.
    """
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    dependent_groups = dependent_groups or {}
    pairs = [split_override(override) for override in overrides]
    for key, text in pairs:
        if key == CONFIGS_WORD:
            raise ValueError(f"{key}={text} has no effect: nothing is chosen from a folder here")
    defaults = _default_choices(config_name)
    if defaults:
        _check_own_files(config_roots())
    choices = choices_of(config_name, overrides, dependent_groups)
    paths = {key: value for key, value in pairs if key in path_keys}
    for key, text in paths.items():
        if not text:
            raise ValueError(f"{key}= is empty: give a path")
        check_path(key, text)
    values = [(key, value) for key, value in pairs if key not in choices and key not in paths]
    OmegaConf.register_new_resolver("by_kind", _by_kind, replace=True)
    group_overrides = hydra_overrides(config_name, choices, dependent_groups)
    try:
        files = _all_files(with_groups=bool(defaults))
        config = copy.deepcopy(_composed(config_name, tuple(group_overrides), files))
        for key, text in values:
            OmegaConf.update(config, key, parse_value(key, text), merge=False, force_add=True)
        plain = OmegaConf.to_container(config, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(" ".join(str(error).split())) from None
    assert isinstance(plain, dict)
    values_by_key = {str(key): value for key, value in plain.items()}
    for key, text in paths.items():
        set_dotted(values_by_key, key, text)
    return values_by_key


def _by_kind(values: Any, *, _parent_: Any) -> Any:
    """The value for the key `kind` beside the one that is looked up, after all overrides.

    Null for a kind that is not among them: the schema knows which are allowed.
    """
    if not isinstance(values, dict) or "kind" not in _parent_:
        raise ValueError("by_kind takes {A: VALUE, B: VALUE}, beside a key `kind`")
    return values.get(_parent_.get("kind"))


@functools.lru_cache(maxsize=256)
def _composed(config_name: str, group_overrides: tuple[str, ...], _files: object) -> Any:
    """What hydra makes of a choice of files, kept while these files are as they were: it takes a
    tenth of a second, and a sweep asks for the same choice with many values."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(CONFIG_ROOT), version_base="1.3"):
        config = hydra_compose(config_name, overrides=list(group_overrides))
    OmegaConf.set_struct(config, False)
    return config


def _all_files(with_groups: bool) -> tuple[tuple[str, int, int], ...]:
    """Every file that hydra may read, with its size and the time of its last change."""
    files = list_folder(CONFIG_ROOT, f"*{SUFFIX}")
    for folder in list_folder(CONFIG_ROOT) if with_groups else ():
        files += group_files(folder.name).values() if folder.is_dir() else ()
    stats = ((str(file), file.stat()) for file in files)
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


def choices_of(
    config_name: str, overrides: Sequence[str], dependent_groups: Mapping[str, str]
) -> dict[str, str]:
    """The overrides that choose a file of a group, by group."""
    defaults = _default_choices(config_name)
    return {
        key: value
        for key, value in map(split_override, overrides)
        if is_group(key) and (key in defaults or key in dependent_groups)
    }


def hydra_overrides(
    config_name: str, choices: Mapping[str, str], dependent_groups: Mapping[str, str]
) -> list[str]:
    """What hydra is told to compose for these choices; ValueError for one that is not there."""
    defaults = _default_choices(config_name)
    group_overrides = _search_path() if defaults else []
    for group, choice in choices.items():
        if group in dependent_groups:
            owner = dependent_groups[group]
            chosen = choices.get(owner) or defaults[owner]
            _check_choice(owner, chosen, group_options(owner))
            folder, only = _dependent_choices(group, owner, chosen)
            files = group_files(folder) if folder else {}
            if not files and not only:
                raise ValueError(f"{group}={choice} has no effect with {owner}={chosen}")
            _check_choice(group, choice, list(files) or only)
            if folder:
                _check_yaml(files[choice])
                group_overrides.append(f"{folder}@{group}={choice}")
        else:
            files = group_files(group)
            _check_choice(group, choice, list(files))
            _check_yaml(files[choice])
            group_overrides.append(f"{group}={choice}")
    return group_overrides


def read_composed(
    file: Path, overrides: Sequence[str], path_keys: frozenset[str]
) -> dict[str, Any]:
    """The values of a resolved configuration file, changed by overrides.

    If the run directory was moved, paths are looked up relative to it. Raises FileNotFoundError or
    ValueError with one line; a choice of a group is refused.
    """
    if not file.is_file():
        raise FileNotFoundError(f"config={file}: there is no such file")
    try:
        values = read_yaml(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise ValueError(f"config={file} is not a YAML file") from None
    except ValueError as error:
        raise ValueError(f"config={file}: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"config={file} holds no keys")
    values = with_found_paths(values, file.parent, path_keys)
    for key, text in map(split_override, overrides):
        if key == CONFIGS_WORD:
            raise ValueError(f"{key}={text} has no effect with config=FILE, which holds all keys")
        if is_group(key):
            raise ValueError(f"{key}={text} chooses a group, which config=FILE has fixed")
        if key in path_keys:
            check_path(key, text)
        set_dotted(values, key, text if key in path_keys else parse_value(key, text))
    return values


def parse_value(key: str, text: str) -> Any:
    """One value in hydra's override grammar, as plain Python."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    hint = "quote the value as hydra wants it, for example key='\"a, b\"'"
    try:
        override = OverridesParser.create().parse_override(f"{key}={text}")
    except HydraException:
        raise ValueError(f"cannot read the value of {key}={text}; {hint}") from None
    if override.is_sweep_override():
        raise ValueError(
            f"{key}={text} lists several values; a list is written [1,2];"
            f" {SWEEP_HINT.format(key=key)}"
        )
    value = override.value()
    return str(value) if type(value).__name__ == "QuotedString" else value


def set_dotted(mapping: dict[str, Any], key: str, value: Any) -> None:
    """Set 'a.b.c' in nested dictionaries, making those that are missing."""
    *parents, leaf = key.split(".")
    for parent in parents:
        child = mapping.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ValueError(f"unknown key {key!r}: {parent} holds a value, not keys")
        mapping = child
    if isinstance(mapping.get(leaf), dict):
        raise ValueError(f"unknown key {f'{key}.{next(iter(mapping[leaf]))}'!r}: {key} is a value")
    mapping[leaf] = value


def _search_path() -> list[str]:
    """The override that makes hydra search further folders, if there are any."""
    others = config_roots()[1:]
    quoted = [re.sub(r"(\\*)'", r"\1\1\\'", f"file://{root}") for root in others]
    texts = [re.sub(r"(\\+)$", r"\1\1", text) for text in quoted]
    paths = ",".join(f"'{text}'" for text in texts)
    return [f"hydra.searchpath=[{paths}]"] if others else []


def _dependent_choices(group: str, owner: str, chosen: str) -> tuple[str, list[str]]:
    """The folder from which the file of `owner=chosen` takes the group, or the only choice in it.

    A file that does not mention the group inherits it from the files that it builds on.
    """
    files = group_files(owner)
    content = _read_config(files[chosen])
    folder, only = "", list[str]()
    for entry in content.get("defaults", []):
        (key,) = entry if isinstance(entry, dict) else (str(entry),)
        if key.startswith(f"/{group}/"):
            folder = key[1:].partition("@")[0]
        elif key.removeprefix(f"/{owner}/") in files:
            folder, only = _dependent_choices(group, owner, key.removeprefix(f"/{owner}/"))
    own = content.get(group)
    if isinstance(own, dict) and "name" in own:
        only = [str(own["name"])]
    return folder, [] if folder else only


MAX_OPTIONS = 12
"""Of more options than that a complaint lists the nearest three."""


def _check_choice(group: str, choice: str, options: list[str]) -> None:
    if choice not in options:
        instead = overrides_instead(f"{group}={choice}")
        if instead is not None:
            raise ValueError(f"{group}={choice} no longer exists: use {instead}")
        if "," in choice and all(part in options for part in choice.split(",")):
            raise ValueError(f"{group}={choice} names several; {SWEEP_HINT.format(key=group)}")
        if len(options) > MAX_OPTIONS:
            nearest = difflib.get_close_matches(choice, options, n=3, cutoff=0.0)
            raise ValueError(
                f"unknown {group}={choice}; nearest of {len(options)}: {', '.join(nearest)}"
                " (--help lists all)"
            )
        hint = suggestion(choice, options).split(";")[1] if options else ""
        raise ValueError(
            f"unknown {group}={choice}; known: {', '.join(options)}"
            + (f" ({hint.strip()})" if "did you mean" in hint else "")
        )


@functools.lru_cache(maxsize=16)
def _check_own_files(roots: tuple[Path, ...]) -> None:
    """Check all files outside Orbit, also those that are only the base of another."""
    if len(roots) > 1:
        for group in (path for path in list_folder(CONFIG_ROOT) if path.is_dir()):
            for file in group_files(group.name).values():
                if not file.is_relative_to(CONFIG_ROOT):
                    _check_yaml(file)


def _check_yaml(file: Path) -> None:
    """ValueError for values that hydra reads in another way than the command line does."""
    try:
        read_yaml(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def _default_choices(config_name: str) -> dict[str, str]:
    """The default choice of each group of a configuration."""
    entries = [
        entry
        for entry in _read_config(CONFIG_ROOT / f"{config_name}.yaml").get("defaults", [])
        if isinstance(entry, dict)
    ]
    return {group: str(choice) for entry in entries for group, choice in entry.items()}


def _read_config(file: Path) -> dict[str, Any]:
    _check_yaml(file)
    content = read_yaml(file.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content
