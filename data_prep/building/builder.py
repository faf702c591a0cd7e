"""Building a dataset: shards in parallel, resumable, with the manifest written last.

During a build, `.building/plan.json` describes what is being built and
`.building/<split>-<index>.json` holds each finished shard's checksum and sums. A killed build
continues from these.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.building import clearing
from data_prep.building.clearing import BUILDING, PLAN, is_started
from data_prep.building.identity import (
    description_of,
    description_of_recipe,
    make_manifest,
    refuse_difference,
)
from data_prep.building.recipe import BadInputError, Recipe, ShardPlan
from data_prep.building.shard_writer import FrameSums, write_shard
from data_prep.building.workers import make_all, refuse_living_writers
from orbit import __version__
from orbit.core.files.atomic import MAX_NAME_BYTES, sha256_of_file, sync_directory, write_json
from orbit.core.files.listing import list_folder
from orbit.core.files.lock import DirectoryLock, LostLockError
from orbit.core.printing import say
from orbit.core.reading.files import MAX_NAMES, listed
from orbit.core.store.earlier import upgraded
from orbit.core.store.manifest import (
    MANIFEST_NAME,
    SPLITS,
    Manifest,
    ShardInfo,
    SplitInfo,
    read_manifest,
    write_manifest,
)
from orbit.core.store.reader import check_files
from orbit.core.store.shard import Block
from orbit.core.user_text import check_utf8

FREE_SPACE_MARGIN = 1.02
MAX_CHECKSUMS = 4096
"""Each shard names at most this number of source files; the manifest names all."""
CANNOT_BE_MADE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


def build_dataset(
    recipe: Recipe,
    out: Path,
    num_workers: int = 1,
    overwrite: bool = False,
    on_shard: Callable[[ShardPlan], None] = lambda plan: None,
) -> Manifest:
    """Write the dataset, or its missing parts, and return its manifest.

    A complete dataset need not be writable. With `overwrite` another dataset is set aside until
    this one is complete, and restored if this one fails; the same call after a kill continues with
    the finished shards of the new one.

    Raises ValueError if `out` holds another dataset (unless `overwrite`), files that are not this
    program's, or if another process is building there. Unusable input raises BadInputError and
    leaves nothing behind, except the shards of an earlier build that this one continued.
    """
    check_name(out)
    if not overwrite and is_complete(recipe, out):
        _tidy_if_free(out)
        return read_manifest(out)
    made = make_folders(out)
    try:
        with DirectoryLock(out, "preparations") as lock:
            return _build(recipe, out, num_workers, overwrite, on_shard, lock)
    except Exception:
        # Remove only empty folders: another process may already hold the lock.
        for folder in made:
            clearing.remove_if_empty(folder)
        raise


def make_folders(out: Path) -> list[Path]:
    """Make a directory with its parents; returns the new ones, deepest first.

    Raises ValueError for a directory that cannot be written.
    """
    missing = [path for path in (out, *out.parents) if not path.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        for folder in missing:
            clearing.remove_if_empty(folder)
        if error.errno not in CANNOT_BE_MADE:
            raise
        raise ValueError(f"out={out} cannot be made: {error.strerror}") from None
    if not os.access(out, os.W_OK | os.X_OK):
        raise ValueError(f"out={out} cannot be written: choose another directory")
    for folder in missing:
        sync_directory(folder.parent)
    return missing


def check_name(out: Path) -> None:
    """Raise ValueError for a directory's name that is not UTF-8 or too long."""
    name = os.fsencode(out.absolute())
    check_utf8("out", str(out.absolute()))
    longest = max(map(len, name.split(b"/")))
    if longest > MAX_NAME_BYTES:
        raise ValueError(
            f"out={out.absolute()}: a name of {longest} bytes, where {MAX_NAME_BYTES} are the most"
        )


def _build(
    recipe: Recipe,
    out: Path,
    num_workers: int,
    overwrite: bool,
    on_shard: Callable[[ShardPlan], None],
    lock: DirectoryLock,
) -> Manifest:
    if not start_build(recipe, out, overwrite):
        return read_manifest(out)
    is_continued = True
    try:
        is_continued = has_finished_shards(out)
        _build_missing(recipe, out, num_workers, on_shard)
        lock.check_owned()
        return finish_build(recipe, out)
    except LostLockError:
        raise
    except Exception as error:
        abandon_build(out, error, is_continued, lock)
        raise


def abandon_build(out: Path, error: Exception, is_continued: bool, lock: DirectoryLock) -> None:
    """Clean up after a failure: keep what another attempt can use, restore a replaced dataset.

    `is_continued` says that finished shards existed before this attempt.
    """
    try:
        lock.check_owned()
        if clearing.has_replaced(out):
            clearing.restore_replaced(out)
        elif is_started(out) and not is_continued:
            is_hopeless = isinstance(error, BadInputError)
            if is_hopeless or not has_finished_shards(out):
                clearing.clear(out)
    except (OSError, LostLockError) as fault:
        say(f"{out} could not be cleaned up: {fault}", error=True)


def _tidy_if_free(out: Path) -> None:
    """Remove leftovers of a complete dataset, if it is writable and no other process works on
    it."""
    lock = DirectoryLock(out, "preparations")
    try:
        if clearing.has_leftovers(out) and os.access(out, os.W_OK) and lock.try_acquire():
            clearing.tidy(out)
            lock.release()
    except OSError:
        pass  # The dataset is complete anyway.


def _build_missing(
    recipe: Recipe, out: Path, num_workers: int, on_shard: Callable[[ShardPlan], None]
) -> None:
    missing = [plan for plan in recipe.plans() if not is_shard_finished(out, plan)]
    check_free_space(out, missing)
    for plan in recipe.plans():
        if plan not in missing:
            on_shard(plan)
    make_all(partial(build_shard, recipe, out), missing, num_workers, on_shard)


def start_build(recipe: Recipe, out: Path, overwrite: bool) -> bool:
    """Make `out` ready for shards; False if the dataset is already complete.

    Everything that the manifest will need is checked here. Raises ValueError if jobs are writing
    there. A failure changes nothing.
    """
    foreign = clearing.foreign_split(out)
    if foreign is not None:
        raise ValueError(f"{foreign} exists but is not part of a dataset: choose another directory")
    if not overwrite and is_complete(recipe, out):
        _tidy_if_free(out)
        return False
    wanted = description_of_recipe(recipe)
    refuse_living_writers(out)
    try:
        clearing.settle(out)
        if overwrite and clearing.is_ours(out) and not _is_under_way(out, wanted):
            clearing.set_aside(out)
        elif not overwrite and is_complete(recipe, out):
            return False
        clearing.remove_drafts(out)
        for split in dict.fromkeys(plan.split for plan in recipe.plans()):
            (out / split).mkdir(parents=True, exist_ok=True)
        (out / BUILDING).mkdir(exist_ok=True)
        write_json(out / PLAN, wanted)
        sync_directory(out)
    except Exception:
        if not is_started(out):
            with contextlib.suppress(OSError):
                clearing.settle(out)
            for split in (*SPLITS, BUILDING):
                clearing.remove_if_empty(out / split)
        raise
    return True


def _is_under_way(out: Path, wanted: dict[str, Any]) -> bool:
    """Whether a build of exactly this dataset was started here and is not complete."""
    return is_started(out) and _begun(out) == wanted


def _begun(out: Path) -> dict[str, Any]:
    """The description of an unfinished dataset, also of one that an earlier version started."""
    return upgraded(json.loads((out / PLAN).read_text("utf-8")))


def is_complete(recipe: Recipe, out: Path) -> bool:
    """Whether `out` holds this dataset completely; changes nothing.

    Raises ValueError if `out` holds another dataset, complete or not, and ValueError or
    FileNotFoundError for a complete one with a faulty file.
    """
    wanted = description_of_recipe(recipe)
    if (out / MANIFEST_NAME).exists():
        manifest = read_manifest(out)
        refuse_difference(out, "complete", description_of(manifest), wanted)
        check_files(out, manifest)
        return True
    if is_started(out):
        refuse_difference(out, "unfinished", _begun(out), wanted)
    return False


def has_finished_shards(out: Path) -> bool:
    """Whether an unfinished build has records of finished shards."""
    return bool(list_folder(out / BUILDING, "*-*.json"))


def is_shard_finished(out: Path, plan: ShardPlan) -> bool:
    """Whether a shard of an unfinished build exists and matches its checksum."""
    if not seems_finished(out, plan):
        return False
    recorded = json.loads(_note_path(out, plan).read_text())["shard"]
    return bool(sha256_of_file(out / plan.file) == recorded["sha256"])


def seems_finished(out: Path, plan: ShardPlan) -> bool:
    """Whether a shard of an unfinished build exists with the right size; its content is not
    read."""
    try:
        note = json.loads(_note_path(out, plan).read_text())
        is_counted = note["num_values"] == plan.layout.num_frames * math.prod(
            plan.layout.frames.shape[1:]
        )
        return bool(is_counted and (out / plan.file).stat().st_size == note["shard"]["size"])
    except FileNotFoundError:
        return False


def build_shard(recipe: Recipe, out: Path, plan: ShardPlan) -> None:
    """Write one shard and the record that it is finished.

    Raises BadInputError for unusable input and for values that a shard cannot hold, for which a
    repetition would not help.
    """
    import torch

    torch.set_num_threads(1)
    path = out / plan.file
    constant: list[str] = []
    try:
        blocks = _blocks(recipe, plan, constant)
        sums = write_shard(path, plan.layout, blocks, _attributes(recipe, plan))
    except BadInputError:
        raise
    except ValueError as error:
        raise BadInputError(f"{path}: {error}") from error
    except MemoryError:
        raise ValueError(
            f"{path}: not enough memory to make this shard: set a smaller num_workers, or make"
            " shards smaller by dataset.shard_mib"
        ) from None
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
        "constant": constant[:MAX_NAMES],
        "num_constant": len(constant),
    }
    write_json(_note_path(out, plan), note)


def _blocks(recipe: Recipe, plan: ShardPlan, constant: list[str]) -> Iterator[Block]:
    """The recipe's blocks; errors of its input become BadInputError, unlike faults of writing.

    Names of images that have the same value everywhere are added to `constant`.
    """
    try:
        for block in recipe.blocks(plan):
            constant += block.constant
            yield block
    except (ValueError, FileNotFoundError) as error:
        raise BadInputError(str(error)) from error


def finish_build(recipe: Recipe, out: Path) -> Manifest:
    """Write the manifest from the records of all shards; ValueError if one is missing, and
    BadInputError for statistics that are not finite."""
    splits: dict[str, Any] = {}
    constant: list[str] = []
    num_constant = 0
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
            constant += note.get("constant", [])
            num_constant += note.get("num_constant", 0)
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
    if num_constant:
        names = listed(constant, num_constant)
        say(f"images with the same value everywhere ({num_constant:,}): {names}", error=True)
    manifest = make_manifest(recipe, splits)
    write_manifest(out, manifest)
    clearing.tidy(out)
    return manifest


def _attributes(recipe: Recipe, plan: ShardPlan) -> dict[str, str | int]:
    """The attributes of a shard's file; nested values as JSON text."""
    action = [dataclasses.asdict(component) for component in recipe.action_components]
    return {
        "dataset": recipe.name,
        "group": recipe.group,
        "action": json.dumps(action),
        "label_meaning": recipe.label_meaning,
        "split": plan.split,
        "seed": recipe.seed,
        "generator": json.dumps(recipe.origin().flat()),
        "source_checksums": json.dumps(_few(recipe.source_checksums())),
        "package_version": __version__,
    }


def _few(checksums: dict[str, str]) -> dict[str, Any]:
    """The checksums; if there are very many, only their number and one checksum over all."""
    if len(checksums) <= MAX_CHECKSUMS:
        return checksums
    text = json.dumps(checksums, sort_keys=True)
    return {"num_files": len(checksums), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def check_free_space(out: Path, plans: Sequence[ShardPlan]) -> None:
    """Raise ValueError if the disk of `out` has too little space for these shards.

    A file system that does not state its size is assumed to be large enough.
    """
    needed = int(sum(plan.layout.num_bytes() for plan in plans) * FREE_SPACE_MARGIN)
    try:
        size, _, free = shutil.disk_usage(out)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOTSUP):
            raise
        return
    if size and free < needed:
        raise ValueError(
            f"not enough space at {out}: {needed / 2**20:,.0f} MiB needed,"
            f" {free / 2**20:,.0f} MiB free"
        )


def _note_path(out: Path, plan: ShardPlan) -> Path:
    return out / BUILDING / f"{plan.split}-{plan.index:05d}.json"
