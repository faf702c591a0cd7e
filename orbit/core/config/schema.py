"""Strict construction of frozen dataclasses from plain mappings.

A dataclass is the schema: its fields are the allowed keys, its annotations the allowed types, their
limits (`orbit.core.config.limits`) and its `__post_init__` the allowed values. Anything else is a
ValueError that names the dotted key. The dataclass of a union is chosen by the literal field `kind`
if all have one, otherwise by the literal field `name`. A path is text of
the type `FilePath`: overrides give it literally, and records hold it absolute.
"""

import dataclasses
import difflib
import functools
import math
import reprlib
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from orbit.core import plugins
from orbit.core.files.atomic import parse_json

T = TypeVar("T")
IS_PATH = "path"
FilePath = Annotated[str, IS_PATH]
"""A file or a folder."""


def build(schema: type[T], values: Mapping[str, Any]) -> T:
    """Make a `schema` instance from nested plain values.

    Raises ValueError for an unknown key (suggesting the nearest), a missing key, a value of the
    wrong type, or a value that the dataclass itself refuses.
    """
    try:
        return typing.cast(T, _build_dataclass(schema, values, ""))
    except _UnknownKeyError as error:
        known = list(dotted_keys(schema))
        if error.key in known:
            raise ValueError(_without_effect(error)) from None
        known += dotted_keys(error.schema, error.prefix)  # those of a plug-in are not among them
        raise ValueError(f"unknown key {error.key!r}{suggestion(error.key, known)}") from None


def read_json_as(schema: type[T], path: Path) -> T:
    """A `schema` instance from a JSON file; FileNotFoundError or ValueError naming the file."""
    try:
        return build(schema, parse_json(path.read_bytes()))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


USUAL_NAMES = {
    "lr": "optimizer.learning_rate",
    "learning_rate": "optimizer.learning_rate",
    "weight_decay": "optimizer.weight_decay",
    "batch": "global_batch",
    "batch_size": "global_batch",
    "bs": "global_batch",
    "num_epochs": "epochs",
    "max_epochs": "epochs",
    "num_workers": "loader.num_workers",
    "output_dir": "run_dir",
    "out": "run_dir",
    "dataset": "data",
    "data_dir": "data",
    "early_stopping": "patience",
    "ema": "ema_decay",
    "amp": "precision",
    "watch": "follow",
}
"""Names that other programs, or earlier versions, have for a key."""


def suggestion(word: str, known: list[str]) -> str:
    """'; did you mean ...?' with the nearest known name, otherwise the list of all names if it is
    short."""
    if USUAL_NAMES.get(word) in known:
        return f"; did you mean {USUAL_NAMES[word]!r}?"
    nearest = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if not nearest:
        leaf = word.rsplit(".", 1)[-1]
        nearest = [key for key in known if key.rsplit(".", 1)[-1] == leaf][:1]
    if nearest:
        return f"; did you mean {nearest[0]!r}?"
    top_level = sorted({key.split(".", 1)[0] for key in known})
    return f"; allowed: {', '.join(top_level)}" if top_level else ""


def dotted_keys(schema: Any, prefix: str = "") -> Iterator[str]:
    """All keys of a dataclass and of the dataclasses in it, in dotted form."""
    for key, _ in typed_keys(schema, prefix):
        yield key


def typed_keys(schema: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The same keys, each with its annotation."""
    for name, annotation in _hints(schema).items():
        yield prefix + name, annotation
        for option in _dataclass_options(annotation):
            yield from typed_keys(option, f"{prefix}{name}.")


def has_keys(annotation: Any) -> bool:
    """Whether a value of this type holds keys of its own."""
    return bool(_dataclass_options(annotation))


def words_of(annotation: Any) -> list[str]:
    """The words that a value of this type may be, as far as they can be listed."""
    annotation, _ = _without_marks(annotation)
    if _is_union(annotation):
        return [word for part in typing.get_args(annotation) for word in words_of(part)]
    if typing.get_origin(annotation) is Literal:
        return [_show(choice) for choice in typing.get_args(annotation)]
    return {bool: ["true", "false"], type(None): ["null"]}.get(annotation, [])


def path_keys(schema: Any) -> frozenset[str]:
    """The dotted keys of a dataclass, and of the dataclasses in it, that hold a path."""
    return frozenset(key for key, annotation in typed_keys(schema) if _is_path(annotation))


def with_paths(settings: T, change: Callable[[str], str]) -> T:
    """The same settings, with each path in them changed: those of plug-ins, too."""
    changed: dict[str, Any] = {}
    hints = _hints(typing.cast(Any, type(settings)))
    for name, annotation in hints.items():
        value = getattr(settings, name)
        if dataclasses.is_dataclass(value):
            changed[name] = with_paths(value, change)
        elif _is_path(annotation) and value:
            changed[name] = change(value)
    return dataclasses.replace(typing.cast(Any, settings), **changed) if changed else settings


def _is_path(annotation: Any) -> bool:
    annotation, marks = _without_marks(annotation)
    options = typing.get_args(annotation) if _is_union(annotation) else ()
    return IS_PATH in marks or any(map(_is_path, options))


class _UnknownKeyError(Exception):
    def __init__(self, key: str, schema: Any, prefix: str) -> None:
        super().__init__(key)
        self.key, self.schema, self.prefix = key, schema, prefix


def _without_effect(error: _UnknownKeyError) -> str:
    """The message for a key that another option of a union has, but not the chosen one."""
    hints = _hints(error.schema)
    key = "kind" if "kind" in hints else "name"
    chosen = _name_of(error.schema, key)
    allowed = ", ".join(name for name in hints if name != key) or "none"
    return f"{error.key} has no effect with {error.prefix}{key}={chosen}; keys that have: {allowed}"


def _dataclass_options(annotation: Any) -> list[Any]:
    annotation, _ = _without_marks(annotation)
    candidates = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    return [candidate for candidate in candidates if dataclasses.is_dataclass(candidate)]


@functools.lru_cache(maxsize=256)
def _hints(schema: Any) -> dict[str, Any]:
    return typing.get_type_hints(schema, include_extras=True)


def _without_marks(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """An annotation without `Annotated`, and the metadata of `Annotated`."""
    if typing.get_origin(annotation) is Annotated:
        return annotation.__origin__, annotation.__metadata__
    return annotation, ()


def _name_of(option: Any, key: str) -> str:
    """The literal name by which a dataclass of a union is chosen."""
    return str(typing.get_args(_without_marks(_hints(option)[key])[0])[0])


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _build_dataclass(schema: Any, values: Any, path: str) -> Any:
    if not isinstance(values, Mapping):
        names = ", ".join(field.name for field in dataclasses.fields(schema))
        raise ValueError(f"{path or 'it'} takes keys ({names}), not the value {_show(values)}")
    hints = _hints(schema)
    prefix = f"{path}." if path else ""
    for key in values:
        if key not in hints:
            raise _UnknownKeyError(f"{prefix}{key}", schema, prefix)
    arguments = {}
    for field in dataclasses.fields(schema):
        if field.name in values:
            arguments[field.name] = _convert(
                hints[field.name], values[field.name], prefix + field.name
            )
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"missing key {prefix}{field.name}: give {prefix}{field.name}=VALUE")
    try:
        return schema(**arguments)
    except ValueError as error:
        raise ValueError(f"{prefix}{error}") from None


def _convert(annotation: Any, value: Any, path: str) -> Any:
    annotation, marks = _without_marks(annotation)
    for mark in marks:
        if isinstance(mark, plugins.Open) and isinstance(value, Mapping):
            return _convert_open(annotation, mark, value, path)
    origin = typing.get_origin(annotation)
    if annotation is Any:
        return value
    if _is_union(annotation):
        return _convert_union(annotation, value, path)
    if origin is Literal:
        allowed = typing.get_args(annotation)
        if not any(value == choice and type(value) is type(choice) for choice in allowed):
            names = ", ".join(_show(choice) for choice in allowed)
            raise ValueError(f"{path}={_show(value)} is not allowed; allowed: {names}")
        return value
    if dataclasses.is_dataclass(annotation):
        return _build_dataclass(annotation, value, path)
    if origin is tuple:
        return _convert_tuple(annotation, value, path)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{path} takes keys and values, not {_show(value)}")
        item_type = typing.get_args(annotation)[1]
        return {str(key): _convert(item_type, item, f"{path}.{key}") for key, item in value.items()}
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if annotation is float and isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path}={value} must be finite")
    is_disguised_bool = isinstance(value, bool) and annotation is not bool
    if not isinstance(value, annotation) or is_disguised_bool:
        raise ValueError(f"{path} takes {_type_name(annotation)}, not {_show(value)}")
    return value


def _convert_tuple(annotation: Any, value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{path} takes a list, not {_show(value)}")
    members = typing.get_args(annotation)
    if members[-1] is Ellipsis:
        return tuple(
            _convert(members[0], item, f"{path}[{index}]") for index, item in enumerate(value)
        )
    if len(members) != len(value):
        raise ValueError(f"{path} takes {len(members)} values, not {len(value)}")
    pairs = zip(members, value, strict=True)
    return tuple(
        _convert(member, item, f"{path}[{index}]") for index, (member, item) in enumerate(pairs)
    )


def _convert_union(annotation: Any, value: Any, path: str) -> Any:
    options = typing.get_args(annotation)
    if value is None and type(None) in options:
        return None
    dataclass_options = _dataclass_options(annotation)
    if len(dataclass_options) == 1 and isinstance(value, Mapping):
        return _build_dataclass(dataclass_options[0], value, path)
    if dataclass_options and isinstance(value, Mapping):
        return _build_dataclass(_chosen_option(dataclass_options, value, path), value, path)
    for option in options:
        if option is not type(None):
            try:
                return _convert(option, value, path)
            except ValueError:
                continue
    raise ValueError(f"{path} takes {_type_name(annotation)}, not {_show(value)}")


def names_of(union: Any) -> list[str]:
    """The names of the dataclasses of a union, by which one is chosen."""
    return [_name_of(option, "name") for option in _dataclass_options(union)]


def _convert_open(annotation: Any, mark: plugins.Open, values: Any, path: str) -> Any:
    """Convert values of a union to which entry points of installed packages may add."""
    options = _dataclass_options(annotation)
    name = values.get("name")
    if isinstance(name, str) and name not in names_of(annotation):
        option = plugins.config_of(mark.kind, name)
        if option is not None:
            return _build_dataclass(option, values, path)
    return _build_dataclass(_chosen_option(options, values, path, mark.kind), values, path)


def _chosen_option(
    options: list[Any], values: Mapping[str, Any], path: str, kind: str | None = None
) -> Any:
    """The dataclass of a union that the values name; without a name, the one whose name has a
    default."""
    key = "kind" if all("kind" in _hints(option) for option in options) else "name"
    by_name: dict[str, Any] = {}
    default = None
    for option in options:
        name = _name_of(option, key)
        by_name[name] = option
        (field,) = (field for field in dataclasses.fields(option) if field.name == key)
        if field.default is not dataclasses.MISSING:
            default = name
    chosen = values.get(key, default)
    if chosen not in by_name:
        allowed = [*by_name, *(sorted(plugins.installed(kind)) if kind else ())]
        raise ValueError(
            f"{path}.{key}={_show(chosen)} is not allowed; allowed: {', '.join(allowed)}"
        )
    return by_name[chosen]


def _type_name(annotation: Any) -> str:
    annotation, _ = _without_marks(annotation)
    if _is_union(annotation):
        return " or ".join(_type_name(option) for option in typing.get_args(annotation))
    if typing.get_origin(annotation) is Literal:
        return ", ".join(_show(choice) for choice in typing.get_args(annotation))
    if annotation is type(None):
        return "null"
    if typing.get_origin(annotation) is tuple:
        return "a list"
    names = {int: "an integer", float: "a number", str: "text", bool: "true or false"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _show(value: Any) -> str:
    """A value for a message, without its nested parts: aliases in YAML may repeat them
    endlessly."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxother, _SHORT.maxlong = 2, 100, 100
