"""Evaluations for TensorBoard: their metrics and pictures, beside what training logged.

They lie in a folder of their own: TensorBoard leaves a file of events for good once a newer
one lies beside it, and training may go on.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.files.events import open_events
from pipeline.files.listing import list_folder

FOLDER = "evaluations"


def write_events(run_dir: Path, step: int, split: str, metrics: Mapping[str, float]) -> None:
    """Put metrics and the run's pictures into `run_dir/evaluations`, replacing those of the
    same step and split."""
    from PIL import Image

    suffix = f".step_{step:08d}-{split}"
    folder = run_dir / FOLDER
    for file in list_folder(folder, f"events.out.tfevents.*{suffix}"):
        file.unlink()
    writer = open_events(folder, filename_suffix=suffix)
    for name, value in metrics.items():
        writer.add_scalar(f"{split}/{name}", value, step)
    for file in [run_dir / "orbits.png", *list_folder(run_dir / "pictures", "*.png")]:
        if file.is_file():
            with Image.open(file) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            writer.add_image(file.stem, pixels, step, dataformats="HWC")
    writer.flush()  # Raises what its thread met; `close` alone would not.
    writer.close()
