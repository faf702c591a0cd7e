"""The reproduction command: what a call asks for, plan, run what is missing, rewrite tables."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.reproduction.children import noting_stop_signals
from launch.reproduction.figures import make_figures, rewrite_document, write_figures
from launch.reproduction.masks import compare_masks, compared_variants, read_masks
from launch.reproduction.plan import DIRTY, Places, PlannedRun, Programs, make_plan
from launch.reproduction.results import describe_commit, has_changed, is_done, read_results
from launch.reproduction.running import Campaign, earlier_seconds, run_plan
from launch.reproduction.settings import (
    PUBLISHED,
    REPOSITORY,
    Preset,
    ReproductionSettings,
    check_seeds,
    duration,
    seconds_left,
)
from launch.reproduction.tables import current_results, make_blocks, matrix, with_guests
from orbit.core.config.compose import compose, group_options, split_override
from orbit.core.config.limits import Count, limited
from orbit.core.config.program import EXIT_FINISHED, EXIT_STOPPED, EXIT_USER_ERROR, ExitWithCode
from orbit.core.config.roots import is_installed, take_configs
from orbit.core.config.schema import FilePath, build, path_keys, suggestion
from orbit.core.files.lock import DirectoryLock
from orbit.core.printing import say
from orbit.core.progress import Progress
from orbit.core.user_text import counted
from pipeline.arithmetic import native_formats
from pipeline.training.distributed import choose_device

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


def reproduce(overrides: Sequence[str]) -> int:
    """Carry out the request of a command line; returns the exit code."""
    return carry_out(read_request(overrides))


def carry_out(request: ReproductionRequest, programs: Programs | None = None) -> int:
    """Carry a request out; returns 1 if a run failed.

    Raises ValueError for a request that cannot work, ExitWithCode with 75 if it was told to stop.
    """
    settings = request.reproduction
    if request.tables:
        write_tables(request, always_say=True)
        return EXIT_FINISHED
    plan = make_plan(settings, request.preset, request.only, request.controls, request.seeds)
    bf16 = "bf16" in native_formats(choose_device("auto", 0))
    runs = [dataclasses.replace(run, has_bf16=bf16) for run in plan]
    missing = [run for run in runs if not is_done(request.results_dir, run)]
    seconds = earlier_seconds(read_results(request.results_dir), request.preset)
    left = seconds_left([run.dataset for run in missing], seconds, request.num_parallel)
    estimate = f", about {duration(left)}" if missing and left is not None else ""
    num = counted(len(runs), "run")
    say(f"{num}, {len(runs) - len(missing)} done, {len(missing)} to do{estimate}")
    if request.dry_run:
        results = read_results(request.results_dir)
        current = current_results(settings, request.preset, results)
        say(matrix(with_guests(settings, current), request.preset, current))
        for run in missing:
            say(f"{run.name}: {' '.join(run.train)}")
        return EXIT_FINISHED
    write_tables(request)  # Now too: a bad document must show before the runs.
    failed = run_missing(request, missing, seconds, programs or Programs()) if missing else {}
    compare_all_masks(request, runs)
    write_tables(request)
    for name, message in failed.items():
        say(f"failed: {name}: {message}")
    return EXIT_USER_ERROR if failed else EXIT_FINISHED


def run_missing(
    request: ReproductionRequest,
    missing: Sequence[PlannedRun],
    seconds: dict[str, list[float]],
    programs: Programs,
) -> dict[str, str]:
    """Run what is missing; returns the reasons of failed runs, by name.

    Raises ValueError for code that is not that of a commit, unless the request allows it.
    """
    assert request.work is not None
    places = Places(Path(request.work).absolute())
    roots = {key: root for key in ("mnist", "meshes") if (root := request.files(key)) is not None}
    for run in missing:
        is_prepared = (places.data(run.prepare) / "manifest.json").exists()
        if run.files is not None and run.files not in roots and not is_prepared:
            raise ValueError(f"{run.dataset} needs {run.files}=DIR; or choose others with only=")
    products = (places.work, request.results_dir, *request.other_documents)
    commit = describe_commit(REPOSITORY, products)
    if commit.endswith(DIRTY) and not request.dirty:
        raise ValueError(
            f"the code is not that of a commit ({commit}): commit the changes outside docs/ and"
            " tests/, or give dirty=true, which marks the results"
        )
    # The lines on runs are numbered, so that a log needs no bar.
    progress = Progress(len(missing), "runs", "reproducing", lines=False)
    lock = DirectoryLock(places.work, "reproductions")
    campaign = Campaign(
        preset=request.preset,
        places=places,
        results=request.results_dir,
        roots=roots,
        num_parallel=request.num_parallel,
        commit=commit,
        programs=programs,
        say=progress.say,
        on_run=progress.advance,
        check_owned=lock.check_owned,
        has_changed=lambda: has_changed(REPOSITORY, commit, products),
    )
    with lock, noting_stop_signals() as stop, progress:
        failed = run_plan(missing, campaign, stop, seconds)
        lock.check_owned()
        if stop.signal is not None:
            write_tables(request)
            name = stop.signal.name
            raise ExitWithCode(f"asked to stop ({name}): the same command continues", EXIT_STOPPED)
    return failed


def compare_all_masks(request: ReproductionRequest, runs: Sequence[PlannedRun]) -> None:
    """Compare the masks of finished runs whose directories are in the folder of work."""
    settings = request.reproduction
    chosen = [
        run
        for run in runs
        if run.variant in compared_variants(settings, request.preset, run.dataset)
    ]
    places = Places(Path(str(request.work)).absolute())
    for file in compare_masks(chosen, places, request.results_dir):
        say(f"{file}: masks compared")


def write_tables(request: ReproductionRequest, always_say: bool = False) -> None:
    """Rewrite the tables of the document, if there is one, and the figures beside it."""
    if request.document_file is None:
        if always_say:
            raise ValueError("give document=FILE, the text whose tables are to be rewritten")
        return
    results = read_results(request.results_dir)
    settings = request.reproduction
    masks = {name: read_masks(request.results_dir, name) for name in settings.datasets}
    blocks = make_blocks(settings, request.preset, results, masks)
    for document in (request.document_file, *request.other_documents):
        is_new = rewrite_document(document, blocks)
        if is_new or always_say:
            say(f"{document}: {'tables rewritten' if is_new else 'nothing to change'}")
    folder = request.document_file.parent / "images" / settings.name
    figures = make_figures(settings, request.preset, results)
    for file in write_figures(folder, figures):
        say(f"{file}: drawn")
