"""Telling faults of the cluster, which a new start may cure, from mistakes and bugs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from pipeline.config.program import (
    EXIT_CLUSTER_FAULT,
    EXIT_STOPPED,
    EXIT_USER_ERROR,
    ExitWithCode,
)
from pipeline.files.hiccups import FILE_SYSTEM_HICCUPS
from pipeline.files.waiting import StoppedWaiting

EXIT_INTERRUPTED = 130
LOST_CONNECTION = (
    "connection closed by peer",
    "connection reset by peer",
    "broken pipe",
    "connection refused",
    "gloo/transport",
    "socket timeout",
    "nccl error",
    "uncorrectable ecc",
    "worker of the loader was lost",
)


class ClusterFaultError(Exception):
    """Something outside this program went wrong: a peer, a node, the network, a file system."""


@contextmanager
def cluster_faults_end_the_program() -> Iterator[None]:
    """Turn a fault of the cluster into one line and its own exit code."""
    try:
        yield
    except Exception as error:
        if not is_cluster_fault(error):
            raise
        line = " ".join(str(error).split())[:300]
        raise ExitWithCode(f"fault of the cluster: {line}", EXIT_CLUSTER_FAULT) from error


def exit_code_of(error: BaseException) -> int:
    """The code with which a program ends that ends by this error."""
    if isinstance(error, ExitWithCode):
        return error.code
    if isinstance(error, StoppedWaiting):
        return EXIT_STOPPED
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return EXIT_CLUSTER_FAULT if is_cluster_fault(error) else EXIT_USER_ERROR


def is_cluster_fault(error: BaseException) -> bool:
    """Whether running again, elsewhere or later, may help."""
    if isinstance(error, ClusterFaultError | dist.DistNetworkError | dist.DistStoreError):
        return True
    if isinstance(error, OSError):
        return error.errno in FILE_SYSTEM_HICCUPS
    if isinstance(error, dist.DistBackendError | torch.AcceleratorError | RuntimeError):
        text = str(error).lower()
        return any(pattern in text for pattern in LOST_CONNECTION)
    return False
