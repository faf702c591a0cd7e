"""Whether 16-bit arithmetic is worth asking for on a device."""

from pathlib import Path

import torch

UNITS = {
    "bf16": frozenset({"avx512_bf16", "amx_bf16", "bf16"}),
    "fp16": frozenset({"avx512_fp16", "amx_fp16", "asimdhp"}),
}
"""Names in /proc/cpuinfo of what computes products in a format: Intel's and AMD's, then ARM's."""
FIRST_GPUS_WITH_BF16 = (8, 0)
"""Compute capability, as torch gives it: Ampere."""


def native_formats(device: torch.device) -> frozenset[str]:
    """Of bf16 and fp16 those whose products a device computes as such.

    A processor without them converts every number back and forth: in bf16, one without AVX-512
    took 59 times as long for a matrix product and 8 times for a convolution as in float32, one
    with AVX-512 but without units for bf16 3 times for a training step.
    """
    if device.type == "cpu":
        return formats_of(read_cpu_flags())
    has_bf16 = torch.cuda.get_device_capability(device) >= FIRST_GPUS_WITH_BF16
    return frozenset({"bf16", "fp16"} if has_bf16 else {"fp16"})


def formats_of(cpu_flags: frozenset[str]) -> frozenset[str]:
    """Of bf16 and fp16 those for which a processor with these flags has units."""
    return frozenset(name for name, units in UNITS.items() if units & cpu_flags)


def read_cpu_flags(file: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """What the first processor is said to have; nothing where that is not said."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(values.split())
    return frozenset()


def complaint(precision: str, device: torch.device) -> str | None:
    """What to say of a precision that is slower than float32 here; None if there is nothing."""
    if precision not in UNITS or precision in native_formats(device):
        return None
    what = "CPU" if device.type == "cpu" else "GPU"
    return f"precision={precision} is slower than fp32 on this {what}, which has no units for it"
