"""The folders of YAML files: Orbit's own (in its package or a checkout), and the user's.

A user names folders by `configs=DIR` or by ORBIT_CONFIGS; installed packages name theirs by the
entry point `orbit.configs`. Their files may build on ours and are chosen like ours; no file
replaces another.
"""

import functools
import os
from collections.abc import Sequence
from pathlib import Path

from orbit.core import plugins
from orbit.core.files.listing import find_files, list_folder
from orbit.core.user_text import check_utf8

PACKAGE = Path(__file__).resolve().parents[2]
HOME = PACKAGE.parent
"""What holds `orbit` and the other packages: a checkout, a copy of the code, site-packages."""


def shipped(name: str, in_checkout: str) -> Path:
    """The folder that a wheel holds as `orbit/<name>`, or the same folder of a checkout."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else HOME / in_checkout


CONFIG_ROOT = shipped("configs", "configs")
WORD, VARIABLE = "configs", "ORBIT_CONFIGS"
NAMED = f"named by {WORD}= or {VARIABLE}"
SUFFIX = ".yaml"


def is_installed(home: Path = HOME) -> bool:
    """Whether the packages in `home` came from a wheel; everything else there then belongs to
    others."""
    return (home / "orbit" / "configs").is_dir()


def config_roots() -> tuple[Path, ...]:
    """All folders of configurations: Orbit's own, those of packages, the user's.

    Raises a one-line FileNotFoundError or ValueError if a folder does not exist or has nothing to
    choose, or if two folders hold a file of the same name.
    """
    roots = (CONFIG_ROOT, *plugins.config_folders().values(), *own_roots())
    _check(roots)
    return roots


def own_roots() -> tuple[Path, ...]:
    """The folders that the user has named, absolute, each once."""
    texts = os.environ.get(VARIABLE, "").split(os.pathsep)
    real = {os.path.realpath(text): os.path.abspath(text) for text in texts if text}
    return tuple(Path(text) for place, text in real.items() if place != str(CONFIG_ROOT))


def take_configs(overrides: Sequence[str]) -> list[str]:
    """The overrides without `configs=DIR`.

    The folders that it names belong to `config_roots` from now on, in this process and its child
    processes. Raises FileNotFoundError or ValueError for one that cannot be used.
    """
    prefix = f"{WORD}="
    folders = [
        override.removeprefix(prefix) for override in overrides if override.startswith(prefix)
    ]
    for folder in folders:
        if not folder:
            raise ValueError(f"{WORD}= is empty: give a path")
        check_utf8(WORD, os.path.abspath(folder))
        for text in (os.pathsep, "${"):
            if text in os.path.abspath(folder):
                raise ValueError(f"{WORD}={folder}: no path with {text!r} can be used here")
    if folders:
        named = dict.fromkeys([*map(str, own_roots()), *map(os.path.abspath, folders)])
        os.environ[VARIABLE] = os.pathsep.join(named)
        config_roots()
    return [override for override in overrides if not override.startswith(prefix)]


def group_files(group: str) -> dict[str, Path]:
    """The file of each choice of a group, by name in order; empty if there is no such group."""
    found = {}
    for root in config_roots():
        folder = root / group
        for file in find_files(folder, (SUFFIX,), WORD).files if folder.is_dir() else ():
            found[file.relative_to(folder).with_suffix("").as_posix()] = file
    return dict(sorted(found.items()))


def is_group(key: str) -> bool:
    """Whether a key chooses a file, because Orbit's own configurations have a folder of that
    name."""
    return "." not in key and (CONFIG_ROOT / key).is_dir()


@functools.lru_cache(maxsize=16)
def _check(roots: tuple[Path, ...]) -> None:
    """Check the folders other than Orbit's own, once for each list of folders."""
    if len(roots) == 1:
        return
    groups = [path.name for path in list_folder(CONFIG_ROOT) if path.is_dir()]
    owners: dict[str, Path] = {}
    for root in roots:
        if not root.is_dir():
            raise FileNotFoundError(f"{root}, {NAMED}, is not a folder")
        files = [
            file
            for group in groups
            if (root / group).is_dir()
            for file in find_files(root / group, (SUFFIX, ".yml"), WORD).files
        ]
        if not files:
            raise ValueError(
                f"{root}, {NAMED}, holds no configuration: files lie in folders"
                f" named {', '.join(groups)}, as in experiment/NAME{SUFFIX}"
            )
        for file in [*files, *list_folder(root, f"*{SUFFIX}")]:
            if file.suffix != SUFFIX:
                raise ValueError(f"{file} is ignored: configurations end in {SUFFIX}")
            before = owners.setdefault(file.relative_to(root).as_posix(), file)
            if before != file:
                raise ValueError(
                    f"{file} has the name of {before}: rename it, because a configuration is never"
                    " replaced silently"
                )
