"""The common part of all command-line programs: --help, --version, errors without tracebacks."""

import errno
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import NoReturn

from orbit import __version__
from orbit.core.config.compose import group_options
from orbit.core.config.roots import HOME, take_configs
from orbit.core.files.waiting import StoppedWaiting
from orbit.core.printing import rank_of_environment, say, steady_streams, world_size_of_environment
from orbit.core.signals import EndedBySignal, ending_cleanly

EXIT_FINISHED = 0
EXIT_USER_ERROR = 1
EXIT_STOPPED = 75
EXIT_NON_FINITE = 76
EXIT_COLLAPSED = 77
EXIT_CLUSTER_FAULT = 78

SHOW_TRACEBACK = "ORBIT_TRACEBACK"
COMMAND = "orbit"
"""The program that starts all others by their names; see `orbit/program.py`."""


class ExitWithCode(Exception):
    """End the program with one line on standard error and a documented exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def run_program(
    main: Callable[[list[str]], int | None],
    description: str,
    groups: Sequence[str] = (),
    program: str | None = None,
    arguments: Sequence[str] | None = None,
    wording: Callable[[str], str] = str,
) -> NoReturn:
    """Run `main(arguments)` as a command-line program and exit.

    Mistakes of the user (ValueError and file errors) become one line and exit code 1; a bug keeps
    its traceback. `ORBIT_TRACEBACK=1` shows every traceback. `program` and `arguments` default to
    those of the command line; `wording` changes help and errors for programs that are not started
    by their paths.
    """
    steady_streams()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    program = os.path.basename(sys.argv[0]) if program is None else program

    refuse_strangers(program)

    def complain(message: str) -> None:
        _complain(program, wording(message))

    if "--version" in arguments:
        say(f"orbit {__version__}")
        sys.exit(EXIT_FINISHED)
    try:
        if "--help" in arguments or "-h" in arguments:
            say(wording(_help_text(description, groups, arguments)))
            sys.exit(EXIT_FINISHED)
        with ending_cleanly():
            code = main(arguments)
        sys.exit(code or EXIT_FINISHED)
    except ExitWithCode as error:
        complain(str(error))
        sys.exit(error.code)
    except StoppedWaiting as error:
        complain(f"{error}; the same command continues")
        sys.exit(EXIT_STOPPED)
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get(SHOW_TRACEBACK):
            traceback.print_exc()
        complain(describe_error(error))
        sys.exit(EXIT_USER_ERROR)
    except KeyboardInterrupt:
        complain("interrupted")
        sys.exit(130)
    except EndedBySignal as error:
        complain(str(error))
        sys.exit(128 + error.number)


def refuse_strangers(program: str) -> None:
    """End with one line if another package would be imported instead of one of Orbit's."""
    try:
        check_neighbours()
    except ValueError as error:
        _complain(program, str(error))
        sys.exit(EXIT_USER_ERROR)


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def describe_error(error: BaseException) -> str:
    """One line for an error; operating-system errors name the file and the reason."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        is_target = error.errno in NO_ROOM and error.filename2  # of a copy
        return f"{error.filename2 if is_target else error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def take_switch(arguments: list[str], name: str) -> bool:
    """Remove `name=true` or `name=false` from the arguments and return the value, false by
    default."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key == name:
            arguments.remove(argument)
            if value not in ("true", "false"):
                raise ValueError(f"{name}={value} is not allowed; allowed: true, false")
            return value == "true"
    return False


def take_value(arguments: list[str], name: str, default: str) -> str:
    """Remove `name=VALUE` from the arguments and return VALUE unchanged."""
    for argument in arguments:
        key, separator, value = argument.partition("=")
        if key == name and separator:
            arguments.remove(argument)
            return value
    return default


def take_directory(arguments: list[str], what: str) -> str:
    """The only remaining argument, a directory; ValueError if there is none, or more than one."""
    if len(arguments) != 1:
        extra = f"; cannot use {arguments[1]!r}" if len(arguments) > 1 else ""
        raise ValueError(f"give one directory, the {what}{extra} (see --help)")
    return arguments[0]


def take_run_directory(arguments: Sequence[str]) -> list[str]:
    """The overrides; a first argument without a key is a run directory and becomes run_dir=DIR."""
    if not arguments or any(argument.startswith("run_dir=") for argument in arguments):
        return list(arguments)
    if "=" in arguments[0] and not os.path.isdir(arguments[0]):
        return list(arguments)
    return [f"run_dir={arguments[0]}", *arguments[1:]]


def _complain(program: str, message: str) -> None:
    """Print this rank's own failure, with its rank; an empty message belongs to another rank."""
    if message:
        say(f"{program}: {_rank_words()}{message}", error=True)


def command_for(name: str) -> str:
    """The command for another program of the same folder, in the form in which this one was
    started."""
    if os.path.basename(sys.argv[0]) == COMMAND:
        return f"{COMMAND} {name}"
    return f"python {Path(sys.argv[0]).parent / name}.py"


def _rank_words() -> str:
    try:
        is_one_of_several = world_size_of_environment() > 1
        return f"rank {rank_of_environment()}: " if is_one_of_several else ""
    except ValueError:
        return ""


def _help_text(description: str, groups: Sequence[str], arguments: Sequence[str]) -> str:
    lines = [description.strip()]
    if groups:
        take_configs(arguments)
        lines += ["", "Groups (configs=DIR adds a folder of files of your own):"]
        lines += [f"  {group}={'|'.join(group_options(group))}" for group in groups]
    lines += ["", "Arguments have the form key=value; also --help and --version."]
    return "\n".join(lines)


NEIGHBOURS = ("pipeline", "data_prep", "launch")


def check_neighbours() -> None:
    """Raise ValueError naming the path of a package that would be imported instead of Orbit's own.

    Nothing is imported. A package that is missing altogether is left to the import, which says so.
    """
    for name in NEIGHBOURS:
        own = HOME / name
        found = _place(_find(name))
        if found is not None and os.path.realpath(found) != str(own):
            raise ValueError(
                f"{found} is found instead of Orbit's own package {name!r} in {own}: rename it,"
                " take its folder out of PYTHONPATH, or start from another folder"
            )


def _find(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None


def _place(spec: ModuleSpec | None) -> str | None:
    """The folder of a package or the file of a module; None if it does not exist."""
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    return folders[0] if folders else spec.origin
