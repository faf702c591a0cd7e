"""The code of a run: a digest of each package that takes part in training.

These are `orbit` and `pipeline`, the packages of the plug-ins that a run uses, and the packages
that those import from folders that no installer fills (a package on PYTHONPATH, an editable
install). All Python files and compiled modules of a package count, including their comments. A
checkout, a copy of it and an installed wheel of the same code have the same digest. `launch` and
`data_prep` take no part in training. A run's config.yaml holds the values from YAML files, and its
environment.json the versions of libraries.
"""

import ast
import functools
import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orbit.core import plugins
from orbit.core.files.atomic import sha256_of_file
from orbit.core.files.listing import find_files, list_folder

CODE_FILE = "code.json"
"""The file of a run's spans in its directory, see `went_on`."""

OWN = ("orbit", "pipeline")
NOT_OF_RUNS = ("launch", "data_prep")
SUFFIXES = (".py", ".so", ".pyd")
INSTALLERS_FOLDERS = ("site-packages", "dist-packages")


@dataclass(frozen=True)
class Code:
    """sha256 of each package by name; `plugins` as in config.yaml."""

    packages: Mapping[str, str]
    plugins: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """One sha256 for all packages."""
        text = "".join(f"{name} {digest}\n" for name, digest in sorted(self.packages.items()))
        return hashlib.sha256(text.encode()).hexdigest()


def code_of(used: Iterable[str] = ()) -> Code:
    """The code of a run that uses these plug-ins, each as `kind/NAME: PACKAGE VERSION`."""
    used = tuple(used)
    names = [package for package in map(_package_of, used) if package is not None]
    places = {name: place for name in OWN if (place := _place_of(name)) is not None}
    places |= _with_imports(names)
    digests = {name: digest_of(place) for name, place in sorted(places.items())}
    return Code(digests, tuple(dict.fromkeys(used)))


def used_in_training(config: Sequence[str], manifest: Sequence[str]) -> tuple[str, ...]:
    """Of the plug-ins that a configuration and a manifest record those that train.

    A dataset's worlds and sources have done their work; its group acts on.
    """
    groups = [text for text in manifest if text.startswith("groups/")]
    return tuple(dict.fromkeys([*config, *groups]))


# Spans: which code made which part of a run


def went_on(
    before: Sequence[Mapping[str, Any]] | None, step: int, code: Code, git: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """The spans of a run that continues from a checkpoint of `step` with this code.

    A span names a first step, and the code that made the run from there on. `before` are the spans
    of the checkpoint, None for a checkpoint without them.
    """
    git = git or {}
    span = {
        "first_step": step,
        "digest": code.digest,
        "packages": dict(code.packages),
        "plugins": list(code.plugins),
        "commit": git.get("commit"),
        "dirty": git.get("dirty"),
    }
    if step == 0:
        return [span]
    earlier = [dict(each) for each in before or [{"first_step": 0, "digest": None}]]
    return earlier if earlier[-1].get("digest") == code.digest else [*earlier, span]


def measured_by(config: Sequence[str], manifest: Sequence[str]) -> dict[str, Any]:
    """The code of this process, in the form of an evaluation's file."""
    code = code_of(used_in_training(config, manifest))
    return {"digest": code.digest, "packages": dict(code.packages)}


def differing_packages(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Names of the packages that are in both spans, but with different digests."""
    first, second = one.get("packages") or {}, other.get("packages") or {}
    return [name for name in first if name in second and first[name] != second[name]]


# Packages


@functools.cache
def digest_of(place: Path) -> str:
    """sha256 over the names and contents of a package's files, read once in a process."""
    whole = hashlib.sha256()
    for name, file in code_files(place):
        whole.update(os.fsencode(name) + b"\0" + sha256_of_file(file).encode() + b"\n")
    return whole.hexdigest()


def code_files(place: Path) -> list[tuple[str, Path]]:
    """The names and paths of the files of a package, or of a single module, that count, sorted by
    name."""
    if place.is_file():
        return [(place.name, place)]
    files = find_files(place, SUFFIXES, "package").files
    named = [(file.relative_to(place).as_posix(), file) for file in files]
    return sorted(named, key=lambda item: os.fsencode(item[0]))


def packages_to_carry() -> dict[str, Path]:
    """The plug-ins' packages, and the packages that they import, except those that an installer
    copied.

    The keys are the names under which they are imported. They can be edited at any time, so a copy
    of the code must include them. Raises ValueError naming one that cannot be copied.
    """
    offering = [point for points in plugins.entry_points().values() for point in points]
    found = {}
    for name, place in _with_imports(plugins.package_of(point.value) for point in offering).items():
        if not _is_installed(name, place):
            found[place.name if place.is_file() else name] = place
    return found


def _package_of(used: str) -> str | None:
    """The package of a plug-in, None if it is not installed."""
    what = used.partition(": ")[0]
    kind, _, name = what.partition("/")
    plugin = plugins.installed(kind).get(name) if kind in plugins.KINDS else None
    return None if plugin is None else plugin.package


def _with_imports(names: Iterable[str]) -> dict[str, Path]:
    """These packages, and all packages that they import from folders that no installer fills.

    A folder without code is not a package that is imported: results in the working folder may have
    the name of a library that is not installed.
    """
    found: dict[str, Path] = {}
    wanted = [(name, True) for name in dict.fromkeys(names)]
    while wanted:
        name, is_named = wanted.pop()
        if name in found or name in (*OWN, *NOT_OF_RUNS) or name in sys.stdlib_module_names:
            continue
        place = _place_of(name)
        if place is None:
            continue
        if is_named or (not _is_installed(name, place) and code_files(place)):
            found[name] = place
            wanted += [(other, False) for other in _imports_of(place)]
    return found


def _place_of(name: str) -> Path | None:
    """The folder of a package or the file of a module, which is not imported."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # ValueError: the module was loaded without a specification
        return None
    if spec is None:
        return None
    folders = sorted({os.path.realpath(folder) for folder in spec.submodule_search_locations or ()})
    if len(folders) > 1 and spec.origin is None:
        if any(_is_filled_by_installer(Path(folder).parent) for folder in folders):
            return Path(folders[0])
        raise ValueError(
            f"the package {name!r} is in several folders ({', '.join(folders)}), so the code of a"
            " run would be ambiguous; give it an __init__.py, or install it"
        )
    place = folders[0] if folders else spec.origin
    if place is None or spec.origin in ("built-in", "frozen"):
        return None
    if not os.path.exists(place):
        raise ValueError(
            f"the package {name!r} is in an archive, {place}, so the code of a run would be"
            " ambiguous; install it"
        )
    return Path(os.path.realpath(place))


def _is_installed(name: str, place: Path) -> bool:
    """Whether an installer copied a package to where it is."""
    return _is_filled_by_installer(place.parent) and name not in plugins.editable_packages()


@functools.cache
def _is_filled_by_installer(folder: Path) -> bool:
    return folder.name in INSTALLERS_FOLDERS or bool(list_folder(folder, "*.dist-info"))


@functools.cache
def _imports_of(place: Path) -> frozenset[str]:
    """Top-level names that the Python files of a package import, from their source text."""
    found: set[str] = set()
    for name, file in code_files(place):
        if not name.endswith(".py"):
            continue
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.partition(".")[0])
    return frozenset(found)
