"""A folder of a user's own pictures."""

from pathlib import Path

import numpy as np

from data_prep.settings.sources import ImageFolderSourceConfig
from orbit.core.files.atomic import sha256_of_file
from orbit.core.plugins import Kind
from orbit.core.reading.files import list_files
from orbit.core.reading.pictures import SUFFIXES, Header, Limit, read_header, read_picture


class ImageFolderSource:
    """Picture files below `config.root`, part `all`; folders are classes.

    Without folders every label is 0. Images are square: unchanged, or cut and resized to
    `config.size`. `orbit.core.reading.pictures` decodes them.

    Raises FileNotFoundError if the folder is missing, ValueError naming the first file
    that is not a picture or, without `size`, not as large as the first one and square.
    """

    is_binary = False

    def __init__(self, config: ImageFolderSourceConfig) -> None:
        if config.root is None:
            raise ValueError("give source.root=DIR, the folder of pictures")
        self._root = Path(config.root)
        self._files, self._labels, names = list_files(self._root, SUFFIXES)
        self._limit = Limit(config.max_megapixels)
        headers = [read_header(file, self._limit) for file in self._files]
        if config.size is None:
            _check_sizes(self._files, headers)
        self._size = config.size
        side = config.size or headers[0].width
        self._is_grey = config.colour == "grey" or (
            config.colour == "auto" and all(header.is_grey for header in headers)
        )
        self.image_shape = (1 if self._is_grey else 3, side, side)
        self.num_images = {"all": len(self._files)}
        listed = ", ".join(f"{label} {name}" for label, name in enumerate(names))
        self.label_meaning = f"folder: {listed}" if names else "always 0: there are no folders"
        self._checksums: dict[str, str] | None = None

    def subjects(self, part: str) -> np.ndarray | None:
        return None

    def names(self, part: str) -> list[str]:
        return [path.relative_to(self._root).as_posix() for path in self._files]

    def read(self, part: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images = np.empty((len(indices), *self.image_shape), np.uint8)
        for row, index in enumerate(indices):
            path = self._files[index]
            image = read_picture(path, self._is_grey, self._size, limit=self._limit)
            if image.shape != self.image_shape:
                raise ValueError(f"{path} is not of the size that its header states")
            images[row] = image
        return images, self._labels[indices]

    def checksums(self) -> dict[str, str]:
        """sha256 of every file, by its path below the root."""
        if self._checksums is None:
            self._checksums = {
                file.relative_to(self._root).as_posix(): sha256_of_file(file)
                for file in self._files
            }
        return dict(self._checksums)


def _check_sizes(files: list[Path], headers: list[Header]) -> None:
    first = headers[0]
    for file, header in zip(files, headers, strict=True):
        if header.width != header.height:
            raise ValueError(
                f"{file} is not square ({header.width}x{header.height}):"
                " source.size=N cuts and resizes"
            )
        if header.width != first.width:
            raise ValueError(
                f"{file} is {header.width}x{header.height} where {files[0].name} is"
                f" {first.width}x{first.height}: source.size=N cuts and resizes"
            )


SOURCE = Kind("images", ImageFolderSourceConfig, lambda config, *_: ImageFolderSource(config))
