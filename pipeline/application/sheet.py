"""The first files and what became of them, side by side: sheet.png."""

from pathlib import Path

import numpy as np

from pipeline.evaluation.pictures.grid import Row, picture_grid
from pipeline.files.figure_texts import drawable
from pipeline.files.figures import flattened, save_figure

MAX_FILES, MAX_ELEMENTS = 8, 8
MAX_NAME = 14


class Sheet:
    """Collects the first files: a column each, above it the file's name."""

    def __init__(self, elements: list[str]) -> None:
        self._elements = elements[:MAX_ELEMENTS]
        self._names: list[str] = []
        self._columns: list[np.ndarray] = []

    def add(self, name: str, frame: np.ndarray, moved: np.ndarray) -> None:
        """A file's frame (C, ...) and its transforms (num_elements, C, ...), all uint8."""
        if len(self._columns) < MAX_FILES:
            shown = drawable(name)
            self._names.append(shown if len(shown) <= MAX_NAME else f"{shown[: MAX_NAME - 1]}…")
            frames = [frame, *moved[:MAX_ELEMENTS]]
            self._columns.append(np.stack([flattened(each) for each in frames]))

    def write(self, path: Path, title: str) -> None:
        """The sheet as a PNG."""
        pictures = np.stack(self._columns, 1).astype(np.float32) / 255
        rows: list[Row] = [("file", pictures[0], self._names)]
        for name, row in zip(self._elements, pictures[1:], strict=True):
            rows.append((f"g = {name}", row, []))
        save_figure(picture_grid(rows, title), path)
