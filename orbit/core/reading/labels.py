"""Labels as users write them in a column: integers, or names to be numbered."""

import re
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np

from orbit.core.user_text import parse_integer

INT64 = np.iinfo(np.int64)
MISSING = frozenset(
    ("", "nan", "NaN", "NAN", "-nan", "-NaN", "NaT", "NA", "<NA>", "N/A", "n/a", "#N/A", "None")
).union(("null", "NULL"))
"""What programs write where there is no value."""
WHOLE = re.compile(r"(-?[0-9]+)\.0*")


def number_labels(
    texts: Sequence[str], place: Callable[[int], str]
) -> tuple[np.ndarray, list[str]]:
    """Labels (n,) int64 and the names that they number.

    Where all texts are integers, or all are integers written as whole floats (`2.0`), they
    stay as they are, without names; other texts are numbered in sorted order.
    `place` says where a row stands. Raises ValueError as `check_words`, and naming the row
    of an integer outside int64.
    """
    check_words(texts, place, "label")
    numbers = [_whole_number(text) for text in texts]
    found = [number for number in numbers if number is not None]
    if len(found) < len(numbers):
        names, labels = np.unique(np.array(texts), return_inverse=True)
        return labels.astype(np.int64), [str(name) for name in names]
    for row, number in enumerate(found):
        if not INT64.min <= number <= INT64.max:
            raise ValueError(f"{place(row)}: label {number} does not fit into 64 bits")
    return np.array(found, np.int64), []


def check_words(texts: Sequence[str], place: Callable[[int], str], what: str) -> None:
    """Refuse what is missing, and one word in two spellings, in a column of `what`.

    Missing is what is empty or stands for it, such as `nan`, `NA` and `None`. Two spellings
    are `2` and `2.0`, or two texts of other letters that look alike. Raises ValueError
    naming the row.
    """
    first_row: dict[object, int] = {}
    for row, text in enumerate(texts):
        if text.strip() in MISSING:
            written = f" ({text.strip()} stands for a missing value)" if text.strip() else ""
            raise ValueError(f"{place(row)} has no {what}{written}")
        number = _whole_number(text)
        key = unicodedata.normalize("NFC", text) if number is None else number
        other = first_row.setdefault(key, row)
        if texts[other] != text:
            raise ValueError(
                f"{place(row)}: {what} {text!r} is the {what} {texts[other]!r} of {place(other)}"
                " in another spelling: write it in one way"
            )


def _whole_number(text: str) -> int | None:
    """The integer that a text writes, plainly or as a whole float."""
    match = WHOLE.fullmatch(text)
    return parse_integer("0" if match and match[1] == "-0" else match[1] if match else text)
