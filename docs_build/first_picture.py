"""The first picture of the README, from the digits in examples/runs: source, model, truth.

    python -m docs_build.first_picture

Writes docs/images/first.png. The digits are from the test split of the run's dataset, which is
prepared again in a temporary folder from the images in scikit-learn.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch

from orbit.api import load_run, read_element
from orbit.core.pictures import save_figure
from orbit.core.store.reader import PairStore
from pipeline.measuring import new_figure, show

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs/images/first.png"
NUM_DIGITS = 4
ELEMENTS = ("90", "180", "270")


def test_digits(folder: Path) -> np.ndarray:
    """One image of each digit from 2 on, of the test split, (NUM_DIGITS, 1, 16, 16) uint8."""
    from data_prep.prepare import main

    main(["dataset=rotated_digits", f"out={folder}"])
    reader = PairStore(folder).split("test")
    records = reader.read(np.arange(0, reader.num_records, reader.records_per_source or 1))
    places = [int(np.flatnonzero(records.label == digit)[0]) for digit in range(2, 2 + NUM_DIGITS)]
    return records.source[places]


def draw(images: np.ndarray) -> None:
    """Draw a column for each digit: the source, then the model's output and the truth for each
    rotation."""
    run = load_run(ROOT / "examples/runs/digits")
    rows = [("source", images[:, 0] / 255)]
    for name in ELEMENTS:
        g = read_element(run.group, name).expand(len(images))
        truth = run.group.act_on_image(torch.from_numpy(images), g).numpy()
        rows.append((f"model, turned by {name}°", run.transform(images, name)[:, 0].numpy()))
        rows.append(("truth", truth[:, 0] / 255))
    # Transposed for a page: one row for each digit.
    figure, axes = new_figure(len(images), len(rows), (1.25 * len(rows), 1.3 * len(images)), "")
    for column, (name, pictures) in enumerate(rows):
        axes[0][column].set_title(name.replace(", ", "\n"), fontsize=10)
        for line, picture in enumerate(pictures):
            show(axes[line][column], picture)
    save_figure(figure, OUT)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        draw(test_digits(Path(folder) / "digits"))
