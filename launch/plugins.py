"""List what can be named in configurations, and which package each thing comes from.

Examples:
  python launch/plugins.py
  python launch/plugins.py json=true

Methods, worlds, sources, groups, networks and latent actions: Orbit's own, then those of
packages that are installed (their entry points `orbit.methods` and so on), with the reason
where one cannot be loaded. The exit code is 1 where one cannot.
Keys: json.
"""

import json
from typing import Any

from orbit.core.config.program import run_program, take_switch


def main(words: list[str]) -> int:
    from orbit.core.printing import say

    as_json = take_switch(words, "json")
    if words:
        raise ValueError(f"cannot use {words[0]!r}; keys: json")
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


def list_everything() -> list[dict[str, Any]]:
    """A row for each thing: kind, name, where it is from, and what is wrong with it, or None."""
    from orbit.core import plugins

    rows = []
    own = built_in()
    for kind in (*plugins.KINDS, plugins.CONFIGS):
        for name in own.get(kind, ()):
            rows.append({"kind": kind, "name": name, "from": "orbit", "fault": None})
        try:
            added = plugins.installed(kind)
        except ValueError as error:
            rows.append({"kind": kind, "name": "?", "from": "?", "fault": str(error)})
            continue
        for name, plugin in sorted(added.items()):
            fault = None
            if name in own.get(kind, ()):
                fault = f"orbit has a {plugins.SINGULAR[kind]} of this name, which is used"
            else:
                try:
                    plugins.config_folders() if kind == plugins.CONFIGS else plugins.load(
                        kind, name
                    )
                except ValueError as error:
                    fault = str(error)
            where = f"{plugin.origin} ({plugin.value})"
            rows.append({"kind": kind, "name": name, "from": where, "fault": fault})
    return rows


def built_in() -> dict[str, list[str]]:
    """The names that come with Orbit, by kind."""
    from data_prep.settings.sources import SourceConfig
    from data_prep.settings.worlds import WorldConfig
    from orbit.core.config.schema import names_of
    from orbit.core.groups.words import FAMILIES
    from pipeline.methods.settings import TaskConfig
    from pipeline.models.settings import LatentActionSettings, NetworkConfig

    return {
        "methods": names_of(TaskConfig),
        "worlds": names_of(WorldConfig),
        "sources": [name for name in names_of(SourceConfig) if name != "none"],
        "groups": sorted(FAMILIES),
        "networks": names_of(NetworkConfig),
        "actions": names_of(LatentActionSettings),
    }


if __name__ == "__main__":
    run_program(main, __doc__)
