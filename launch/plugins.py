"""List the methods, worlds, sources, groups, networks and actions, and their packages.

Examples:
  python launch/plugins.py
  python launch/plugins.py json=true

Methods, worlds, sources, groups, networks and latent actions: Orbit's own, then those of installed
packages (their entry points `orbit.methods` and so on), with the reason if one cannot be loaded.
The exit code is 1 if one cannot be loaded. Keys: json.
"""

import json

from orbit.core.config.program import run_program, take_switch


def main(arguments: list[str]) -> int:
    from launch.reports.kinds_table import list_everything
    from orbit.core.printing import say

    as_json = take_switch(arguments, "json")
    if arguments:
        raise ValueError(f"cannot use {arguments[0]!r}; keys: json")
    rows = list_everything()
    if as_json:
        say(json.dumps(rows, indent=1))
    else:
        width = max(len(row["name"]) for row in rows)
        kind = ""
        for row in rows:
            if row["kind"] != kind:
                kind = row["kind"]
                say(f"{kind}:")
            fault = f": {row['fault']}" if row["fault"] else ""
            say(f"  {row['name']:{width}}  {row['from']}{fault}")
    return 1 if any(row["fault"] for row in rows) else 0


if __name__ == "__main__":
    run_program(main, __doc__)
