"""Every key of a configuration, from the frozen dataclasses that are its schema."""

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from orbit.core.config.yaml_files import read_yaml

MEANINGS = Path(__file__).parent / "meanings.yaml"
COMMON = "common"
DISCRIMINATORS = ("kind", "name")
WORDS = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null"}


@dataclass(frozen=True)
class Key:
    """One key: its name without a prefix, type in words, default as YAML ("" if required)."""

    name: str
    type: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Section:
    """The keys of one dataclass below `prefix` ("" or "task.model."), chosen by `choice` if any."""

    prefix: str
    choice: str
    about: str
    keys: tuple[Key, ...]


class NoMeaningError(Exception):
    """Neither a docstring nor `meanings.yaml` says what a key means."""


def sections(
    schema: Any, prefix: str = "", choice: str = "", leave_out: frozenset[str] = frozenset()
) -> Iterator[Section]:
    """All keys of a schema: its own, then those of the dataclasses in it except `leave_out`.

    Raises NoMeaningError for a key without a meaning.
    """
    hints = typing.get_type_hints(schema)
    fields = [field for field in dataclasses.fields(schema) if not _is_fixed(hints[field.name])]
    plain = [field for field in fields if not dataclass_options(hints[field.name])]
    keys = tuple(
        Key(field.name, type_words(hints[field.name]), _default(field), meaning(schema, field.name))
        for field in plain
    )
    yield Section(prefix, choice, first_paragraph(schema), keys)
    for field in fields:
        if field.name in leave_out:
            continue
        options = dataclass_options(hints[field.name])
        is_mapping = typing.get_origin(hints[field.name]) is dict
        inner = f"{prefix}{field.name}.{'NAME.' if is_mapping else ''}"
        for option in options:
            yield from sections(option, inner, _choice(option, inner) if len(options) > 1 else "")


def dataclass_options(annotation: Any) -> list[Any]:
    """The dataclasses that a value may be: those of a union, or of a mapping's values."""
    if dataclasses.is_dataclass(annotation):
        return [annotation]
    if typing.get_origin(annotation) is Literal:
        return []
    return [found for part in typing.get_args(annotation) for found in dataclass_options(part)]


def type_words(annotation: Any) -> str:
    """A type as a user would say it."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return "anything"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_words(part) for part in parts)
    if origin is Literal:
        return " or ".join(f"`{yaml_text(part)}`" for part in parts)
    if origin is tuple and parts[-1] is Ellipsis:
        return f"list of {type_words(parts[0])}"
    if origin is tuple:
        return f"list of {len(parts)}: {', '.join(type_words(part) for part in parts)}"
    if origin is dict:
        return f"keys with {type_words(parts[1])}"
    return WORDS[annotation]


def yaml_text(value: Any) -> str:
    """A value as it is written in a configuration."""
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=10**6).strip()
    return text.removesuffix("...").strip()


def meaning(schema: Any, key: str) -> str:
    """What a key means: `meanings.yaml`, the docstring's sentences about it, or the common meaning
    of keys with this name. Raises NoMeaningError."""
    written = _written()
    found = written.get(schema.__name__, {}).get(key)
    found = found or _sentences_about(key, inspect.getdoc(schema) or "")
    found = found or written[COMMON].get(key)
    if not found:
        raise NoMeaningError(
            f"{schema.__name__}.{key}: describe the key in the docstring, as `{key}`, or in"
            f" docs_build/meanings.yaml ({schema.__name__}: {key}: ...)"
        )
    return str(found)


def first_paragraph(schema: Any) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join((inspect.getdoc(schema) or "").partition("\n\n")[0].split())


@cache
def _written() -> dict[str, dict[str, str]]:
    meanings = read_yaml(MEANINGS.read_text(encoding="utf-8"))
    assert isinstance(meanings, dict)
    return meanings


def written_meanings() -> dict[str, dict[str, str]]:
    """The content of `meanings.yaml`: by class, and under `common` for all."""
    return _written()


def _sentences_about(key: str, text: str) -> str:
    """Sentences in which `key`, `key=...` or `prefix.key` stands in backticks."""
    mention = re.compile(rf"`(?:[\w.]*\.)?{re.escape(key)}(?:=[^`]*)?`")
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    sentences = (
        sentence
        for paragraph in paragraphs
        for sentence in re.split(r"(?<=[.:])\s+(?=[A-Z`])", paragraph)
    )
    return " ".join(sentence for sentence in sentences if mention.search(sentence))


def _is_fixed(annotation: Any) -> bool:
    """Whether only one value is allowed: then it is the name that tells a dataclass from others."""
    return typing.get_origin(annotation) is Literal and len(typing.get_args(annotation)) == 1


def _choice(option: Any, prefix: str) -> str:
    """'task.model.name=conv' of an option; the dataclass's name if it has no such key."""
    hints = typing.get_type_hints(option)
    for key in DISCRIMINATORS:
        if key in hints and _is_fixed(hints[key]):
            return f"{prefix}{key}={typing.get_args(hints[key])[0]}"
    return str(option.__name__)


def _default(field: Any) -> str:
    if field.default is not dataclasses.MISSING:
        return yaml_text(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return yaml_text(field.default_factory())
    return ""
