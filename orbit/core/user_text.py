"""Numbers and names in text that a user wrote. Only plain decimal notation counts as a number.

Python's own `int` and `float` take underscores, spaces, digits of other scripts, leading zeros,
`nan` and `infinity`; different texts would silently become the same number.
"""

import math
import os
import re

PLAIN_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
PLAIN_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
MAX_DIGITS = 4000


def parse_integer(text: str) -> int | None:
    """The integer that a text gives in its only plain notation, None for anything else.

    '7' and '-12' are integers; '007', '+7', '1_1', '1.0', ' 7' and '-0' are not.
    """
    if len(text) > MAX_DIGITS or PLAIN_INTEGER.fullmatch(text) is None:
        return None
    return int(text)


def parse_number(text: str) -> float | None:
    """The finite number that a text gives in decimal notation, None for anything else.

    '0.5', '.5', '3', '1e-4' are numbers; '1_0', 'nan', 'inf', '0x1', '1e999' are not.
    """
    if len(text) > MAX_DIGITS or PLAIN_NUMBER.fullmatch(text) is None:
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def read_period(text: str, default_s: float) -> float:
    """The seconds of `every=`, the default without any; ValueError unless they are positive."""
    every_s = parse_number(text) if text else default_s
    if every_s is None or every_s <= 0:
        raise ValueError(f"every={text} must be a positive number of seconds")
    return every_s


def check_utf8(key: str, text: str) -> None:
    """ValueError naming the key for a text that is not UTF-8, which no record can hold."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        shown = os.fsencode(text).decode("utf-8", "backslashreplace")
        raise ValueError(f"{key}={shown} is not UTF-8: choose another name") from None


def counted(num: int, noun: str) -> str:
    """A number of things whose plural ends in s: `1 run`, `2 runs`, `1,000 runs`."""
    return f"{num:,} {noun}" if num == 1 else f"{num:,} {noun}s"
