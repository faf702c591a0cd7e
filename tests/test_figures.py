"""Protects figures as files: nothing half-written stays, a missing folder is named, and any
name that a user chose can be drawn."""

import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from orbit.core import pictures as figure_texts
from orbit.core.pictures import drawable, save_figure

matplotlib.use("Agg")


def test_a_figure_is_written_alone_and_closed(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    save_figure(plt.figure(), tmp_path / "x.png")
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
    assert not plt.get_fignums()


def test_a_missing_folder_is_named_and_no_file_of_ours(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    (tmp_path / "file").touch()
    for folder in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(FileNotFoundError) as error:
            save_figure(plt.figure(), folder / "x.png")
        assert str(error.value) == f"{folder / 'x.png'}: there is no folder {folder}"
    assert not plt.get_fignums()


NAMES = [
    "a$b$c",
    "$\\frac{",
    "50%_\\alpha$",
    "x^2_{",
    "\t\x1b[0m",
    "\u540d\u524d",
    "\U0001f600",
    "\udce9",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_can_be_drawn(name: str, tmp_path: Path) -> None:
    """In every place that takes a text, without a warning, and as it stands."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(layout="constrained")
    figure.suptitle(name)
    figure.supxlabel(name)
    axis.set_title(name)
    axis.set_ylabel(name)
    axis.set_yticks([0, 1], [name, "b"])
    axis.text(0, 0, name)
    axis.annotate(name, (0.5, 0.5))
    axis.plot([0, 1], [0, 1], label=name)
    axis.legend(title=name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_figure(figure, tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5


def test_categories_on_an_axis_are_names_too(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots()
    axis.bar(["$\\frac{", "b"], [1, 2])
    save_figure(figure, tmp_path / "x.png")


def test_powers_of_ten_stay_powers(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots()
    axis.plot([1, 1e6], [0, 1])
    axis.set_xscale("log")
    labels = axis.get_xticklabels()
    save_figure(figure, tmp_path / "x.png")
    assert all(label.get_parse_math() for label in labels)
    assert not axis.title.get_parse_math()


def test_letters_that_no_font_has_become_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure_texts, "_installed", lambda: ())
    assert drawable("caf\u00e9 \u2192 \u03c1\n2") == "caf\u00e9 \u2192 \u03c1\n2"
    assert drawable("\u540d1") == "\\u540d1"
    assert drawable("\udce9\t") == "\\udce9\\t"


def test_letters_come_from_whichever_font_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here a mathematical sign, which the usual font lacks and one of matplotlib's own has."""
    sign = "\U0001d49e"
    fonts = dict(figure_texts._installed())
    assert ord(sign) in figure_texts._letters(fonts["STIXGeneral"])
    monkeypatch.setattr(
        figure_texts, "_installed", lambda: (("STIXGeneral", fonts["STIXGeneral"]),)
    )
    assert drawable(sign) == sign
    assert drawable(f"{sign}\u540d") == f"{sign}\\u540d"


def test_names_as_long_as_file_systems_allow_are_written(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    path = tmp_path / f"{'n' * 251}.png"
    save_figure(plt.figure(), path)
    assert path.is_file()
