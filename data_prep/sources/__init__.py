"""Where images come from before they are paired."""

from pathlib import Path

from data_prep.settings import MnistSourceConfig, PrepareConfig
from data_prep.sources.interface import ImageSource

__all__ = ["ImageSource", "open_source"]


def open_source(config: PrepareConfig) -> ImageSource:
    """The source that a preparation names; FileNotFoundError or ValueError if it cannot be read."""
    if isinstance(config.source, MnistSourceConfig):
        from data_prep.sources.mnist import MnistSource, download_mnist

        if config.source.root is None:
            raise ValueError("give source.root=DIR, the folder that holds MNIST/raw")
        root = Path(config.source.root)
        if config.source.download:
            download_mnist(root)
        return MnistSource(root)
    from data_prep.sources.digits import DigitsSource

    return DigitsSource()
