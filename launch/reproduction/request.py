"""What one call of the reproduction command asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.reproduction.settings import (
    PUBLISHED,
    REPOSITORY,
    Preset,
    ReproductionSettings,
    check_seeds,
)
from orbit.core.config.compose import compose, group_options, split_override
from orbit.core.config.limits import Count, limited
from orbit.core.config.roots import is_installed, take_configs
from orbit.core.config.schema import FilePath, build, path_keys, suggestion

LIST_KEYS = ("only", "controls", "seeds")


@dataclass(frozen=True)
@limited
class ReproductionRequest:
    """All keys of the command. `only`, `controls` and `seeds` null mean all. `dirty` also runs code
    with changes that are not committed; its results are marked."""

    reproduction: ReproductionSettings
    work: FilePath | None = None
    mnist: FilePath | None = None
    meshes: FilePath | None = None
    preset: Preset = "small"
    only: tuple[str, ...] | None = None
    controls: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    num_parallel: Count = 2
    results: FilePath | None = None
    document: FilePath | None = None
    dry_run: bool = False
    tables: bool = False
    dirty: bool = False

    def __post_init__(self) -> None:
        if self.seeds is not None:
            check_seeds(self.seeds)
        if self.dry_run and self.tables:
            raise ValueError(
                "dry_run=true has no effect with tables=true: it does not run anything"
            )
        if self.preset not in PUBLISHED and self.results is None and not self.dry_run:
            raise ValueError(
                f"preset={self.preset} needs results=DIR: docs/results/{self.reproduction.name}"
                f" holds those of {' and '.join(f'preset={name}' for name in PUBLISHED)}"
            )
        if self.results is None and is_installed():
            raise ValueError(
                "give results=DIR, a folder for result files: the published ones, docs/results,"
                " are part of the source repository"
            )
        if self.work is None and not (self.dry_run or self.tables):
            raise ValueError("give work=DIR, a folder for datasets, runs and logs")

    @property
    def results_dir(self) -> Path:
        """Folder of the result files."""
        if self.results is not None:
            return Path(self.results).absolute()
        return REPOSITORY / "docs" / "results" / self.reproduction.name

    @property
    def document_file(self) -> Path | None:
        """The text with the tables; None if results are elsewhere and no document is named."""
        if self.document is not None:
            return Path(self.document).absolute()
        return REPOSITORY / f"docs/{self.reproduction.name}.md" if self.results is None else None

    @property
    def other_documents(self) -> list[Path]:
        """Further texts with tables; none if results or document are named."""
        if self.results is not None or self.document is not None:
            return []
        return [REPOSITORY / name for name in self.reproduction.also]

    def files(self, key: str | None) -> str | None:
        """The folder that the command names for `mnist` or `meshes`, absolute."""
        folder: str | None = getattr(self, key) if key is not None else None
        return None if folder is None else str(Path(folder).absolute())


def read_request(overrides: Sequence[str]) -> ReproductionRequest:
    """The request of a command line, whose first argument is the reproduction's name.

    Raises a one-line ValueError.
    """
    overrides = take_configs(overrides)
    known = group_options("reproduction")
    if not overrides or "=" in overrides[0]:
        raise ValueError(f"give the name of a reproduction first; known: {', '.join(known)}")
    name, *others = overrides
    if name not in known:
        raise ValueError(f"unknown reproduction {name!r}{suggestion(name, known)}")
    given = [f"reproduction={name}", *map(as_list_override, others)]
    return build(ReproductionRequest, compose("reproduce", given, path_keys(ReproductionRequest)))


def as_list_override(override: str) -> str:
    """`only=a,b` as `only=[a,b]`; every other override unchanged."""
    key, value = split_override(override)
    is_bare = key in LIST_KEYS and value != "null" and not value.startswith("[")
    return f"{key}=[{value}]" if is_bare else override
