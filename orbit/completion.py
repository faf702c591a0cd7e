"""Complete programs, groups, keys and values in a shell: bash or zsh.

Examples:
  source <(orbit completion bash)
  source <(orbit completion zsh)

Put the line into ~/.bashrc or ~/.zshrc. The shell then calls `orbit completion words LINE` for the
possible ends of a command line.
"""

# Nothing here imports torch, because a shell calls this at every press of the tab key.
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from orbit.core.config.compose import group_options
from orbit.core.config.roots import is_group
from orbit.core.config.schema import has_keys, typed_keys, words_of
from orbit.core.printing import say
from orbit.program import PROGRAMS

SCHEMAS = {
    "prepare": ("data_prep.settings:PrepareConfig",),
    "train": ("pipeline.training.settings:TrainConfig",),
    "evaluate": ("pipeline.settings:EvaluateConfig",),
    "export": ("pipeline.settings:ExportConfig",),
    "apply": ("pipeline.settings:ApplyConfig",),
    "classify": ("pipeline.settings:ClassifyConfig",),
    "sweep": ("launch.sweeps.request:SweepRequest", "pipeline.training.settings:TrainConfig"),
    "launch-evaluate": ("launch.evaluation.evaluator:EvaluateRequest",),
    "launch-prepare": (
        "launch.preparation.directory:PreparationRequest",
        "data_prep.settings:PrepareConfig",
    ),
}
"""The classes whose keys a program takes."""

BASH = """\
# Completion of `orbit` for bash: put this line into ~/.bashrc
#   source <(orbit completion bash)
_orbit() {
    local line="${COMP_LINE:0:$COMP_POINT}" word
    word="${line##* }"
    COMPREPLY=()
    while IFS= read -r found; do
        # bash takes = and : for ends of words: what lies before the last of them stands already.
        local before="${word%"${word##*[=:]}"}"
        COMPREPLY+=("${found#"$before"}")
    done < <(orbit completion words "${line#* }" 2>/dev/null)
    [[ ${#COMPREPLY[@]} -gt 0 && ${COMPREPLY[0]} == *[=./] ]] && compopt -o nospace
    [[ ${#COMPREPLY[@]} -eq 0 ]] && compopt -o default
}
complete -F _orbit orbit
"""
ZSH = """\
# Completion of `orbit` for zsh: put this line into ~/.zshrc, after compinit
#   source <(orbit completion zsh)
_orbit() {
    local -a found
    found=("${(@f)$(orbit completion words "${(j: :)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n ${found[1]} ]]; then compadd -Q -S '' -- $found; else compset -P "*="; _files; fi
}
compdef _orbit orbit
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH}


def main(words: list[str]) -> None:
    if len(words) == 2 and words[0] == "words":
        found = completions(words[1])
        if found:
            say("\n".join(found))
        return
    if len(words) != 1 or words[0] not in SCRIPTS:
        raise ValueError(f"say for which shell: {' or '.join(SCRIPTS)}")
    sys.stdout.write(SCRIPTS[words[0]])


def completions(line: str) -> list[str]:
    """Possible words to replace the last word of a line, which may be empty.

    `line` are the words after `orbit`. A key ends in `=`, a prefix of keys in `.`. Empty where the
    shell completes better, such as for paths.
    """
    words = line.lstrip().split(" ")
    if len(words) == 1:
        return [program for program in PROGRAMS if program.startswith(words[0])]
    program, word = words[0], words[-1]
    if program == "completion":
        return [shell for shell in SCRIPTS if shell.startswith(word)]
    key, separator, value = word.partition("=")
    if separator:
        return [f"{key}={one}" for one in _values(program, key) if one.startswith(value)]
    found = [f"{group}=" for group in _groups(program) if group.startswith(word)]
    for schema in _schemas(program):
        for key, annotation in typed_keys(schema):
            if key.startswith(word) and (f"{key}=" not in found):
                found.append(_next_part(key, len(word), has_keys(annotation)))
    return list(dict.fromkeys(found))


def _next_part(key: str, start: int, has_more: bool) -> str:
    """A key up to the first dot behind `start`: one level at a time."""
    dot = key.find(".", start)
    return key[: dot + 1] if dot >= 0 else f"{key}{'.' if has_more else '='}"


def _groups(program: str) -> tuple[str, ...]:
    groups: tuple[str, ...] = getattr(_module(program), "GROUPS", ())
    return groups


def _module(program: str) -> Any:
    return import_module(PROGRAMS[program]) if program in PROGRAMS else None


def _values(program: str, key: str) -> list[str]:
    if is_group(key) and key in _groups(program):
        return group_options(key)
    found: dict[str, None] = {}
    for schema in _schemas(program):
        for other, annotation in typed_keys(schema):
            if other == key and not has_keys(annotation):
                found |= dict.fromkeys(words_of(annotation))
    return list(found)


def _schemas(program: str) -> Iterator[Any]:
    for place in SCHEMAS.get(program, ()):
        module, _, name = place.partition(":")
        yield getattr(import_module(module), name)
