"""Choosing the pictures and frame sets of evaluations in run directories."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from launch.reports.html.gathering import RunRecord
from orbit.core.files.listing import list_folder
from orbit.core.pictures import FRAMES_FILE, FrameSet, read_frame_set

MAX_BYTES = 10 * 2**20
"""The most bytes that are copied of all runs together, the best runs first."""

MEANINGS = {
    "orbits": ("Orbits", "Sources, model outputs and truths under group elements, in rows."),
    "latent_maps": (
        "Latent maps",
        "Input, magnitudes of latent parts, output, truth and error of records with different"
        " group elements; all latent maps share one colour scale.",
    ),
    "errors": ("Error maps", "Mean absolute error of each pixel, by group element."),
    "mask": ("Mask over training", "Share of variant channels and how often entries flipped."),
    "swap": (
        "Swapped latent parts",
        "Pairs of inputs, the decoded mixture of their latents, and its truth.",
    ),
    "surface": ("Surfaces", "Sources, outputs and targets of volumes as solid bodies."),
    "rollouts": ("Rollouts", "Predicted and true observations, step by step."),
    "decoded_orbit": (
        "Decoded orbits",
        "Latents of test states, moved by each group element and decoded, below the frames of the"
        " moved states.",
    ),
    "decoded": ("Decoded latents", "Images decoded from latents, next to the true ones."),
    "traversal": (
        "Traversals",
        "An object that rotates about one axis after another, and its latents.",
    ),
    "latent_grid": ("Latent grid", "Positions of the world's states in the latent space."),
    "irreps": (
        "Irreducible parts",
        "Latents of test states and their rotated copies, split into irreducible parts of the group"
        " and coloured by the angle of the state.",
    ),
    "first_layer": ("First layer", "Weights of the first layer next to their circulant part."),
}
"""Titles and alternative texts by file name; other files show their names."""


@dataclass(frozen=True)
class Picture:
    """A PNG file. `href` is its path in the report."""

    name: str
    title: str
    description: str
    file: Path
    href: str


@dataclass(frozen=True)
class Frames:
    """A set of frames to slide through. `hrefs` are the paths of its files in the report."""

    name: str
    frames: FrameSet
    folder: Path
    hrefs: tuple[str, ...]


@dataclass(frozen=True)
class Gallery:
    """The pictures of one run."""

    record: RunRecord
    pictures: tuple[Picture, ...]
    frames: tuple[Frames, ...]

    @property
    def num_bytes(self) -> int:
        """Size of its files."""
        files = [picture.file for picture in self.pictures]
        files += [one.folder / file for one in self.frames for file in one.frames.files]
        return sum(file.stat().st_size for file in files)


TRAINING = "training"
"""The folder of what validation records looked like while a run was trained."""


def find_gallery(record: RunRecord, with_frames: bool) -> Gallery:
    """The pictures of a run; unreadable files are left out.

    Without `with_frames`, the only frame set is that of training.
    """
    folder = PurePosixPath("pictures") / f"run-{record.number:04d}"
    files = [record.path / "orbits.png", *list_folder(record.path / "pictures", "*.png")]
    pictures = [
        Picture(file.stem, *_meaning(file.stem), file, str(folder / file.name))
        for file in files
        if file.is_file() and file.stat().st_size and not file.name.startswith(".")
    ]
    order = list(MEANINGS)
    pictures.sort(key=lambda one: order.index(one.name) if one.name in order else len(order))
    frames = []
    for inner in list_folder(record.path / "pictures"):
        is_wanted = (with_frames or inner.name == TRAINING) and (inner / FRAMES_FILE).is_file()
        found = read_frame_set(inner) if is_wanted else None
        if found is not None:
            hrefs = tuple(str(folder / inner.name / name) for name in found.files)
            frames.append(Frames(inner.name, found, inner, hrefs))
    return Gallery(record, tuple(pictures), tuple(frames))


def choose_galleries(
    records: Sequence[RunRecord], max_bytes: int = MAX_BYTES
) -> tuple[list[Gallery], int]:
    """Galleries of runs in this order, until they are too large.

    Frame sets are those of training, and all of the first run on each dataset. Also returns how
    many further runs have pictures.
    """
    chosen: list[Gallery] = []
    with_frames: set[str] = set()
    num_bytes = num_left_out = 0
    for record in records:
        dataset = str(record.run.dataset or record.run.config.get("data"))
        gallery = find_gallery(record, with_frames=dataset not in with_frames)
        if not gallery.pictures and not gallery.frames:
            continue
        num_bytes += gallery.num_bytes
        if num_bytes > max_bytes and chosen:
            num_left_out += 1
            continue
        chosen.append(gallery)
        has_others = any(one.name != TRAINING for one in gallery.frames)
        with_frames |= {dataset} if has_others else set()
    return chosen, num_left_out


def copy_gallery(gallery: Gallery, out: Path) -> None:
    """Copy the files of a gallery to their paths below `out`."""
    pairs = [(picture.file, picture.href) for picture in gallery.pictures]
    for one in gallery.frames:
        files = (one.folder / file for file in one.frames.files)
        pairs += zip(files, one.hrefs, strict=True)
    for file, href in pairs:
        place = out / href
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)


def gallery_context(gallery: Gallery) -> dict[str, Any]:
    """Frames and pictures of a gallery as templates take them."""
    return {
        "frames": [frames_context(one) for one in gallery.frames],
        "pictures": [picture_context(picture) for picture in gallery.pictures],
    }


def frames_context(one: Frames) -> dict[str, Any]:
    """A set of frames, with the size of what a file shows in pixels."""
    height, width = one.frames.cell
    return {
        "frames": one.frames,
        "hrefs": one.hrefs,
        "json": frames_json(one),
        "width": one.frames.num_columns * (width + 1) - 1,
        "height": len(one.frames.rows) * (height + 1) - 1,
    }


def picture_context(picture: Picture) -> dict[str, Any]:
    """A picture, with its size in pixels."""
    from PIL import Image

    with Image.open(picture.file) as image:
        width, height = image.size
    return {
        "title": picture.title,
        "description": picture.description,
        "href": picture.href,
        "width": width,
        "height": height,
    }


def frames_json(frames: Frames) -> str:
    """The data that the page needs for the slider."""
    content: dict[str, Any] = {
        "files": frames.hrefs,
        "labels": frames.frames.labels,
        "slices": frames.frames.num_slices,
    }
    return json.dumps(content)


def _meaning(name: str) -> tuple[str, str]:
    return MEANINGS.get(name) or (name.replace("_", " ").capitalize(), f"Picture {name}.png")
