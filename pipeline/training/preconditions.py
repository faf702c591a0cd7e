"""What can be found out before the work begins is found out before it begins.

Every rank asks for itself: another node may lack what the first one has.
"""

import os
from collections.abc import Sequence

import torch

from pipeline.data.batches import Batches
from pipeline.data.loader import LoaderConfig, shared_bytes
from pipeline.training.half_precision import complaint
from pipeline.training.settings import NEEDS_A_GPU, TrainConfig
from pipeline.training.trainer import should_compile

SHARED_MEMORY = "/dev/shm"
FIRST_GPUS_WITH_TF32 = (8, 0)
"""Compute capability, as torch gives it: Ampere."""


def check_precision(precision: str, device: torch.device) -> str | None:
    """A warning about a number format that is slow on a device; None if there is none.

    Raises ValueError for one that has no effect there.
    """
    if precision == "tf32":
        if device.type == "cpu":
            raise ValueError("precision=tf32 has no effect on a CPU; allowed: fp32, bf16, fp16")
        if torch.cuda.get_device_capability(device) < FIRST_GPUS_WITH_TF32:
            name = torch.cuda.get_device_name(device)
            raise ValueError(f"precision=tf32 has no effect on {name}; allowed: fp32, fp16")
    return complaint(precision, device)


def check_compiler(config: TrainConfig, device: torch.device) -> None:
    """Compile one line, if the model is to be compiled; ValueError if that fails.

    Also for CUDA graphs on a CPU, where torch would compile without them and not say so.
    """
    if config.compile == "cuda_graphs" and device.type == "cpu":
        raise ValueError(NEEDS_A_GPU)
    if not should_compile(config, device):
        return
    try:
        torch.compile(_one_line)(torch.ones(8, device=device))
    except Exception as error:
        cause = getattr(error, "inner_exception", None) or error
        line = " ".join(str(cause).split("\n\n")[0].split())[:300]
        raise ValueError(
            f"compile={str(config.compile).lower()} cannot work on this machine: {line}."
            " Install what is missing (a C++ compiler, for one), or say compile=false"
        ) from error


def check_shared_memory(config: LoaderConfig, loaded: Sequence[Batches]) -> None:
    """Compare what the workers of these loaders keep in shared memory with what is free there.

    Raises ValueError naming the key to change.
    """
    if config.num_workers == 0:
        return
    needed = sum(shared_bytes(batches, config) for batches in loaded)
    try:
        status = os.statvfs(SHARED_MEMORY)
    except FileNotFoundError:
        raise ValueError(
            f"loader.num_workers={config.num_workers} needs {SHARED_MEMORY}, which is not here:"
            " say loader.num_workers=0"
        ) from None
    free = status.f_bavail * status.f_frsize
    if needed > free:
        raise ValueError(
            f"loader.num_workers={config.num_workers} keeps {_mib(needed)} in {SHARED_MEMORY},"
            f" where {_mib(free)} are free: make it larger (docker run --shm-size=...), or say"
            " loader.num_workers=0 or a smaller loader.prefetch"
        )


def _one_line(values: torch.Tensor) -> torch.Tensor:
    return values.sin() + 1


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.1f} MiB"
