"""Distributed training that learns how groups act on images: all programs in one command.

Examples:
  orbit prepare dataset=rotated_digits out=DIR
  orbit train experiment=rotated_digits data=DIR run_dir=DIR
  torchrun --standalone --nproc-per-node=2 -m orbit train \\
      experiment=rotated_digits data=DIR run_dir=DIR
  orbit train --help
"""

import ast
import importlib
import re
import sys
from typing import NoReturn

from orbit.core.config.program import COMMAND, refuse_strangers, run_program
from orbit.core.config.roots import HOME
from orbit.core.config.schema import suggestion
from orbit.core.printing import steady_streams

PROGRAMS = {
    "prepare": "data_prep.prepare",
    "verify": "data_prep.verify",
    "show": "data_prep.show",
    "train": "pipeline.train",
    "evaluate": "pipeline.evaluate",
    "describe": "pipeline.describe",
    "discover": "pipeline.discover",
    "apply": "pipeline.apply",
    "export": "pipeline.export",
    "share": "pipeline.share",
    "classify": "pipeline.classify",
    "fit-dali": "pipeline.fit_dali",
    "sweep": "launch.sweep",
    "status": "launch.status",
    "logs": "launch.logs",
    "cancel": "launch.cancel",
    "collect": "launch.collect",
    "report": "launch.report",
    "reproduce": "launch.reproduce",
    "plugins": "launch.plugins",
    "launch-prepare": "launch.prepare",
    "launch-evaluate": "launch.evaluate",
    "completion": "orbit.completion",
}
"""The name of each program and its module, which is that of the script. Two names exist in two
folders: alone they work on one dataset or run, with `launch-` in front on a cluster."""

_WORDS = {f"{module.replace('.', '/')}.py": word for word, module in PROGRAMS.items()}
_SCRIPT = re.compile(
    r"(?<![\w./-])(python |torchrun [^\n]*)?((?:data_prep|pipeline|launch)/\w+\.py)(?![\w/])"
)


def main() -> NoReturn:
    """Start the program that the first argument names."""
    steady_streams()
    arguments = sys.argv[1:]
    sys.argv[0] = COMMAND
    if not arguments or arguments[0] not in PROGRAMS:
        run_program(_refuse, _overview(), program=COMMAND, arguments=arguments or ["--help"])
    word, *others = arguments
    program = f"{COMMAND} {word}"
    refuse_strangers(program)
    module = importlib.import_module(PROGRAMS[word])
    groups = getattr(module, "GROUPS", ())
    run_program(module.main, module.__doc__ or "", groups, program, others, in_words)


def in_words(text: str) -> str:
    """The same text with `orbit PROGRAM` instead of the paths of scripts."""

    def word(found: re.Match[str]) -> str:
        if found[2] not in _WORDS:
            return found[0]
        start = found[1] or ""
        before = f"{start}-m " if start.startswith("torchrun") else ""
        return f"{before}{COMMAND} {_WORDS[found[2]]}"

    return _SCRIPT.sub(word, text)


def _overview() -> str:
    """The list of all programs with the first lines of their docstrings."""
    width = max(map(len, PROGRAMS))
    lines = [(__doc__ or "").strip(), "", "Programs:"]
    for word, module in PROGRAMS.items():
        file = HOME.joinpath(*module.split(".")).with_suffix(".py")
        about = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        lines.append(f"  {word:{width}}  {about.partition(chr(10))[0]}")
    return "\n".join(lines)


def _refuse(arguments: list[str]) -> None:
    raise ValueError(f"unknown program {arguments[0]!r}{suggestion(arguments[0], list(PROGRAMS))}")
