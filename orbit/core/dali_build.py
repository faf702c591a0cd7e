"""Which build of DALI goes with the installed torch.

DALI's package carries the CUDA version in its name, and two of them share their files: what was
installed last is there, whatever else is listed.
"""

import importlib.metadata
from collections.abc import Iterable

BUILDS = {"12": "nvidia-dali-cuda120", "13": "nvidia-dali-cuda130"}
"""DALI's package by the first number of a CUDA version."""
COMMAND = "orbit fit-dali"


def wanted_build(cuda: str | None) -> str | None:
    """The package for a torch that was built for a CUDA version such as 12.8.

    None for a torch without CUDA, with which any build works. Raises ValueError for a version
    that DALI has no build for.
    """
    if cuda is None:
        return None
    major = cuda.partition(".")[0]
    if major not in BUILDS:
        known = " and ".join(BUILDS)
        raise ValueError(f"torch was built for CUDA {cuda}; DALI has builds for CUDA {known}")
    return BUILDS[major]


def installed_builds() -> list[str]:
    """DALI's packages that are installed."""
    found = []
    for name in BUILDS.values():
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.append(name)
    return found


def complaint(cuda: str | None, installed: Iterable[str]) -> str | None:
    """What is wrong with the builds that are installed, in one line; None if nothing is."""
    wanted, found = wanted_build(cuda), list(installed)
    if wanted is None or found == [wanted]:
        return None
    there = " and ".join(found) or "none"
    return f"torch was built for CUDA {cuda}, which needs {wanted} alone, not {there}: {COMMAND}"


def check_dali() -> None:
    """ValueError with one line where DALI was built for another CUDA than torch."""
    import torch

    line = complaint(torch.version.cuda, installed_builds())
    if line is not None:
        raise ValueError(line)
