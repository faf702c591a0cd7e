"""Install the build of DALI that goes with the installed torch, in place of any other.

Examples:
  python pipeline/fit_dali.py
  python pipeline/fit_dali.py dry_run=true

With a torch for CUDA 12 this takes DALI for CUDA 13 away and installs the one for CUDA 12, and the
other way round; where all is well, or torch has no CUDA, it does nothing. Keys: dry_run (only
print the commands).
"""

import shlex
import subprocess
import sys

from orbit.core.config.program import run_program, take_switch
from orbit.core.dali_build import complaint, installed_builds, wanted_build
from orbit.core.printing import say


def commands(cuda: str | None, installed: list[str]) -> list[list[str]]:
    """What pip is told, none where nothing is wrong."""
    wanted = wanted_build(cuda)
    if wanted is None or complaint(cuda, installed) is None:
        return []
    pip = [sys.executable, "-m", "pip"]
    # Taken away first, for it would take the files of the other with it.
    away = [[*pip, "uninstall", "--yes", *installed]] if installed else []
    return [*away, [*pip, "install", "--no-deps", wanted]]


def main(arguments: list[str]) -> int:
    is_dry = take_switch(arguments, "dry_run")
    if arguments:
        raise ValueError(f"cannot use {arguments[0]!r}; keys: dry_run")
    import torch

    cuda, installed = torch.version.cuda, installed_builds()
    steps = commands(cuda, installed)
    if not steps:
        built = f"torch for CUDA {cuda}" if cuda else "torch without CUDA"
        say(f"{built}, {' and '.join(installed) or 'no DALI'}: nothing to do")
    for step in steps:
        say(shlex.join(step))
        if not is_dry and subprocess.run(step, check=False).returncode:
            raise ValueError("pip failed, see above; the same command goes on")
    return 0


if __name__ == "__main__":
    run_program(main, __doc__)
