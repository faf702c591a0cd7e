"""Plug-ins: methods, worlds, sources, groups, networks, actions and loggers of other packages.

An installed package names what it offers in its metadata, by entry points such as

    [project.entry-points."orbit.sources"]
    arrays = "mylab.arrays:SOURCE"

A configuration or a manifest holds the name alone. It is looked up among the built-in parts and
then here, and only that entry point is loaded: those who install packages decide what can run,
never a file. `orbit.configs` names a package that holds YAML files.
"""

import dataclasses
import functools
import importlib.metadata
import importlib.util
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from orbit.core.files.atomic import parse_json

KindName = Literal["methods", "worlds", "sources", "groups", "networks", "actions", "loggers"]
KINDS: tuple[KindName, ...] = typing.get_args(KindName)
WITHOUT_SETTINGS = ("groups", "loggers")
CONFIGS = "configs"
"""The entry points that name packages of YAML files."""
SINGULAR: Mapping[str, str] = {kind: kind.removesuffix("s") for kind in (*KINDS, CONFIGS)}


@dataclass(frozen=True)
class Kind:
    """A named source, world, group, network, latent action or logger.

    `config` is a frozen dataclass whose field `name` is `Literal[name]`; for groups and loggers,
    which have no settings, it is None. `orbit.api` lists what `make` takes and returns.
    """

    name: str
    config: type | None
    make: Callable[..., Any]


class Open(NamedTuple):
    """Marks, in `Annotated`, a union of settings to which entry points of a kind may add."""

    kind: KindName


class Origin(NamedTuple):
    """The distribution that a plug-in comes from."""

    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


class Plugin(NamedTuple):
    """An installed entry point that is not loaded yet."""

    kind: str
    name: str
    value: str
    origin: Origin
    load: Callable[[], Any]

    @property
    def package(self) -> str:
        """The name under which its package is imported."""
        return package_of(self.value)


def package_of(value: str) -> str:
    """The package in the value of an entry point, such as `mylab.arrays:SOURCE`."""
    return value.partition(":")[0].partition(".")[0]


_LOADED: dict[type, Plugin] = {}
"""Classes of settings, and the plug-ins from which they come."""


@functools.cache
def entry_points() -> Mapping[str, tuple[importlib.metadata.EntryPoint, ...]]:
    """The entry points of each kind and of `configs`.

    Finding them reads the metadata of every installed package, so it is done once in a process.
    """
    found = importlib.metadata.entry_points()
    return {kind: tuple(found.select(group=f"orbit.{kind}")) for kind in (*KINDS, CONFIGS)}


@functools.cache
def editable_packages() -> frozenset[str]:
    """The packages of entry points that are installed as links to their sources."""
    found = set()
    for point in (point for points in entry_points().values() for point in points):
        try:
            text = point.dist.read_text("direct_url.json") if point.dist is not None else None
            url = parse_json(text or "{}")
        except ValueError:
            continue
        if url.get("dir_info", {}).get("editable") is True:
            found.add(package_of(point.value))
    return frozenset(found)


@functools.cache
def installed(kind: str) -> Mapping[str, Plugin]:
    """The entry points of a kind by name; ValueError for two of the same name."""
    found: dict[str, Plugin] = {}
    for point in entry_points()[kind]:
        origin = Origin("unknown", "0")
        if point.dist is not None:
            origin = Origin(point.dist.name, point.dist.version)
        plugin = Plugin(kind, point.name, point.value, origin, point.load)
        before = found.get(point.name)
        if before is not None and (before.origin, before.value) != (origin, point.value):
            raise ValueError(
                f"two packages offer the {SINGULAR[kind]} {point.name!r}:"
                f" {before.origin} and {origin}; uninstall one of them"
            )
        found[point.name] = plugin
    return found


@functools.cache
def load(kind: str, name: str) -> Any:
    """The object of an entry point, None if no installed package offers it.

    Raises a one-line ValueError if it cannot be imported or is not of its kind.
    """
    plugin = installed(kind).get(name)
    if plugin is None:
        return None
    where = f"the {SINGULAR[kind]} {name!r} of {plugin.origin}"
    try:
        value = plugin.load()
    except Exception as error:  # any error of another package's module while it is imported
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{where} cannot be loaded: {type(error).__name__}: {reason}") from error
    if getattr(value, "name", None) != name or not callable(getattr(value, "make", None)):
        raise ValueError(f"{where} is not a Kind or Method named {name!r}: see {plugin.value}")
    config: Any = getattr(value, "config", None)
    if (config is None) != (kind in WITHOUT_SETTINGS) or (
        config is not None and not dataclasses.is_dataclass(config)
    ):
        none = f"None: {kind} have no settings"
        wanted = none if kind in WITHOUT_SETTINGS else "a frozen dataclass"
        raise ValueError(f"{where}: its config has to be {wanted}")
    if isinstance(config, type):
        stated = typing.get_type_hints(config).get("name")
        if stated != Literal[name]:
            raise ValueError(f"{where}: its config has to have name: Literal[{name!r}]")
        _LOADED[config] = plugin
    return value


def by_name(*kinds: Kind) -> Mapping[str, Kind]:
    """Kinds by their names."""
    return {kind.name: kind for kind in kinds}


def kind_of(kind: KindName, own: Mapping[str, Any], config: Any) -> Any:
    """The `Kind` or `Method` that these settings are of: one of Orbit's `own`, or a package's.

    None where nobody offers one of that name with such settings.
    """
    found = own.get(config.name) or load(kind, config.name)
    return found if found is not None and isinstance(config, found.config) else None


def config_of(kind: str, name: str) -> type | None:
    """The dataclass of a plug-in's settings, None if there is no such plug-in."""
    value = load(kind, name)
    config: type | None = None if value is None else value.config
    return config


def origin_of(kind: str, name: str) -> Origin:
    """The distribution that an installed plug-in comes from."""
    return installed(kind)[name].origin


def used_by(settings: Any) -> dict[str, str]:
    """The plug-ins among nested settings: 'sources/arrays' -> 'mylab 0.1'.

    `settings` is a dataclass, searched for nested settings whose class belongs to a plug-in.
    """
    found: dict[str, str] = {}
    for value in _dataclasses_in(settings):
        if type(value) in _LOADED:
            plugin = _LOADED[type(value)]
            found[f"{plugin.kind}/{plugin.name}"] = str(plugin.origin)
    return dict(sorted(found.items()))


def recorded(named: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Those of these kinds and names that packages offer, each as `kind/NAME: PACKAGE VERSION`."""
    return tuple(
        f"{kind}/{name}: {origin_of(kind, name)}" for kind, name in named if name in installed(kind)
    )


def require(recorded: object) -> None:
    """Raise ValueError with what to install if a record names plug-ins that are missing.

    `recorded` are texts such as `methods/NAME: PACKAGE VERSION`; other texts are ignored.
    """
    for text in recorded if isinstance(recorded, list | tuple) else ():
        match = re.fullmatch(r"(\w+)/(\S+): (\S+) (\S+)", str(text))
        if match is None:
            continue
        kind, name, distribution, version = match.groups()
        if kind in KINDS and name not in installed(kind):
            raise ValueError(
                f"the {SINGULAR[kind]} {name!r} came from {distribution} {version}, which is not"
                f" installed: pip install {distribution}=={version}"
            )


def differing_versions(recorded: Iterable[str]) -> list[str]:
    """A line for each plug-in of a record whose installed version differs from the recorded one."""
    found = []
    for text in recorded:
        what, _, before = text.partition(": ")
        kind, _, name = what.partition("/")
        plugin = installed(kind).get(name) if kind in KINDS else None
        if plugin is not None and str(plugin.origin) != before:
            found.append(
                f"the {SINGULAR[kind]} {name!r} came from {before}, here is {plugin.origin}"
            )
    return found


def config_folders() -> dict[str, Path]:
    """Folders of YAML files of installed packages, by the names of the entry points.

    Raises ValueError for a package that is missing or is not a folder of files.
    """
    found: dict[str, Path] = {}
    for plugin in installed(CONFIGS).values():
        package, *inside = plugin.value.split(".")
        spec = importlib.util.find_spec(package)  # this imports nothing
        places = list(spec.submodule_search_locations or ()) if spec is not None else []
        folder = next(
            (Path(place, *inside) for place in places if Path(place, *inside).is_dir()), None
        )
        if folder is None:
            raise ValueError(f"{plugin.value}, the configs of {plugin.origin}, is not a folder")
        found[plugin.name] = folder
    return found


def forget() -> None:
    """Read the installed entry points again: for tests that install something."""
    entry_points.cache_clear()
    editable_packages.cache_clear()
    installed.cache_clear()
    load.cache_clear()
    _LOADED.clear()


def _dataclasses_in(value: Any) -> Iterator[Any]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield value
        for field in dataclasses.fields(value):
            yield from _dataclasses_in(getattr(value, field.name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _dataclasses_in(item)
