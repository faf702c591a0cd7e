"""The names that configurations may use: built-in ones, and those of plug-ins."""

from typing import Any

from data_prep.settings.sources import SourceConfig
from data_prep.settings.worlds import WorldConfig
from orbit.core import plugins
from orbit.core.config.schema import names_of
from orbit.core.groups.words import FAMILIES
from pipeline.loggers import TENSORBOARD, TRACKERS
from pipeline.methods.table import TaskConfig
from pipeline.models.settings import LatentActionSettings, NetworkConfig


def list_everything() -> list[dict[str, Any]]:
    """A row for each name: kind, name, package, and the fault if it cannot be loaded."""
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
    return {
        "methods": names_of(TaskConfig),
        "worlds": names_of(WorldConfig),
        "sources": [name for name in names_of(SourceConfig) if name != "none"],
        "groups": sorted(FAMILIES),
        "networks": names_of(NetworkConfig),
        "actions": names_of(LatentActionSettings),
        "loggers": [TENSORBOARD, *TRACKERS],
    }
