"""print_config=true: the composed configuration, and where each value came from.

Protects that what is printed is the configuration itself, that a file which is named for a value
holds that value, and that what nobody set is said to be the default of its class.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from helpers.programs import REPOSITORY, call
from hypothesis import given
from hypothesis import strategies as st

from orbit.core.config.origins import annotated
from orbit.core.config.yaml_files import read_yaml

LINE = re.compile(r"^( *)([\w.]+):(?: (.*?))? *(?:  # (.*))?$")
WORDS = ("data=d", "run_dir=r")


def printed(program: str, *words: str) -> tuple[str, dict[str, tuple[object, str]]]:
    """The text, and value and origin of each dotted key."""
    outcome = call(program, *words, "print_config=true")
    assert (outcome.code, outcome.err) == (0, "")
    found: dict[str, tuple[object, str]] = {}
    above: list[str] = []
    for line in outcome.out.splitlines():
        match = LINE.match(line)
        if match is None:
            assert line.startswith("# command line: ")
            continue
        indent, key, value, origin = match.groups()
        above = [*above[: len(indent) // 2], key]
        if origin is not None:
            found[".".join(above)] = (yaml.safe_load(value), origin)
    return outcome.out, found


def at(values: object, key: str) -> object:
    for part in key.split("."):
        assert isinstance(values, dict)
        values = values[part]
    return values


@pytest.mark.parametrize(
    "words",
    [
        ("experiment=rotated_digits",),
        ("experiment=rotated_mnist", "control=half_mask", "debug=fast"),
        ("experiment=shapes_2d_small", "task.model.kind=none", "task.model.latent_size=8"),
        ("experiment=decoder/maps", "task.run=x"),
    ],
)
def test_a_file_that_is_named_holds_the_value(words: tuple[str, ...], tmp_path: Path) -> None:
    text, found = printed("pipeline/train.py", *words, *WORDS, "optimizer.learning_rate=0.25")
    assert found["optimizer.learning_rate"] == (0.25, "command line")
    assert found["run_dir"] == ("r", "command line")
    assert found["optimizer.clip_norm"] == (None, "default of OptimizerConfig")
    files = [(key, value, origin) for key, (value, origin) in found.items() if "/" in origin]
    assert len(files) > 5
    for key, value, origin in files:
        content = yaml.safe_load((REPOSITORY / origin).read_text())
        own = key.removeprefix("task.") if origin.startswith("configs/task/") else key
        held = at(content, own)
        if isinstance(held, str) and held.startswith("${by_kind:"):
            held = yaml.safe_load(held[len("${by_kind:") : -1])[found["task.model.kind"][0]]
        # YAML 1.1 takes 1.0e-3 for a number and 1e-3 for a text.
        assert str(held).lower() == str(value).lower(), (key, origin)
    # What was printed is a configuration: it gives itself.
    (tmp_path / "printed.yaml").write_text(text)
    _, same = printed("pipeline/train.py", f"config={tmp_path / 'printed.yaml'}", "seed=3")
    assert {key: value for key, (value, _) in same.items()} == {
        **{key: value for key, (value, _) in found.items()},
        "seed": 3,
    }
    assert same["seed"][1] == "command line"
    assert same["epochs"][1].endswith("printed.yaml")


def test_the_later_file_is_named(tmp_path: Path) -> None:
    """`learned_mask` and `half_mask` both set the mask; the experiment comes after the task."""
    _, found = printed("pipeline/train.py", "control=half_mask", *WORDS)
    assert found["task.mask.name"] == ("fixed", "configs/control/half_mask.yaml")
    assert found["global_batch"][1] == "configs/train.yaml"


def test_other_programs_print_theirs_and_make_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, found = printed("data_prep/prepare.py", "dataset=planes", "source=generated", "out=o")
    assert found["out"] == ("o", "command line")
    assert found["source.name"][1].startswith("configs/source/planes/")
    _, found = printed("pipeline/evaluate.py", "run_dir=r", "split=val")
    assert found["split"] == ("val", "command line")
    words = ("experiment=rotated_digits", "data=d", "sweep_dir=s", "sweep=width")
    _, found = printed("launch/sweep.py", *words)
    assert found["sweep.search.grid.task.model.width"][1] == "configs/sweep/width.yaml"
    assert not any(tmp_path.iterdir())


@dataclass(frozen=True)
class Inner:
    text: str
    several: tuple[str | float | bool | None, ...]
    mapping: dict[str, str]


@dataclass(frozen=True)
class Outer:
    inner: Inner


@given(text=st.text(max_size=20), num=st.integers(1, 40), number=st.floats(-1e300, 1e300))
def test_any_value_is_read_back_from_its_line(text: str, num: int, number: float) -> None:
    """Also long texts with spaces, line breaks and letters beyond 16 bits."""
    long = " ".join([text] * num)
    several = (long, None, True, number)
    printed = annotated(Outer(Inner(long, several, {"key": text})), {}, ())
    assert read_yaml(printed) == {
        "inner": {"text": long, "several": list(several), "mapping": {"key": text}}
    }
    assert "# default of Inner" in printed
    assert "default of dict" not in printed
