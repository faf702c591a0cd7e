"""Evaluations for TensorBoard: their metrics and pictures, beside what training logged.

They lie in a folder of their own: TensorBoard leaves a file of events for good once a newer
one lies beside it, and training may go on.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

FOLDER = "evaluations"


def write_events(run_dir: Path, step: int, split: str, metrics: Mapping[str, float]) -> None:
    """Put metrics and the run's pictures into `run_dir/evaluations`, replacing those of the
    same step and split."""
    from PIL import Image
    from torch.utils.tensorboard import SummaryWriter

    suffix = f".step_{step:08d}-{split}"
    folder = run_dir / FOLDER
    for file in folder.glob(f"events.out.tfevents.*{suffix}"):
        file.unlink()
    writer = SummaryWriter(str(folder), filename_suffix=suffix)  # type: ignore[no-untyped-call]
    for name, value in metrics.items():
        writer.add_scalar(f"{split}/{name}", value, step)  # type: ignore[no-untyped-call]
    for file in [run_dir / "orbits.png", *sorted((run_dir / "pictures").glob("*.png"))]:
        if file.is_file():
            with Image.open(file) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            writer.add_image(file.stem, pixels, step, dataformats="HWC")  # type: ignore[no-untyped-call]
    writer.close()  # type: ignore[no-untyped-call]
