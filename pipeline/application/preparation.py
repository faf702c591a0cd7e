"""How a file becomes a frame such as the model was trained on, from the dataset's manifest."""

from dataclasses import dataclass
from typing import Literal

from data_prep.reading.pictures import Limit
from data_prep.reading.volumes import NanPolicy
from data_prep.store.manifest import FrameSpec, Manifest
from pipeline.application.settings import ApplyConfig
from pipeline.groups import Group

PICTURE_CHANNELS = (1, 3)
HEADS = ("nifti", "dicom")
"""Sources that cut a cube of so many mm."""


@dataclass(frozen=True)
class Preparation:
    """What is done to a file. `side` is the model's, in pixels or voxels.

    `percentiles` None takes uint8 volumes as they are; with `zero_is_background` zeros do
    not count among them, nor does NaN where `nan` takes it for background. `extent_mm` is
    the side of the cube cut out of a volume, None for the volume's own. `to_grey` allows
    coloured pictures. With `margin` everything becomes black that lies further out than the
    inscribed disc or ball less so many pixels. Pictures beyond `limit` are not decoded.
    """

    frames: FrameSpec
    resize: Literal["none", "crop", "pad"]
    to_grey: bool
    percentiles: tuple[float, float] | None
    zero_is_background: bool
    nan: NanPolicy
    extent_mm: float | None
    margin: float | None
    limit: Limit = Limit()

    @property
    def side(self) -> int:
        return self.frames.shape[-1]

    @property
    def is_volume(self) -> bool:
        return len(self.frames.shape) == 4

    @property
    def is_binary(self) -> bool:
        return self.frames.values == "binary"

    def in_words(self) -> str:
        """The policy in one line."""
        lattice = " x ".join(map(str, self.frames.shape[1:]))
        square, disc = ("cube", "ball") if self.is_volume else ("square", "disc")
        size = {
            "none": f"must measure {lattice}",
            "crop": f"are cut to the largest central {square}, then resized to {lattice}",
            "pad": f"are padded with black to a {square}, then resized to {lattice}",
        }[self.resize]
        if self.extent_mm is not None:
            size = (
                f"are cut or padded to a cube of {self.extent_mm:g} mm, then resized to {lattice}"
            )
        parts = [f"files {size}"]
        if self.percentiles is not None:
            low, high = self.percentiles
            parts.append(f"their percentiles {low:g} and {high:g} become black and white")
        if self.margin is not None:
            parts.append(f"what lies outside the inscribed {disc} becomes black")
        return "; ".join(parts)


def make_preparation(config: ApplyConfig, manifest: Manifest, group: Group) -> Preparation:
    """What to do to files, by configuration and, where that leaves it open, as the dataset's.

    Raises ValueError for frames that no file can be, or a setting without effect.
    """
    frames, made = manifest.frames, manifest.generator
    is_volume = len(frames.shape) == 4
    if is_volume and frames.shape[0] != 1:
        raise ValueError(f"this model takes volumes of {frames.shape[0]} channels; files have 1")
    if not is_volume and frames.shape[0] not in PICTURE_CHANNELS:
        raise ValueError(f"this model takes {frames.shape[0]} channels; pictures have 1 or 3")
    if len(set(frames.shape[1:])) > 1 and config.resize in ("crop", "pad"):
        raise ValueError(f"resize={config.resize}: frames of {frames.shape[1:]} are not square")
    if config.to_grey and (is_volume or frames.shape[0] == 3):
        raise ValueError("to_grey=true has no effect: this model does not take grey pictures")
    if config.percentiles is not None and (not is_volume or frames.values == "binary"):
        raise ValueError("percentiles has no effect: it is for volumes of grey values")
    source = made.get("source")
    given = made.get("percentiles") if source in ("nifti", "dicom", "volumes") else None
    percentiles = config.percentiles or (tuple(given) if given is not None else None)
    # What a continuous group turns must not leave its disc: so sources were prepared.
    is_inscribed = not group.is_exact and source != "table" and "scene" not in made
    return Preparation(
        frames,
        _prepared_resize(made) if config.resize == "as_prepared" else config.resize,
        config.to_grey or (source == "images" and made.get("colour") == "grey"),
        None if frames.values == "binary" else percentiles,
        source in ("nifti", "phantom"),
        "background" if made.get("nan") == "background" else "refuse",
        made.get("extent_mm") if config.resize == "as_prepared" and source in HEADS else None,
        group.margin if is_inscribed else None,
        limit=Limit(config.max_megapixels, "max_megapixels"),
    )


def _prepared_resize(made: dict[str, object]) -> Literal["none", "crop", "pad"]:
    if made.get("source") == "images" and made.get("size") is not None:
        return "crop"
    if made.get("source") in HEADS:
        return "pad"
    if made.get("source") == "volumes" and made.get("side") is not None:
        return "pad"
    return "none"
