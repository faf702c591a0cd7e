"""`orbit completion`: what a shell offers behind what was typed.

Protects that every program, group, file and key can be reached by the tab key, that nothing is
offered which the program would refuse as unknown, and that bash really puts it on the line.
"""

import shutil
import subprocess
import sys

import pytest

from orbit.completion import SCHEMAS, SCRIPTS, completions
from orbit.core.config.compose import group_options
from orbit.core.config.schema import dotted_keys
from orbit.program import PROGRAMS
from pipeline.training.settings import TrainConfig


def reached(program: str, start: str = "") -> set[str]:
    """All keys that can be typed with nothing but what is offered."""
    found: set[str] = set()
    for word in completions(f"{program} {start}"):
        assert word.startswith(start)
        assert len(word) > len(start), "an offer that adds nothing would go on for ever"
        found |= reached(program, word) if word.endswith(".") else {word}
    return found


def test_every_key_of_training_is_reached() -> None:
    keys = {word.removesuffix("=") for word in reached("train")}
    leaves = set(dotted_keys(TrainConfig))
    parents = {key.rpartition(".")[0] for key in leaves}
    assert leaves - parents <= keys
    assert keys <= leaves | {"experiment", "control"}


def test_words_and_values() -> None:
    assert completions("tr") == ["train"]
    assert set(completions("")) == set(PROGRAMS)
    assert completions("  train  opt") == ["optimizer."]  # after `orbit` and several spaces
    assert completions("train opt") == ["optimizer."]
    assert completions("train data=x sched") == ["schedule."]
    assert completions("train experiment=rotated_d") == ["experiment=rotated_digits"]
    found = completions("prepare dataset=")
    assert found == [f"dataset={name}" for name in group_options("dataset")]
    assert completions("train pairs=o") == ["pairs=online"]
    assert completions("train deterministic=") == ["deterministic=true", "deterministic=false"]
    assert completions("train run_dir=") == []  # the shell knows paths
    assert completions("nothing ab") == []
    assert completions("launch-evaluate fol") == ["follow="]
    assert {"sweep=", "cluster=", "dry_run=", "epochs="} <= set(completions("sweep "))


@pytest.mark.parametrize("program", SCHEMAS)
def test_every_program_with_keys_offers_some(program: str) -> None:
    assert len(completions(f"{program} ")) > 3


def test_no_torch_is_imported() -> None:
    """A tab must not take seconds."""
    code = (
        "import sys; from orbit.completion import SCHEMAS, completions;"
        " [completions(f'{name} o') for name in SCHEMAS]; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("orbit tr", ["train"]),
        ("orbit train experiment=rotated_d", ["rotated_digits"]),
        ("orbit train optimizer.learning_r", ["optimizer.learning_rate="]),
    ],
)
def test_bash_puts_it_on_the_line(line: str, expected: list[str]) -> None:
    """After a `=` bash has a word of its own, and only what follows is put there."""
    stand_in = f'orbit() {{ "{sys.executable}" -m orbit "$@"; }}\n'
    asked = f"COMP_LINE='{line}' COMP_POINT={len(line)}\n_orbit 2>/dev/null\n"
    script = f'{SCRIPTS["bash"]}{stand_in}{asked}printf "%s\\n" "${{COMPREPLY[@]}}"\n'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected
