"""The work of a preparation's jobs: make the shards of a task, write the manifest.

Shards appear complete or not at all, and a finished one is never made again, so the work may be
interrupted at any point and repeated.
"""

from collections.abc import Iterator
from pathlib import Path

from data_prep.building.builder import (
    build_shard,
    finish_build,
    is_complete,
    is_shard_finished,
    seems_finished,
    start_build,
)
from data_prep.building.clearing import is_started
from data_prep.building.recipe import Recipe
from data_prep.building.workers import announced
from data_prep.recipes import make_recipe
from launch.preparation.directory import MANIFEST_TASK, read_order
from launch.snapshot import check_snapshot
from orbit.core.store.reader import check_files


class Preparation:
    """The record of a submission, read by one of its jobs.

    Raises ValueError or FileNotFoundError if the order, the submitted code or the source cannot be
    read, or if the source gives a different dataset than at submission.
    """

    def __init__(self, folder: Path) -> None:
        self.order = read_order(folder)
        _check_code(Path(self.order.code), self.order.digest)
        self.out = Path(self.order.config.out)
        self.recipe = make_recipe(self.order.config)

    def do(self, task: str) -> Iterator[str]:
        """Carry out a task; yields the name of every file that it wrote, after writing it."""
        if self._is_complete():
            # Removes files of a job that was killed after its last shard.
            start_build(self.recipe, self.out, overwrite=False)
            return
        with announced(self.out):
            if task == MANIFEST_TASK:
                yield write_manifest(self.recipe, self.out)
            else:
                yield from self._make_shards(self.order.tasks[task])

    def are_shards_finished(self) -> bool:
        """Whether all shards are finished, so that at most the manifest is missing."""
        return all(seems_finished(self.out, plan) for plan in self.recipe.plans())

    def _make_shards(self, files: tuple[str, ...]) -> Iterator[str]:
        plans = {plan.file: plan for plan in self.recipe.plans()}
        for file in files:
            if not is_shard_finished(self.out, plans[file]):
                try:
                    build_shard(self.recipe, self.out, plans[file])
                except FileNotFoundError:
                    if not is_complete(self.recipe, self.out):
                        raise
                    return  # Others have made the rest meanwhile, and cleaned up.
                yield file

    def _is_complete(self) -> bool:
        if is_complete(self.recipe, self.out):
            return True
        if not is_started(self.out):
            raise ValueError(f"{self.out} was removed after this was submitted: submit again")
        return False


def write_manifest(recipe: Recipe, out: Path) -> str:
    """Complete a dataset whose shards are all finished; ValueError if one is missing."""
    plans = recipe.plans()
    missing = [plan.file for plan in plans if not seems_finished(out, plan)]
    if missing:
        raise ValueError(
            f"{out}: {len(missing)} of {len(plans)} shards are missing, first {missing[0]}:"
            " submit again"
        )
    manifest = finish_build(recipe, out)
    check_files(out, manifest)
    return "manifest.json"


def _check_code(code: Path, digest: str) -> None:
    """Check that the running code is the submitted copy, unchanged."""
    check_snapshot(code, digest)
    here = Path(__file__).resolve().parents[2]
    if here != code.resolve():
        raise ValueError(f"this job runs the code in {here} instead of the submitted {code}")
