"""One SLURM of two nodes and one tiny dataset for all tests here."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.dev_cluster import DevCluster, dev_cluster_reason
from helpers.launching import Launcher

PORT = "28617"
"""Not the script's own: a cluster that a person started goes on undisturbed."""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    """A running cluster of our own; skipped where SLURM cannot be started."""
    reason = dev_cluster_reason()
    if reason is not None:
        pytest.skip(f"SLURM cannot be started here: {reason}")
    cluster = DevCluster(tmp_path_factory.mktemp("slurm"))
    cluster.environment["ORBIT_DEV_CLUSTER_PORT"] = PORT
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def launcher(cluster: DevCluster, digits_dir: Path) -> Launcher:
    """The launch programs on that cluster."""
    return Launcher(cluster, digits_dir, sys.executable)
