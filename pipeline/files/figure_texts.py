"""Texts of figures hold names that users chose: they are drawn as they stand, whatever is in them.

A dollar or a backslash means nothing, letters that the plot's font lacks come from another
installed font, and where none has them they become escapes such as \\u4e2d.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

NO_GLYPH_NEEDED = frozenset("\n")
NOT_FOR_TEXT = ("Last Resort", ".LastResort", "cm", "STIXNonUnicode", "STIXSize")
"""Beginnings of the names of fonts that have boxes for everything, or signs in place of letters."""
REGULAR = 400
"""The usual weight of a font."""


def make_plain(figure: Any) -> None:
    """Prepare all texts of a matplotlib figure but the numbers along its axes."""
    from matplotlib.text import Text

    _escape_ticks(figure)
    numbers = {id(text) for text in _numbers(figure)}
    for text in figure.findobj(Text):
        if id(text) in numbers:
            continue
        text.set_parse_math(False)
        content = text.get_text()
        if content.isascii() and content.isprintable():
            continue
        families = _families(text.get_fontfamily(), content)
        text.set_fontfamily(families)
        text.set_text(_escaped(content, families))


def drawable(name: str) -> str:
    """A name as figures will show it in their usual font, to be measured or cut."""
    import matplotlib

    return _escaped(name, _families(matplotlib.rcParams["font.family"], name))


def _numbers(figure: Any) -> Iterable[Any]:
    """Labels of ticks that are made of numbers, powers of ten for example."""
    for axes in figure.get_axes():
        for axis in (axes.xaxis, axes.yaxis):
            yield axis.get_offset_text()
            if not _makes_names(axis.get_major_formatter()):
                yield from axis.get_majorticklabels()
            if not _makes_names(axis.get_minor_formatter()):
                yield from axis.get_minorticklabels()


def _makes_names(formatter: Any) -> bool:
    from matplotlib.category import StrCategoryFormatter
    from matplotlib.ticker import FixedFormatter, FuncFormatter

    return isinstance(formatter, (FixedFormatter, FuncFormatter, StrCategoryFormatter))


def _escape_ticks(figure: Any) -> None:
    """Names at ticks are made again whenever a figure is drawn."""
    from matplotlib.ticker import FuncFormatter

    for axes in figure.get_axes():
        for axis in (axes.xaxis, axes.yaxis):
            formatter = axis.get_major_formatter()
            if _makes_names(formatter):
                axis.set_major_formatter(
                    FuncFormatter(lambda at, place, make=formatter: drawable(make(at, place)))
                )


def _families(families: Iterable[str], content: str) -> list[str]:
    """These font families, and further ones that have what of a text they lack."""
    chosen = list(families)
    missing = _missing(content, chosen)
    for family, path in _installed() if missing else ():
        found = {letter for letter in missing if ord(letter) in _letters(path)}
        if found:
            chosen.append(family)
            missing -= found
        if not missing:
            break
    return chosen


def _escaped(content: str, families: Iterable[str]) -> str:
    missing = _missing(content, families)
    return "".join(
        letter.encode("unicode_escape").decode() if letter in missing else letter
        for letter in content
    )


def _missing(content: str, families: Iterable[str]) -> set[str]:
    letters = set(content) - NO_GLYPH_NEEDED
    for family in families:
        letters = {each for each in letters if ord(each) not in _letters(_path_of(family))}
    return letters


@lru_cache(maxsize=64)
def _path_of(family: str) -> str:
    from matplotlib.font_manager import FontProperties, findfont

    return str(findfont(FontProperties(family=[family])))


@lru_cache(maxsize=1)
def _installed() -> tuple[tuple[str, str], ...]:
    """Families of installed fonts, each with its most usual file."""
    from matplotlib.font_manager import fontManager, weight_dict

    def unlikeness(font: Any) -> tuple[Any, ...]:
        weight = weight_dict.get(font.weight, font.weight)
        return font.style != "normal", abs(int(weight) - REGULAR), font.fname

    usual: dict[str, str] = {}
    for font in sorted(fontManager.ttflist, key=unlikeness):
        if not font.name.startswith(NOT_FOR_TEXT):
            usual.setdefault(font.name, font.fname)
    return tuple(sorted(usual.items()))


@lru_cache(maxsize=4096)
def _letters(path: str) -> frozenset[int]:
    """Code points that a font file draws; none for one that cannot be scaled, as of emoji."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError):
        return frozenset()
