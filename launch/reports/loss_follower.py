"""The losses of a run that goes on, read line by line as they are logged."""

import re
from pathlib import Path

LOSS = re.compile(rb'"split": "train".*?"loss/total": "?(-?(?:[\d.]+(?:[eE][-+]?\d+)?|inf|nan))')
MAX_VALUES = 512


class LossFollower:
    """`values` are training losses in order; when there are too many, every second is dropped."""

    def __init__(self, log: Path) -> None:
        self.values: list[float] = []
        self._log, self._place, self._stride, self._number = log, 0, 1, 0

    def read(self) -> list[float]:
        """Take in what was logged since the last call; from the start if the log was cut."""
        try:
            with open(self._log, "rb") as file:
                if file.seek(0, 2) < self._place:
                    self.values, self._place, self._stride, self._number = [], 0, 1, 0
                file.seek(self._place)
                new = file.read()
        except OSError:
            return self.values
        whole, separator, _ = new.rpartition(b"\n")
        self._place += len(whole) + len(separator)
        for line in whole.split(b"\n"):
            found = LOSS.search(line)
            if found is not None:
                self._add(float(found.group(1)))
        return self.values

    def _add(self, value: float) -> None:
        if self._number % self._stride == 0:
            self.values.append(value)
        self._number += 1
        if len(self.values) > MAX_VALUES:
            self.values = self.values[::2]
            self._stride *= 2
