"""What `launch/reproduce.py` was asked to do, and how long that may take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.reproduction.settings import Preset, ReproductionSettings, check_seeds
from orbit.core.config.compose import compose, group_options, split_word
from orbit.core.config.limits import Count, limited
from orbit.core.config.roots import is_installed, take_configs
from orbit.core.config.schema import build, suggestion

PATH_KEYS = frozenset({"work", "mnist", "meshes", "results", "document"})
LIST_KEYS = ("only", "controls", "seeds")
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
@limited
class ReproductionRequest:
    """All keys of the command. `only`, `controls` and `seeds` null mean all."""

    reproduction: ReproductionSettings
    work: str | None = None
    mnist: str | None = None
    meshes: str | None = None
    preset: Preset = "small"
    only: tuple[str, ...] | None = None
    controls: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    num_parallel: Count = 2
    results: str | None = None
    document: str | None = None
    dry_run: bool = False
    tables: bool = False

    def __post_init__(self) -> None:
        if self.seeds is not None:
            check_seeds(self.seeds)
        if self.dry_run and self.tables:
            raise ValueError("dry_run=true has no effect with tables=true: it runs nothing")
        if self.preset != "small" and self.results is None and not self.dry_run:
            raise ValueError(
                f"preset={self.preset} needs results=DIR: docs/results/{self.reproduction.name}"
                " holds those of preset=small"
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
        """The text with the tables; None for results elsewhere that no document was named for."""
        if self.document is not None:
            return Path(self.document).absolute()
        return REPOSITORY / f"docs/{self.reproduction.name}.md" if self.results is None else None

    def files(self, key: str | None) -> str | None:
        """The folder that the command names for `mnist` or `meshes`, absolute."""
        folder: str | None = getattr(self, key) if key is not None else None
        return None if folder is None else str(Path(folder).absolute())


def read_request(words: Sequence[str]) -> ReproductionRequest:
    """The request of the command's words, of which the first is the reproduction's name.

    Raises ValueError with one line.
    """
    words = take_configs(words)
    known = group_options("reproduction")
    if not words or "=" in words[0]:
        raise ValueError(f"give the name of a reproduction first; known: {', '.join(known)}")
    name, *others = words
    if name not in known:
        raise ValueError(f"unknown reproduction {name!r}{suggestion(name, known)}")
    given = [f"reproduction={name}", *map(as_list_word, others)]
    return build(ReproductionRequest, compose("reproduce", given, PATH_KEYS))


def as_list_word(word: str) -> str:
    """`only=a,b` as `only=[a,b]`; every other word as it is."""
    key, value = split_word(word)
    is_bare = key in LIST_KEYS and value != "null" and not value.startswith("[")
    return f"{key}=[{value}]" if is_bare else word


def seconds_left(
    remaining: Sequence[str], seconds: Mapping[str, Sequence[float]], num_parallel: int
) -> float | None:
    """Seconds for runs on the `remaining` datasets, from those of finished ones by dataset.

    A dataset of which no run finished yet counts as the mean of the others; None while
    nothing is known.
    """
    known = {name: sum(values) / len(values) for name, values in seconds.items() if values}
    if not known:
        return None
    usual = sum(known.values()) / len(known)
    total = sum(known.get(name, usual) for name in remaining)
    return total / max(1, min(num_parallel, len(remaining)))


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3:05 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h" if minutes >= 100 else f"{minutes} min"
