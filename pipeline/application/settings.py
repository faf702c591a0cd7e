"""Configuration of `pipeline/apply.py`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orbit.core.config.limits import Count, Percentiles, limited

Resize = Literal["as_prepared", "none", "crop", "pad"]
"""How a file comes to the model's size."""


@dataclass(frozen=True)
@limited
class ApplyConfig:
    """`images` is a file or a folder of them; `element` says what acts, in the group's words.

    `run_dir` is the trained run, `checkpoint` best, last or a step, `data` where its dataset
    lies, if it has moved. Results go to `out`, RUN_DIR/applied if null; `overwrite` lets them
    replace files there, and `sheet` adds a contact sheet. `element` is one, a list [90,180],
    `all` or `examples`.

    `resize=none` takes files of the model's own size only; `crop` cuts the largest square or
    cube about the centre, `pad` fills up with black to a square or cube, and both then
    resample. `as_prepared` does what the preparation of the dataset did, and so do
    `percentiles` (of grey values of volumes, which become black and white) where null.
    `to_grey` lets coloured pictures become grey for a grey model.

    Pictures larger than `max_megapixels`, in millions of pixels, are refused: decoding takes
    memory. `batch` images go through the model at a time (null goes by their size and the batch
    of training), on `device` and `num_threads` threads.
    """

    run_dir: str
    images: str
    element: str
    checkpoint: str | int = "best"
    data: str | None = None
    out: str | None = None
    resize: Resize = "as_prepared"
    to_grey: bool = False
    percentiles: Percentiles | None = None
    max_megapixels: Count = 90
    sheet: bool = True
    overwrite: bool = False
    batch: Count | None = None
    num_threads: Count = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @property
    def out_dir(self) -> Path:
        """The folder of the results."""
        return Path(self.run_dir) / "applied" if self.out is None else Path(self.out)
