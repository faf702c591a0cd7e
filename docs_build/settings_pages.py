"""Reference pages of settings: one for each program, with all choices of its configuration
groups."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from data_prep.settings import PrepareConfig
from docs_build.settings_keys import Section, dataclass_options, sections
from launch.cluster.settings import ClusterConfig
from launch.evaluation.evaluator import EvaluateRequest
from launch.preparation.directory import PreparationRequest
from launch.reproduction.request import ReproductionRequest
from launch.sweeps.request import SweepRequest
from orbit.core.config.compose import CONFIG_ROOT
from pipeline.settings import (
    ApplyConfig,
    ClassifyConfig,
    EvaluateConfig,
    ExportConfig,
    ShareConfig,
)
from pipeline.training.settings import TrainConfig

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
