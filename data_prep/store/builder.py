"""Building a dataset: shards in parallel, resumable, with the manifest written last.

While a build is under way, `.building/plan.json` says what is being built and
`.building/<split>-<index>.json` holds each finished shard's checksum and sums.
A killed build continues from these.
"""

import dataclasses
import json
import math
import multiprocessing
import multiprocessing.connection
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_prep.store.clearing import (
    BUILDING,
    REPLACED,
    clear,
    foreign_split,
    forget_replaced,
    is_ours,
    remove_if_empty,
    restore_replaced,
    set_aside,
)
from data_prep.store.manifest import (
    MANIFEST_NAME,
    SCHEMA_VERSION,
    SPLITS,
    Manifest,
    ShardInfo,
    SplitInfo,
    read_manifest,
    write_manifest,
)
from data_prep.store.reader import check_files
from data_prep.store.recipe import BadInputError, Recipe, ShardPlan
from data_prep.store.shard import Block
from data_prep.store.shard_writer import FrameSums, write_shard
from pipeline import __version__
from pipeline.files.atomic import TEMPORARY_SUFFIX, sha256_of_file, write_json
from pipeline.files.lock import DirectoryLock

FREE_SPACE_MARGIN = 1.02


def build_dataset(
    recipe: Recipe,
    out: Path,
    num_workers: int = 1,
    overwrite: bool = False,
    on_shard: Callable[[ShardPlan], None] = lambda plan: None,
) -> Manifest:
    """Write the whole dataset, or what is missing of it, and return its manifest.

    Raises ValueError if `out` holds another dataset (unless `overwrite`), files
    that are not this program's, or if another process is building there. Input that
    cannot be used raises BadInputError and leaves nothing behind, except the shards of
    an earlier build that this one continued. A dataset that is overwritten comes back
    if its successor fails.
    """
    made = make_folders(out)
    is_continued = is_started(out)
    try:
        with DirectoryLock(out, "preparations"):
            try:
                if start_build(recipe, out, overwrite):
                    _build_missing(recipe, out, num_workers, on_shard)
                    finish_build(recipe, out)
                return read_manifest(out)
            except Exception as error:
                _clean_up(out, error, is_continued and not overwrite)
                raise
    except Exception:
        # Never more than empty folders: another process may hold the lock by now.
        for folder in made:
            remove_if_empty(folder)
        raise


def make_folders(out: Path) -> list[Path]:
    """Make a directory with its parents; returns those that were not there, deepest first."""
    missing = [path for path in (out, *out.parents) if not path.exists()]
    out.mkdir(parents=True, exist_ok=True)
    return missing


def _clean_up(out: Path, error: Exception, is_continued: bool) -> None:
    """After a failure: keep what another attempt can go on from, put back what was replaced."""
    if (out / REPLACED).is_dir():
        restore_replaced(out)
    elif is_started(out) and not is_continued:
        is_hopeless = isinstance(error, BadInputError)
        if is_hopeless or not any((out / BUILDING).glob("*-*.json")):
            clear(out)


def _build_missing(
    recipe: Recipe, out: Path, num_workers: int, on_shard: Callable[[ShardPlan], None]
) -> None:
    missing = [plan for plan in recipe.plans() if not is_shard_finished(out, plan)]
    check_free_space(out, missing)
    for plan in recipe.plans():
        if plan not in missing:
            on_shard(plan)
    _build_shards(recipe, out, missing, num_workers, on_shard)


def start_build(recipe: Recipe, out: Path, overwrite: bool) -> bool:
    """Make `out` ready for shards; False if the dataset is already complete."""
    foreign = foreign_split(out)
    if foreign is not None:
        raise ValueError(f"{foreign} exists but is not part of a dataset: choose another directory")
    if overwrite and is_ours(out):
        set_aside(out)
    elif is_complete(recipe, out):
        shutil.rmtree(out / BUILDING, ignore_errors=True)
        return False
    for plan in recipe.plans():
        (out / plan.split).mkdir(parents=True, exist_ok=True)
    for folder in (out, *(out / name for name in SPLITS)):
        for leftover in folder.glob(f".*{TEMPORARY_SUFFIX}"):
            if leftover.is_file():
                leftover.unlink()
    plan_file = out / BUILDING / "plan.json"
    plan_file.parent.mkdir(exist_ok=True)
    write_json(plan_file, _description(recipe))
    return True


def is_started(out: Path) -> bool:
    """Whether `out` holds a build that was started and is not complete."""
    return (out / BUILDING / "plan.json").exists() and not (out / MANIFEST_NAME).exists()


def is_complete(recipe: Recipe, out: Path) -> bool:
    """Whether `out` holds this dataset in full; changes nothing.

    Raises ValueError if `out` holds another dataset, complete or not, and ValueError or
    FileNotFoundError for a complete one with a faulty file.
    """
    wanted = _description(recipe)
    if (out / MANIFEST_NAME).exists():
        manifest = read_manifest(out)
        _refuse_difference(out, "complete", _description_of_manifest(manifest), wanted)
        check_files(out, manifest)
        return True
    plan_file = out / BUILDING / "plan.json"
    if plan_file.exists():
        _refuse_difference(out, "unfinished", json.loads(plan_file.read_text()), wanted)
    return False


def is_shard_finished(out: Path, plan: ShardPlan) -> bool:
    """Whether a shard of an unfinished build is there and matches its checksum."""
    if not seems_finished(out, plan):
        return False
    recorded = json.loads(_note_path(out, plan).read_text())["shard"]
    return bool(sha256_of_file(out / plan.file) == recorded["sha256"])


def seems_finished(out: Path, plan: ShardPlan) -> bool:
    """Whether a shard of an unfinished build is there in its size; its content is not read."""
    try:
        note = json.loads(_note_path(out, plan).read_text())
        is_counted = note["num_values"] == plan.layout.num_frames * math.prod(
            plan.layout.frames.shape[1:]
        )
        return bool(is_counted and (out / plan.file).stat().st_size == note["shard"]["size"])
    except FileNotFoundError:
        return False


def build_shard(recipe: Recipe, out: Path, plan: ShardPlan) -> None:
    """Write one shard and the note that it is finished.

    Raises BadInputError for input that cannot be used and for values that a shard cannot
    hold: the same again would not help.
    """
    torch.set_num_threads(1)
    path = out / plan.file
    try:
        sums = write_shard(path, plan.layout, _blocks(recipe, plan), _attributes(recipe, plan))
    except BadInputError:
        raise
    except ValueError as error:
        raise BadInputError(f"{path}: {error}") from error
    shard = ShardInfo(
        plan.file,
        plan.layout.num_frames,
        plan.layout.num_records,
        path.stat().st_size,
        sha256_of_file(path),
    )
    note = {
        "shard": dataclasses.asdict(shard),
        "total": sums.total.tolist(),
        "total_squared": sums.total_squared.tolist(),
        "num_values": sums.num_values,
    }
    write_json(_note_path(out, plan), note)


def _blocks(recipe: Recipe, plan: ShardPlan) -> Iterator[Block]:
    """The recipe's blocks; what it says of its input is told apart from faults of the writing."""
    try:
        yield from recipe.blocks(plan)
    except (ValueError, FileNotFoundError) as error:
        raise BadInputError(str(error)) from error


def finish_build(recipe: Recipe, out: Path) -> Manifest:
    """Write the manifest from the notes of all shards; ValueError if one is missing, and
    BadInputError for statistics that are not finite."""
    splits: dict[str, Any] = {}
    for split in SPLITS:
        plans = [plan for plan in recipe.plans() if plan.split == split]
        if not plans:
            continue
        shards, sums = [], FrameSums.zero(recipe.frames.shape[0])
        for plan in plans:
            if not _note_path(out, plan).exists():
                raise ValueError(f"{out / plan.file} is not finished: run the preparation again")
            note = json.loads(_note_path(out, plan).read_text())
            shards.append(ShardInfo(**note["shard"]))
            sums.total += np.array(note["total"])
            sums.total_squared += np.array(note["total_squared"])
            sums.num_values += note["num_values"]
        try:
            statistics = sums.statistics(recipe.frames)
        except ValueError as error:
            raise BadInputError(f"{out}: the {split} split: {error}") from None
        splits[split] = SplitInfo(
            sum(shard.num_frames for shard in shards),
            sum(shard.num_records for shard in shards),
            plans[0].records_per_source,
            statistics,
            tuple(shards),
        )
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=recipe.name,
        group=recipe.group,
        action=recipe.action_components,
        frames=recipe.frames,
        label_meaning=recipe.label_meaning,
        target_is_action_on_source=recipe.target_is_action_on_source,
        columns=dict(recipe.columns),
        splits=splits,
        seed=recipe.seed,
        generator=recipe.generator(),
        source_checksums=recipe.source_checksums(),
        package_version=__version__,
    )
    write_manifest(out, manifest)
    shutil.rmtree(out / BUILDING, ignore_errors=True)
    forget_replaced(out)
    return manifest


def _build_shards(
    recipe: Recipe,
    out: Path,
    plans: list[ShardPlan],
    num_workers: int,
    on_shard: Callable[[ShardPlan], None],
) -> None:
    if num_workers == 1 or len(plans) <= 1:
        for plan in plans:
            build_shard(recipe, out, plan)
            on_shard(plan)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(num_workers, len(plans)), context, _end_with_parent) as pool:
        futures = {pool.submit(build_shard, recipe, out, plan): plan for plan in plans}
        try:
            for future in as_completed(futures):
                future.result()
                on_shard(futures[future])
        except BrokenProcessPool:
            raise ValueError("a worker process was killed (out of memory?): run again") from None
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """End this worker when its parent is gone: a killed build leaves no processes behind."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _attributes(recipe: Recipe, plan: ShardPlan) -> dict[str, str | int]:
    """What a shard says about itself; nested values as JSON text."""
    action = [dataclasses.asdict(component) for component in recipe.action_components]
    return {
        "dataset": recipe.name,
        "group": recipe.group,
        "action": json.dumps(action),
        "label_meaning": recipe.label_meaning,
        "split": plan.split,
        "seed": recipe.seed,
        "generator": json.dumps(recipe.generator()),
        "source_checksums": json.dumps(recipe.source_checksums()),
        "package_version": __version__,
    }


def _description(recipe: Recipe) -> dict[str, Any]:
    description = {
        "name": recipe.name,
        "group": recipe.group,
        "seed": recipe.seed,
        "action": [dataclasses.asdict(component) for component in recipe.action_components],
        "frames": dataclasses.asdict(recipe.frames),
        "columns": {name: dataclasses.asdict(spec) for name, spec in recipe.columns.items()},
        "generator": recipe.generator(),
        "source_checksums": recipe.source_checksums(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(description))
    return plain


def _description_of_manifest(manifest: Manifest) -> dict[str, Any]:
    found = json.loads(json.dumps(dataclasses.asdict(manifest)))
    keys = ("name", "group", "seed", "action", "frames", "columns", "generator", "source_checksums")
    return {key: found[key] for key in keys}


def _refuse_difference(
    out: Path, state: str, found: dict[str, Any], wanted: dict[str, Any]
) -> None:
    differing = []
    for key in wanted:
        if isinstance(wanted[key], dict) and isinstance(found.get(key), dict):
            keys = {*wanted[key], *found[key]}
            differing += [
                f"{key}.{name}"
                for name in sorted(keys)
                if wanted[key].get(name) != found[key].get(name)
            ]
        elif wanted[key] != found.get(key):
            differing.append(key)
    if differing:
        raise ValueError(
            f"{out} holds a{'n' if state[0] in 'aeiou' else ''} {state} dataset made with another"
            f" configuration (differing: {', '.join(differing)}):"
            " choose another directory, or say overwrite=true"
        )


def check_free_space(out: Path, plans: Sequence[ShardPlan]) -> None:
    """Raise ValueError if the disk of `out` has too little space for these shards."""
    needed = int(sum(plan.layout.num_bytes() for plan in plans) * FREE_SPACE_MARGIN)
    free = shutil.disk_usage(out).free
    if free < needed:
        raise ValueError(
            f"not enough space at {out}: {needed / 2**20:,.0f} MiB needed,"
            f" {free / 2**20:,.0f} MiB free"
        )


def _note_path(out: Path, plan: ShardPlan) -> Path:
    return out / BUILDING / f"{plan.split}-{plan.index:05d}.json"
