"""Whether 16-bit arithmetic is worth asking for on a device."""

import torch

WITHOUT = frozenset({"DEFAULT", "NO AVX", "AVX2"})
"""CPU capabilities that have no 16-bit products: every number is converted back and forth."""


def has_bf16(device_type: str) -> bool:
    """Whether products in bf16 are computed as such; on a CPU they need AVX-512.

    Without it a matrix product took 59 times, a convolution 8 times as long as in float32.
    """
    return device_type != "cpu" or torch.backends.cpu.get_cpu_capability() not in WITHOUT


def complaint(precision: str, device_type: str) -> str | None:
    """What to say of a precision that is slower than float32 here; None if there is nothing."""
    if precision not in ("bf16", "fp16") or has_bf16(device_type):
        return None
    capability = torch.backends.cpu.get_cpu_capability()
    return (
        f"precision={precision} is much slower than fp32 on this CPU ({capability}):"
        " its arithmetic needs AVX-512"
    )
