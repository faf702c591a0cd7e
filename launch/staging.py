"""A dataset on a node's own disk: the first process of the node that needs it copies it.

DISK/orbit-USER/<first 16 hex digits of the fingerprint>/
  train/shard_00000.h5 ...   copied under a temporary name, checked, renamed
  manifest.json              last: its presence means the copy is complete
  .lock                      only while a process copies
"""

import errno
import getpass
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from orbit.core.files.atomic import TEMPORARY_SUFFIX, replacing
from orbit.core.files.listing import list_folder
from orbit.core.files.lock import DirectoryLock
from orbit.core.files.waiting import StoppedWaiting, wait_until
from orbit.core.printing import say

if TYPE_CHECKING:
    from orbit.core.store.manifest import Manifest, ShardInfo

NUM_COPIERS = 4
CHUNK_BYTES = 8 * 2**20


def stage_dataset(
    data: Path,
    disk: Path,
    say: Callable[[str], object] = say,
    should_stop: Callable[[], bool] = lambda: False,
) -> Path:
    """The path of a complete copy of the dataset `data` on this node's `disk`; makes it if
    necessary.

    Processes of one node may call this at once: one copies, the others wait for it. A copy with
    missing files or files of another size is completed. Raises FileNotFoundError if the dataset or
    the disk does not exist, and ValueError if a shard differs from the manifest or the disk has too
    little space. Raises StoppedWaiting soon after `should_stop` turns true; complete shards are
    kept for the next attempt.
    """
    # Reading manifests imports torch, which programs that only start jobs do not need.
    from orbit.core.store.manifest import MANIFEST_NAME, read_manifest

    manifest = read_manifest(data)
    manifest_text = (data / MANIFEST_NAME).read_bytes()
    if not disk.is_dir():
        raise FileNotFoundError(f"cannot copy the dataset to {disk}: there is no such directory")
    target = _own_folder(disk) / manifest.fingerprint[:16]
    lock = DirectoryLock(target, "copies of a dataset")
    is_held = wait_until(
        lambda: (
            (_is_complete(target, manifest, manifest_text) and "complete") or lock.try_acquire()
        ),
        f"the process that copies the dataset to {target}",
        should_stop=should_stop,
    )
    if is_held is not True:
        return target
    try:
        if not _is_complete(target, manifest, manifest_text):
            _fill(data, target, manifest, manifest_text, say, should_stop)
    finally:
        lock.release()
    return target


def _fill(
    data: Path,
    target: Path,
    manifest: "Manifest",
    manifest_text: bytes,
    say: Callable[[str], object],
    should_stop: Callable[[], bool],
) -> None:
    """Copy the shards that are missing or of another size, then the manifest."""
    from orbit.core.store.manifest import MANIFEST_NAME

    started = time.monotonic()
    (target / MANIFEST_NAME).unlink(missing_ok=True)
    for folder in (target, *(target / split for split in manifest.splits)):
        for leftover in list_folder(folder, f".*{TEMPORARY_SUFFIX}"):
            # Drafts of the lock belong to waiting processes.
            if ".lock." not in leftover.name:
                leftover.unlink(missing_ok=True)
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    shards = [shard for shard in shards if not _has_size(target / shard.file, shard.size)]
    for shard in shards:
        if Path(shard.file).is_absolute() or ".." in Path(shard.file).parts:
            raise ValueError(f"{data / MANIFEST_NAME} names a file outside of it: {shard.file}")
        (target / shard.file).unlink(missing_ok=True)
        (target / shard.file).parent.mkdir(parents=True, exist_ok=True)
    needed = sum(shard.size for shard in shards)
    if needed + len(manifest_text) > shutil.disk_usage(target).free:
        raise ValueError(_too_little_space(target, needed))
    say(f"copying {_mib(needed)} MiB of the dataset {data} to {target}")
    try:
        _copy_shards(data, target, shards, should_stop)
        with replacing(target / MANIFEST_NAME) as draft:
            draft.write_bytes(manifest_text)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ValueError(_too_little_space(target, needed)) from None
        raise
    say(f"copied {_mib(needed)} MiB in {time.monotonic() - started:.1f} s")


def _copy_shards(
    data: Path, target: Path, shards: "list[ShardInfo]", should_stop: Callable[[], bool]
) -> None:
    with ThreadPoolExecutor(NUM_COPIERS) as pool:
        copies = [
            pool.submit(_copy_shard, data / shard.file, target / shard.file, shard, should_stop)
            for shard in shards
        ]
        try:
            for copy in copies:
                copy.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _copy_shard(
    source: Path, target: Path, shard: "ShardInfo", should_stop: Callable[[], bool]
) -> None:
    """Copy a shard; ValueError if its content differs from the manifest."""
    checksum = hashlib.sha256()
    with replacing(target) as draft, open(source, "rb") as file, open(draft, "wb") as copy:
        while chunk := file.read(CHUNK_BYTES):
            if should_stop():
                raise StoppedWaiting(f"asked to stop while copying {source}")
            checksum.update(chunk)
            copy.write(chunk)
        if copy.tell() != shard.size or checksum.hexdigest() != shard.sha256:
            raise ValueError(
                f"{source} differs from its checksum in the manifest: the dataset is damaged"
            )


def _is_complete(target: Path, manifest: "Manifest", manifest_text: bytes) -> bool:
    """Whether the copy has exactly this manifest and every shard with its size."""
    from orbit.core.store.manifest import MANIFEST_NAME
    from orbit.core.store.reader import check_files

    try:
        if (target / MANIFEST_NAME).read_bytes() != manifest_text:
            return False
        check_files(target, manifest)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    return True


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _own_folder(disk: Path) -> Path:
    """This user's folder on a shared disk; ValueError if it belongs to another user."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    folder = disk / f"orbit-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.getuid():
        raise ValueError(f"{folder} belongs to another user: choose another disk")
    return folder


def _too_little_space(target: Path, needed: int) -> str:
    free = shutil.disk_usage(target).free
    return (
        f"the dataset needs {_mib(needed)} MiB on the disk of {target},"
        f" which has {free // 2**20:,} MiB free"
    )


def _mib(size: int) -> str:
    return f"{-(-size // 2**20):,}"
