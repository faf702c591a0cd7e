"""Commands of the documents: finding them, and carrying them out in this process on little data.

A comment before a block of `sh` says what the tests do with it:

    <!-- run -->                       carry it out
    <!-- run: cluster=inline -->        with this word in place of the block's own
    <!-- run: num_samples= -->          without this one of the words that make it small
    <!-- run: 600 -> 40 -->             with this text in place of that
    <!-- not run: reason -->            leave it

Blocks of `python` are carried out where they are marked; those of a page share their names.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers.programs import REPOSITORY, call

MARK = re.compile(r"^<!-- (run|not run)(?:: (.*?))? -->$")
HERE_DOCUMENT = re.compile(r"^python - <<'(\w+)'\n(.*?)^\1$", re.DOTALL | re.MULTILINE)
PLACEHOLDERS = {
    "DIR": "mnist",
    "PICTURES": "pictures",
    "DATA": "data/mine",
    "SWEEP": "sweeps/page",
    "SWEEP/runs/*": "sweeps/page/runs/*",
    "NAME": "inline",
}
SMALL_RUN = {
    "epochs": "1",
    "global_batch": "4",
    "task.model.width": "8",
    "compile": "false",
    "collapse.action": "warn",
}
SMALL = {
    "data_prep/prepare.py": {"num_samples": "12", "num_workers": "1"},
    "pipeline/train.py": SMALL_RUN,
    "pipeline/evaluate.py": {"analysis_records": "16"},
    "pipeline/classify.py": {
        "features": "[pooled_z]",
        "labels": "[upright]",
        "fractions": "[1.0]",
        "classifiers": "[linear]",
        "seeds": "[0]",
    },
    "launch/sweep.py": {**SMALL_RUN, "sweep.seeds": "[0]"},
    "launch/evaluate.py": {"analyses": "false"},
    "launch/prepare.py": {"num_samples": "12", "num_workers": "1"},
}
"""Words that make a command small, in place of its own."""


@dataclass(frozen=True)
class Block:
    """A fenced block: language, text, the line it begins at, and what its mark says."""

    page: Path
    line: int
    language: str
    text: str
    is_marked: bool
    is_run: bool
    how: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


def pages() -> list[Path]:
    """Every Markdown file that people read, the tutorial first: others use what it makes."""
    found = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    for folder in ("slurm", "docs"):
        found += sorted((REPOSITORY / folder).rglob("*.md"))
    return sorted(found, key=lambda page: page.name != "tutorial.md")


def blocks_of(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    number, mark = 0, None
    while number < len(lines):
        line = lines[number]
        if line.startswith("```"):
            end = next(n for n in range(number + 1, len(lines)) if lines[n].startswith("```"))
            text = "\n".join(lines[number + 1 : end]) + "\n"
            is_run = mark is not None and mark[1] == "run"
            how = (mark[2] or "") if mark is not None else ""
            yield Block(page, number + 1, line[3:].strip(), text, mark is not None, is_run, how)
            number, mark = end + 1, None
            continue
        mark = MARK.match(line) if line.strip() else mark
        number += 1


def carry_out(block: Block, names: dict[str, object]) -> None:
    """Run a block in the present folder; AssertionError naming the command that fails."""
    text, words = block.text, {}
    for change in filter(None, block.how.split(", ")):
        old, arrow, new = change.partition(" -> ")
        if arrow:
            text = text.replace(old, new)
        else:
            key, _, value = change.partition("=")
            words[key] = value
    if block.language == "python":
        exec(compile(text, block.place, "exec"), names)
        return
    for code in HERE_DOCUMENT.finditer(text):
        exec(compile(code[2], block.place, "exec"), {})
    for line in HERE_DOCUMENT.sub("", text).replace("\\\n", " ").splitlines():
        command = shlex.split(line, comments=True)
        if command:
            _run(command, words, block.place)


def _run(command: list[str], words: dict[str, str], place: str) -> None:
    assert command[0] == "python", f"{place}: cannot run {command[0]!r} here: mark it as not run"
    program, *given = command[1:]
    outcome = call(program, *small_words(program, given, words))
    assert outcome.code == 0, f"{place}: {' '.join(command)}\n{outcome.out}\n{outcome.err}"


def small_words(program: str, given: list[str], instead: dict[str, str]) -> list[str]:
    """The words of a command, placeholders filled in, with those that make it small."""
    small = dict(SMALL.get(program, {}))
    if "debug=overfit" in given:
        small["debug.num_steps"] = "20"
    if "task.model.name=residual" in given:
        small["task.model.latent_channels"] = "8"
    if any(word.startswith("dataset=pairs_table") for word in given):
        small["num_samples"] = ""
    small |= instead
    filled = []
    for word in given:
        key, separator, value = word.partition("=")
        if not separator:
            filled.append(PLACEHOLDERS.get(word, word))
        elif key not in small:
            filled.append(f"{key}={PLACEHOLDERS.get(value, value)}")
    return [*filled, *(f"{key}={value}" for key, value in small.items() if value)]
