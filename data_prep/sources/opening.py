"""From the configuration to the source. Sources are imported when they are asked for."""

from pathlib import Path

from data_prep.settings import PrepareConfig, SourceConfig
from data_prep.settings.sources import (
    CutOutsSourceConfig,
    DicomSourceConfig,
    DigitsSourceConfig,
    GeneratedPlanesSourceConfig,
    ImageFolderSourceConfig,
    MedmnistSourceConfig,
    MeshesSourceConfig,
    MnistSourceConfig,
    NiftiSourceConfig,
    ObjectViewsSourceConfig,
    PhantomSourceConfig,
    RenderSourceConfig,
    VolumeFolderSourceConfig,
)
from data_prep.sources.interface import ImageSource, ObjectSource, ViewSource

IMAGES, OBJECTS, VIEWS = "whole images", "objects before backgrounds", "views of objects in space"
OBJECT_SOURCES = (CutOutsSourceConfig, RenderSourceConfig, GeneratedPlanesSourceConfig)


def what_is_brought(config: SourceConfig) -> str:
    """Of what kind the things are that a source brings, in words."""
    if isinstance(config, OBJECT_SOURCES):
        return OBJECTS
    return VIEWS if isinstance(config, ObjectViewsSourceConfig) else IMAGES


def open_source(config: PrepareConfig) -> ImageSource:
    """The source of whole images that a preparation names.

    Raises FileNotFoundError or ValueError if it cannot be read.
    """
    source = config.source
    match source:
        case DigitsSourceConfig():
            from data_prep.sources.digits import DigitsSource

            return DigitsSource()
        case MnistSourceConfig():
            return _open_mnist(source)
        case PhantomSourceConfig():
            from data_prep.sources.phantom import PhantomSource

            return PhantomSource(source, config.seed, config.num_samples)
        case MeshesSourceConfig():
            from data_prep.sources.meshes import MeshesSource

            return MeshesSource(source, config.seed, config.num_samples)
        case NiftiSourceConfig():
            from data_prep.sources.nifti import NiftiSource

            return NiftiSource(source)
        case DicomSourceConfig():
            from data_prep.sources.dicom import DicomSource

            return DicomSource(source)
        case MedmnistSourceConfig():
            from data_prep.sources.adrenal import AdrenalSource

            return AdrenalSource(source)
        case ImageFolderSourceConfig():
            from data_prep.sources.image_folder import ImageFolderSource

            return ImageFolderSource(source)
        case VolumeFolderSourceConfig():
            from data_prep.sources.volume_folder import VolumeFolderSource

            return VolumeFolderSource(source)
    raise ValueError(f"source={source.name} does not bring whole images")


def open_object_source(config: PrepareConfig, group: str) -> ObjectSource:
    """The source of objects before backgrounds that a preparation names."""
    source = config.source
    match source:
        case CutOutsSourceConfig():
            from data_prep.sources.cut_outs import CutOutsSource

            return CutOutsSource(source, config.seed, config.num_samples, group)
        case RenderSourceConfig():
            from data_prep.sources.rendered import RenderedSource

            return RenderedSource(source, config.seed, config.num_samples, group)
        case GeneratedPlanesSourceConfig():
            from data_prep.sources.generated_planes import GeneratedPlanesSource

            return GeneratedPlanesSource(source, config.seed, config.num_samples, group)
    raise ValueError(f"source={source.name} does not bring objects before backgrounds")


def open_view_source(config: PrepareConfig, group: str) -> ViewSource:
    """The source of views of objects in space that a preparation names."""
    source = config.source
    if isinstance(source, ObjectViewsSourceConfig):
        from data_prep.sources.object_views import ObjectViewsSource

        return ObjectViewsSource(source, config.seed, config.num_samples, group)
    raise ValueError(f"source={source.name} does not bring views of objects in space")


def _open_mnist(source: MnistSourceConfig) -> ImageSource:
    from data_prep.sources.mnist import MnistSource, download_mnist

    if source.root is None:
        raise ValueError("give source.root=DIR, the folder that holds MNIST/raw")
    root = Path(source.root)
    if source.download:
        download_mnist(root)
    return MnistSource(root)
