"""Protects that YAML means what the same words mean on the command line, or is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orbit.core.config.compose import CONFIG_ROOT, compose, parse_value, read_composed
from orbit.core.config.yaml_files import read_yaml, yaml_text

AS_ON_THE_COMMAND_LINE = (
    *("1e-4", "1E3", "1.5e5", ".5", "-.5", "1.", "1_000", "+3", "-0", "0", "0.1", "12"),
    *("true", "False", "null", "2024-01-01", "words", "a-b", "1e", "e5", "1.2.3", "y", "n"),
)
TWO_MEANINGS = (
    *("yes", "No", "ON", "off", "010", "-07", "00", "0x10", "0o7", "0b11"),
    *("4:00:00", "30:00", "1:30.5"),
)


@pytest.mark.parametrize("word", AS_ON_THE_COMMAND_LINE)
def test_a_word_is_what_it_is_on_the_command_line(word: str) -> None:
    found, told = read_yaml(f"key: {word}\n")["key"], parse_value("key", word)
    assert (type(found), found) == (type(told), told)


@pytest.mark.parametrize("word", TWO_MEANINGS)
@pytest.mark.parametrize("text", ["key: {}\n", "a: [1, {}]\n", "{}: 3\n"])
def test_words_with_two_meanings_are_refused_by_name(word: str, text: str) -> None:
    with pytest.raises(ValueError) as error:
        read_yaml("other: 1\n" + text.format(word))
    assert str(error.value).startswith(f"line 2: {word} ")
    assert "\n" not in str(error.value)
    assert read_yaml(text.format(f"'{word}'")) == yaml.safe_load(text.format(f"'{word}'"))


def test_a_key_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="line 3: seed is given twice"):
        read_yaml("seed: 1\nepochs: 2\nseed: 3\n")


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")))
    | st.sampled_from([*AS_ON_THE_COMMAND_LINE, *TWO_MEANINGS, ".inf", "~", "<<", "=", ""])
)  # fmt: skip


@given(st.dictionaries(st.text("abc_", min_size=1), SCALARS | st.lists(SCALARS)))
def test_what_is_written_reads_back(values: dict[str, Any]) -> None:
    """A text that looks like a number stays a text, for us and for readers of YAML 1.1."""
    text = yaml_text(values)
    assert read_yaml(text) == values
    assert yaml.safe_load(text) == values


def test_a_number_in_a_file_is_the_number_of_the_command_line(tmp_path: Path) -> None:
    words = ["experiment=rotated_digits", "data=x", "run_dir=y"]
    values = compose("train", words, frozenset({"data", "run_dir"}))
    file = tmp_path / "mine.yaml"
    file.write_text(yaml_text({**values, "optimizer": "HERE"}).replace(
        "optimizer: HERE", "optimizer: {learning_rate: 1e-4}"))  # fmt: skip
    assert read_composed(file, [], frozenset())["optimizer"] == {"learning_rate": 0.0001}
    file.write_text("optimizer: {learning_rate: 010}\n")
    with pytest.raises(ValueError, match=r"config=.*mine.yaml: line 1: 010 can be read"):
        read_composed(file, [], frozenset())


def test_every_shipped_configuration_means_the_same_to_hydra() -> None:
    from omegaconf import OmegaConf

    files = sorted(CONFIG_ROOT.rglob("*.yaml"))
    assert files
    for file in files:
        ours = read_yaml(file.read_text(encoding="utf-8"))
        assert (ours or {}) == OmegaConf.to_container(OmegaConf.load(file), resolve=False), file
