"""Where the command `orbit` begins: outside all packages, to say when `orbit` is another's.

`python -m orbit_command` is the same program.
"""

import importlib.util
import os
import sys


def main() -> None:
    """Start `orbit.program`; one line, and exit code 1, where Python would take another `orbit`."""
    own = os.path.join(os.path.dirname(os.path.realpath(__file__)), "orbit")
    spec = importlib.util.find_spec("orbit")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    found = folders[0] if folders else spec.origin if spec is not None else None
    if found is not None and os.path.realpath(found) != own:
        sys.stderr.write(
            f"orbit: {found} is found in place of Orbit's own package 'orbit' in {own}: rename it,"
            " take its folder out of PYTHONPATH, or start from another folder\n"
        )
        sys.exit(1)

    from orbit.program import main as start

    start()


if __name__ == "__main__":
    main()
