"""The start of the command `orbit`: outside all packages, to detect another package `orbit`.

`python -m orbit_command` is the same program.
"""

import importlib.util
import os
import sys


def main() -> None:
    """Start `orbit.program`; one line and exit code 1 if Python would import another `orbit`."""
    own = os.path.join(os.path.dirname(os.path.realpath(__file__)), "orbit")
    spec = importlib.util.find_spec("orbit")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    found = folders[0] if folders else spec.origin if spec is not None else None
    if found is not None and os.path.realpath(found) != own:
        sys.stderr.write(
            f"orbit: {found} is found instead of Orbit's own package 'orbit' in {own}: rename it,"
            " take its folder out of PYTHONPATH, or start from another folder\n"
        )
        sys.exit(1)

    from orbit.program import main as start

    start()


if __name__ == "__main__":
    main()
