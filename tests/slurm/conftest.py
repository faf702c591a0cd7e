"""One SLURM of two nodes and one tiny dataset for all tests here."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.dev_cluster import DevCluster, dev_cluster_reason
from helpers.launching import Launcher, Limited

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PORTS = range(28617 + 100 * WORKER, 28717 + 100 * WORKER, 10)
"""Not the script's own: a cluster that a person started, or that killed tests left, goes on. Nor
those of the other processes of this test run."""


def free_port() -> int:
    """The first of these that is free with the two after it, of which a cluster has need."""
    for first in PORTS:
        try:
            for port in range(first, first + 3):
                with socket.socket() as trial:
                    trial.bind(("", port))
        except OSError:
            continue
        return first
    raise AssertionError(f"no three free ports from {PORTS.start} to {PORTS.stop}")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    """A running cluster of our own; skipped where SLURM cannot be started."""
    reason = dev_cluster_reason()
    if reason is not None:
        pytest.skip(f"SLURM cannot be started here: {reason}")
    cluster = DevCluster(tmp_path_factory.mktemp("slurm"))
    cluster.environment["ORBIT_DEV_CLUSTER_PORT"] = str(free_port())
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def launcher(cluster: DevCluster, digits_dir: Path) -> Launcher:
    """The launch programs on that cluster."""
    return Launcher(cluster, digits_dir, sys.executable)


@pytest.fixture(scope="session")
def limited(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limited]:
    """See `Limited`; begun by the first test that asks for it."""
    sweep_dir = tmp_path_factory.mktemp("limited") / "sweep"
    endless = ("epochs=100000", "global_batch=16", "validate_every=90000", "checkpoint_every=90000")
    limits = ("cluster.time=3", "cluster.signal_before_s=20", "cluster.options={nodelist:node1}")
    launcher.sweep(sweep_dir, *endless, *limits)
    limited = Limited(sweep_dir)
    limited.start()
    yield limited
    limited.wake()
