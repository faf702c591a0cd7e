"""Labels as users write them in a column: integers, or names to be numbered."""

from collections.abc import Callable, Sequence

import numpy as np

INT64 = np.iinfo(np.int64)


def number_labels(
    texts: Sequence[str], place: Callable[[int], str]
) -> tuple[np.ndarray, list[str]]:
    """Labels (n,) int64 and the names that they number.

    Integers stay as they are, without names; other texts are numbered in sorted order.
    `place` says where a row stands. Raises ValueError naming the row of an empty label,
    or of an integer outside int64.
    """
    for row, text in enumerate(texts):
        if not text.strip():
            raise ValueError(f"{place(row)} has no label")
    try:
        numbers = [int(text) for text in texts]
    except ValueError:
        names, labels = np.unique(np.array(texts), return_inverse=True)
        return labels.astype(np.int64), [str(name) for name in names]
    for row, number in enumerate(numbers):
        if not INT64.min <= number <= INT64.max:
            raise ValueError(f"{place(row)}: label {number} does not fit into 64 bits")
    return np.array(numbers, np.int64), []
