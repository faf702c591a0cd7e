"""Checks before anything is submitted.

Each check raises a one-line ValueError or FileNotFoundError; `check_cluster` returns what could not
be checked, because the cluster does not answer.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from launch.cluster import slurm
from launch.cluster.settings import ClusterConfig, InlineConfig, SlurmConfig

TEMPLATE = re.compile(r"%\d*[AaBJjNnstuxb%]")
"""Patterns that sbatch and submitit replace in paths: numbers of jobs and tasks, names of nodes."""


def check_folder(folder: Path, config: ClusterConfig) -> None:
    """Raise ValueError for a folder whose name SLURM or Python would change or split."""
    if isinstance(config, InlineConfig):
        return
    found = TEMPLATE.search(str(folder))
    if found is not None:
        raise ValueError(
            f"{folder}: SLURM and submitit replace {found[0]!r} in paths, for example by the number"
            " of a job, so jobs would not find this folder: choose another name"
        )
    for letter, who in ((":", "PYTHONPATH"), ("\n", "a batch script"), ("\\", "sbatch")):
        if letter in str(folder):
            raise ValueError(
                f"{folder}: {who} ends a path at {letter!r}, so jobs would not find this"
                " folder: choose another name"
            )


def check_cluster(config: ClusterConfig, folder: Path) -> list[str]:
    """Check the name of `folder`, then partition, account, node count, GPUs and time limit by
    asking SLURM."""
    check_folder(folder.absolute(), config)
    if not isinstance(config, SlurmConfig):
        return []
    partitions = slurm.partitions()
    unchecked = []
    partition = partitions.get(config.partition or "")
    if partition is None:
        names = ", ".join(sorted(name for name in partitions if name)) or "none"
        if config.partition is None:
            raise ValueError(f"cluster.partition=NAME is needed, there is no default: {names}")
        raise ValueError(
            f"cluster.partition={config.partition} is not a partition here; there are: {names}"
        )
    shown = config.partition or "the default partition"
    if not partition.is_up:
        unchecked.append(f"{shown} is not up at the moment: jobs will wait")
    limit = partition.max_minutes
    if limit is not None and config.time_min > limit:
        raise ValueError(
            f"cluster.time={config.time} is above the limit of {shown}, {limit} minutes"
        )
    num_nodes = min(partition.num_nodes, partition.max_nodes or partition.num_nodes)
    if config.nodes > num_nodes:
        raise ValueError(f"cluster.nodes={config.nodes}, but a job on {shown} has {num_nodes}")
    if config.gpus_per_node and not partition.has_gpus:
        raise ValueError(f"cluster.gpus_per_node={config.gpus_per_node}: {shown} has no GPUs")
    if config.account is not None:
        accounts = slurm.accounts()
        if accounts is None:
            unchecked.append("account: this cluster has no accounting that answers")
        elif config.account not in accounts:
            known = ", ".join(sorted(accounts))
            raise ValueError(f"cluster.account={config.account} is not yours; yours: {known}")
    if config.qos is not None:
        unchecked.append(f"qos={config.qos}: left to SLURM")
    return unchecked


def check_datasets(datasets: Sequence[str], thoroughly: bool) -> None:
    """Check that every dataset is complete, with the right sizes of files and, if requested,
    checksums."""
    from orbit.core.files.atomic import sha256_of_file
    from orbit.core.progress import Progress
    from orbit.core.store.manifest import read_manifest
    from orbit.core.store.reader import check_files

    for data in datasets:
        root = Path(data)
        manifest = read_manifest(root)
        check_files(root, manifest)
        if not thoroughly:
            continue
        shards = [shard for split in manifest.splits.values() for shard in split.shards]
        with Progress(len(shards), "shards", f"verifying {root.name}", lines=False) as progress:
            for shard in progress.over(shards):
                if sha256_of_file(root / shard.file) != shard.sha256:
                    raise ValueError(f"{root / shard.file} does not match its checksum")


def check_ranks(global_batch: int, accumulation: int, num_ranks: int, run: str) -> None:
    """Check that the global batch is a multiple of the ranks of a job."""
    if (global_batch // accumulation) % num_ranks:
        per_step = f"global_batch={global_batch}"
        if accumulation > 1:
            per_step += f" / accumulation={accumulation}"
        raise ValueError(f"{run}: {per_step} cannot be divided among {num_ranks} ranks")
