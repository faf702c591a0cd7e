"""Reference pages of settings: one for each program, with all choices of its configuration
groups.
"""

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

from data_prep.settings import PrepareConfig
from launch.cluster.settings import ClusterConfig
from launch.evaluation.evaluator import EvaluateRequest
from launch.preparation.directory import PreparationRequest
from launch.reproduction.command import ReproductionRequest
from launch.sweeps.request import SweepRequest
from orbit.core.config.compose import CONFIG_ROOT
from orbit.core.config.yaml_files import read_yaml
from pipeline.settings import (
    ApplyConfig,
    ClassifyConfig,
    EvaluateConfig,
    ExportConfig,
    ShareConfig,
)
from pipeline.training.settings import TrainConfig

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


FOLDER = "reference/settings"


@dataclass(frozen=True)
class SettingsPage:
    """A page about a schema. `groups` are folders of `configs/`; `see` says where other keys are
    described."""

    name: str
    program: str
    schema: Any
    groups: tuple[str, ...] = ()
    leave_out: frozenset[str] = frozenset()
    see: str = ""

    @property
    def uri(self) -> str:
        return f"{FOLDER}/{self.name}.md"


CLUSTER = frozenset({"cluster"})
SEE_CLUSTER = "`cluster.*` is on the page [cluster](cluster.md)."
PAGES = (
    SettingsPage("prepare", "data_prep/prepare.py", PrepareConfig, ("dataset", "source")),
    SettingsPage(
        "train", "pipeline/train.py", TrainConfig, ("experiment", "task", "control", "debug")
    ),
    SettingsPage("evaluate", "pipeline/evaluate.py", EvaluateConfig),
    SettingsPage("classify", "pipeline/classify.py", ClassifyConfig),
    SettingsPage("apply", "pipeline/apply.py", ApplyConfig),
    SettingsPage("export", "pipeline/export.py", ExportConfig),
    SettingsPage("share", "pipeline/share.py", ShareConfig),
    SettingsPage(
        "sweep",
        "launch/sweep.py",
        SweepRequest,
        ("sweep",),
        CLUSTER,
        f"{SEE_CLUSTER} All keys of [train](train.md) hold for every run.",
    ),
    SettingsPage("cluster", "launch/*.py", ClusterConfig, ("cluster",)),
    SettingsPage(
        "launch_evaluate", "launch/evaluate.py", EvaluateRequest, (), CLUSTER, SEE_CLUSTER
    ),
    SettingsPage(
        "launch_prepare",
        "launch/prepare.py",
        PreparationRequest,
        (),
        CLUSTER,
        f"{SEE_CLUSTER} All keys of [prepare](prepare.md) belong to the dataset.",
    ),
    SettingsPage("reproduce", "launch/reproduce.py", ReproductionRequest, ("reproduction",)),
)


def settings_page(page: SettingsPage) -> str:
    """The page as Markdown."""
    lines = [f"# Settings of `{page.program}`", ""]
    lines += [
        "Overrides on the command line have the form `key=value`; later ones win. A key without a",
        "default must be given, or is set by a file of a group.",
        "",
    ]
    if page.see:
        lines += [page.see, ""]
    for section in page_sections(page):
        lines += _section(section)
    for group in page.groups:
        lines += _group(group)
    return "\n".join(lines) + "\n"


def page_sections(page: SettingsPage) -> list[Section]:
    """Sections of a page's keys; those of a union's options one after another."""
    options = dataclass_options(page.schema)
    if len(options) == 1:
        return list(sections(page.schema, leave_out=page.leave_out))
    prefix = f"{page.name}."
    return [
        found
        for option in options
        for found in sections(option, prefix, f"{prefix}name={_name(option)}")
    ]


def _name(option: Any) -> str:
    import typing

    return str(typing.get_args(typing.get_type_hints(option)["name"])[0])


def _section(section: Section) -> Iterator[str]:
    title = section.choice or (f"{section.prefix}*" if section.prefix else "Keys")
    yield f"## `{title}`" if title != "Keys" else "## Keys"
    yield ""
    if section.prefix:
        yield _cell(section.about)
        yield ""
    if section.keys:
        yield "| key | type | default | meaning |"
        yield "|---|---|---|---|"
    for key in section.keys:
        default = f"`{key.default}`" if key.default else ""
        cells = (f"`{section.prefix}{key.name}`", key.type, default, _cell(key.meaning))
        yield f"| {' | '.join(cells)} |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _group(group: str) -> Iterator[str]:
    """Every file of a group: its first comment, and its content to unfold."""
    yield f"## `{group}=NAME`"
    yield ""
    for file in sorted((CONFIG_ROOT / group).rglob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        name = file.relative_to(CONFIG_ROOT / group).with_suffix("")
        owners = _owners(f"{group}/{name.parent}")
        choice = name.name if owners else name
        yield f'??? note "`{group}={choice}`{owners}{_summary(text)}"'
        yield ""
        yield "    ```yaml"
        yield from (f"    {line}" for line in text.rstrip().splitlines())
        yield "    ```"
        yield ""


def _owners(folder: str) -> str:
    """The datasets that take a choice from a folder, if any do."""
    files = sorted((CONFIG_ROOT / "dataset").glob("*.yaml"))
    names = [file.stem for file in files if f"/{folder}@" in file.read_text(encoding="utf-8")]
    return " of " + ", ".join(f"`dataset={name}`" for name in names) if names else ""


def _summary(text: str) -> str:
    for line in text.splitlines():
        if line.startswith("# ") and "@package" not in line:
            return ": " + line.removeprefix("# ").replace('"', "'").rstrip(".:")
    return ""
