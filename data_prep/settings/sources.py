"""Where images come from. `root` is a folder or file of the user's; null asks for it."""

import math
from dataclasses import dataclass
from typing import Literal

PATH_FIELDS = ("root", "table")
"""Fields that say where files lie."""
LATER_FIELDS = {"nan": "refuse", "skip_open": False, "by_object": False}
"""Fields that manifests hold only if they differ from this: older datasets stay the same."""

Nan = Literal["refuse", "background"]
"""What NaN voxels of a volume are."""


def _check_size(name: str, size: int | None) -> None:
    if size is not None and not 6 <= size <= 512:
        raise ValueError(f"{name}={size} must lie between 6 and 512")


def _check_megapixels(max_megapixels: int) -> None:
    if max_megapixels < 1:
        raise ValueError(f"max_megapixels={max_megapixels} must be at least 1")


def _check_finite(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{name}={value} must be finite")


def _check_percentiles(percentiles: tuple[float, float]) -> None:
    low, high = percentiles
    if not 0 <= low < high <= 100:
        raise ValueError(f"percentiles={list(percentiles)} must ascend within 0 to 100")


@dataclass(frozen=True)
class DigitsSourceConfig:
    """The digits inside scikit-learn."""

    name: Literal["sklearn"]


@dataclass(frozen=True)
class MnistSourceConfig:
    """MNIST below `root` in torchvision's layout; `download` lets torchvision fetch it."""

    name: Literal["torchvision"]
    root: str | None = None
    download: bool = False


@dataclass(frozen=True)
class NiftiSourceConfig:
    """Skull-stripped brains: a folder of NIfTI files, brought to RAS and to `side` voxels a side.

    Oblique files are turned to the nearest axes of RAS, not resampled along them.
    `extent_mm` is the side of the cube that is cut out about the centre, or padded to;
    null takes the largest extent of all files. `percentiles` of the voxels that are not
    0 become black and white. `nan=background` takes NaN for background as well. `table` is
    a CSV with columns file, label and, if wanted, subject: no subject comes into two splits.
    """

    name: Literal["nifti"]
    root: str | None = None
    side: int = 64
    extent_mm: float | None = None
    percentiles: tuple[float, float] = (0.5, 99.5)
    nan: Nan = "refuse"
    table: str | None = None

    def __post_init__(self) -> None:
        _check_size("side", self.side)
        _check_percentiles(self.percentiles)
        _check_finite(extent_mm=self.extent_mm)
        if self.extent_mm is not None and self.extent_mm <= 0:
            raise ValueError(f"extent_mm={self.extent_mm} must be positive")


@dataclass(frozen=True)
class DicomSourceConfig:
    """Heads or other volumes: the DICOM series below `root`, brought to RAS and to `side` voxels.

    Files belong together by their SeriesInstanceUID, whatever they and their folders are
    called. Series of one PatientID do not come into two splits. `extent_mm` is the side of
    the cube that is cut out about the centre, or padded to; null takes the largest extent of
    all series. `percentiles` of all voxels but those that files call padding become black
    and white. `table` is a CSV with columns file (a series' UID), label and, if wanted,
    subject.
    """

    name: Literal["dicom"]
    root: str | None = None
    side: int = 64
    extent_mm: float | None = None
    percentiles: tuple[float, float] = (0.5, 99.5)
    table: str | None = None

    def __post_init__(self) -> None:
        _check_size("side", self.side)
        _check_percentiles(self.percentiles)
        _check_finite(extent_mm=self.extent_mm)
        if self.extent_mm is not None and self.extent_mm <= 0:
            raise ValueError(f"extent_mm={self.extent_mm} must be positive")


@dataclass(frozen=True)
class PhantomSourceConfig:
    """Generated brains: nested deformed ellipsoids, ventricles whose volume is the class.

    `noise` and `bias` are the standard deviation of noise and the strength of the
    bias field, both relative to the brightest tissue.
    """

    name: Literal["phantom"]
    side: int = 32
    noise: float = 0.02
    bias: float = 0.2

    def __post_init__(self) -> None:
        _check_size("side", self.side)
        if self.side < 16:
            raise ValueError(f"side={self.side} is too small for ventricles: at least 16")
        _check_finite(noise=self.noise, bias=self.bias)
        if not (0 <= self.noise <= 1 and 0 <= self.bias <= 1):
            raise ValueError(f"noise={self.noise} and bias={self.bias} must lie between 0 and 1")


@dataclass(frozen=True)
class MedmnistSourceConfig:
    """AdrenalMNIST3D: `root` is the npz file or its folder; `download` uses the medmnist package.

    `check_md5=false` accepts another file of the same layout.
    """

    name: Literal["medmnist"]
    root: str | None = None
    side: Literal[28, 64] = 28
    download: bool = False
    check_md5: bool = True


@dataclass(frozen=True)
class MeshesSourceConfig:
    """Voxelised closed meshes, randomly deformed: each OBJ file below `root` is a class.

    `classes` names the files to take (without .obj), null takes all. `deformation` is
    the largest displacement along an axis relative to the mesh's radius. `skip_open` leaves out
    meshes that are not closed, and says and records how many; otherwise one is refused.
    `by_object` keeps all volumes of one mesh in one split, so that test objects are new: files
    are named by their paths below `root`, meshes of the same shape count once, and without
    `num_samples` there is one volume of each.
    """

    name: Literal["meshes"]
    root: str | None = None
    classes: tuple[str, ...] | None = None
    side: int = 28
    deformation: float = 0.1
    skip_open: bool = False
    by_object: bool = False

    def __post_init__(self) -> None:
        _check_size("side", self.side)
        _check_finite(deformation=self.deformation)
        if not 0 <= self.deformation <= 0.5:
            raise ValueError(f"deformation={self.deformation} must lie between 0 and 0.5")


@dataclass(frozen=True)
class CutOutsSourceConfig:
    """Cut-outs with transparency in `root`/objects in front of pictures in `root`/backgrounds.

    There must be at least 3 cut-outs: none comes into two splits. Larger pictures than
    `max_megapixels`, in millions of pixels, are refused: decoding takes memory.
    """

    name: Literal["folders"]
    root: str | None = None
    size: int = 64
    max_megapixels: int = 90

    def __post_init__(self) -> None:
        _check_size("size", self.size)
        _check_megapixels(self.max_megapixels)


@dataclass(frozen=True)
class RenderSourceConfig:
    """Views of meshes under rotations of space: `root` is an OBJ file or a folder of them."""

    name: Literal["render"]
    root: str | None = None
    size: int = 64

    def __post_init__(self) -> None:
        _check_size("size", self.size)


@dataclass(frozen=True)
class ObjectViewsSourceConfig:
    """Views of many meshes under rotations of space, each in a light and a hue of its own.

    Every OBJ file below `root` is an object, of which no view comes into two splits; meshes of
    the same shape count once. `skip_open` leaves out those that are not closed, and says and
    records how many; otherwise they are drawn as they are.
    """

    name: Literal["views"]
    root: str | None = None
    size: int = 64
    skip_open: bool = False

    def __post_init__(self) -> None:
        _check_size("size", self.size)


@dataclass(frozen=True)
class GeneratedPlanesSourceConfig:
    """Drawn planes in front of drawn skies; needs no files."""

    name: Literal["generated"]
    size: int = 64

    def __post_init__(self) -> None:
        _check_size("size", self.size)


@dataclass(frozen=True)
class ImageFolderSourceConfig:
    """PNG, JPEG, TIFF, WebP, BMP and GIF files below `root`; its folders, if any, are the classes.

    With `size` images are cut to a square about their centre and resized; without, all
    must have one size already. `colour=auto` is grey if all images are. Larger pictures than
    `max_megapixels`, in millions of pixels, are refused: decoding takes memory.
    """

    name: Literal["images"]
    root: str | None = None
    size: int | None = None
    colour: Literal["auto", "grey", "rgb"] = "auto"
    max_megapixels: int = 90

    def __post_init__(self) -> None:
        _check_size("size", self.size)
        _check_megapixels(self.max_megapixels)


@dataclass(frozen=True)
class VolumeFolderSourceConfig:
    """NIfTI and NPY volumes below `root`; its folders, if any, are the classes.

    With `side` volumes are padded to a cube and resampled; without, all must be cubes
    of one size already. `percentiles` of a volume become black and white; null takes
    uint8 volumes as they are. `nan=background` leaves NaN out of them and makes it black.
    `binary` says that volumes are masks, of 0 and one positive value (1, say, or 255) or
    of booleans, whatever the percentiles. Oblique NIfTI files are turned to the nearest axes
    of RAS.
    """

    name: Literal["volumes"]
    root: str | None = None
    side: int | None = None
    percentiles: tuple[float, float] | None = (0.5, 99.5)
    nan: Nan = "refuse"
    binary: bool = False

    def __post_init__(self) -> None:
        _check_size("side", self.side)
        if self.percentiles is not None:
            _check_percentiles(self.percentiles)


@dataclass(frozen=True)
class TableSourceConfig:
    """A CSV of source, target, the action's components, label and split, or an npz of arrays.

    `binary` says that frames show shapes, 0 outside and 255 inside. Larger pictures than
    `max_megapixels`, in millions of pixels, are refused: decoding takes memory.
    """

    name: Literal["table"]
    root: str | None = None
    binary: bool = False
    max_megapixels: int = 90

    def __post_init__(self) -> None:
        _check_megapixels(self.max_megapixels)


@dataclass(frozen=True)
class MeshSourceConfig:
    """One object to turn: the OBJ file `root`."""

    name: Literal["mesh"]
    root: str | None = None


@dataclass(frozen=True)
class NoSourceConfig:
    """Nothing to read: what is written is simulated."""

    name: Literal["none"] = "none"


SourceConfig = (
    DigitsSourceConfig
    | MnistSourceConfig
    | NiftiSourceConfig
    | DicomSourceConfig
    | PhantomSourceConfig
    | MedmnistSourceConfig
    | MeshesSourceConfig
    | CutOutsSourceConfig
    | RenderSourceConfig
    | ObjectViewsSourceConfig
    | GeneratedPlanesSourceConfig
    | ImageFolderSourceConfig
    | VolumeFolderSourceConfig
    | TableSourceConfig
    | MeshSourceConfig
    | NoSourceConfig
)
