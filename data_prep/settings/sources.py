"""Settings of sources of images. `root` is a folder or file of the user; null means it must be
given."""

from dataclasses import dataclass
from typing import Annotated, Literal

from orbit.core.config.limits import Count, Limit, Percentiles, Positive, Share, between, limited
from orbit.core.config.schema import FilePath

LATER_FIELDS = {"nan": "refuse", "skip_open": False, "by_object": False, "labels": None}
"""Fields that manifests hold only if they differ from these values, so that older datasets do not
change."""

Nan = Literal["refuse", "background"]
"""The treatment of NaN voxels."""


Side = Annotated[int, between(6, 512)]
"""Pixels or voxels."""


Labels = Annotated[
    tuple[int, ...],
    Limit(
        "must be different digits from 0 to 9, one at least",
        lambda labels: 0 < len(set(labels) & set(range(10))) == len(labels),
    ),
]


@dataclass(frozen=True)
@limited
class DigitsSourceConfig:
    """The digits inside scikit-learn; `labels` takes only these digits, null all."""

    name: Literal["sklearn"]
    labels: Labels | None = None


@dataclass(frozen=True)
@limited
class MnistSourceConfig:
    """MNIST below `root` in torchvision's layout; `download` lets torchvision fetch it.

    `labels` takes only these digits, null all.
    """

    name: Literal["torchvision"]
    root: FilePath | None = None
    download: bool = False
    labels: Labels | None = None


@dataclass(frozen=True)
@limited
class NiftiSourceConfig:
    """Skull-stripped brains: a folder of NIfTI files, brought to RAS and to `side` voxels a side.

    Oblique files are turned to the nearest axes of RAS, not resampled along them. `extent_mm` is
    the side of the cube that is cut out about the centre, or padded to; null takes the largest
    extent of all files. `percentiles` of the voxels that are not 0 become black and white.
    `nan=background` treats NaN as background too. `table` is a CSV with columns file, label and
    optionally subject: no subject is in two splits.
    """

    name: Literal["nifti"]
    root: FilePath | None = None
    side: Side = 64
    extent_mm: Positive | None = None
    percentiles: Percentiles = (0.5, 99.5)
    nan: Nan = "refuse"
    table: FilePath | None = None


@dataclass(frozen=True)
@limited
class DicomSourceConfig:
    """Heads or other volumes: the DICOM series below `root`, brought to RAS and to `side` voxels.

    Files with the same SeriesInstanceUID form a series, whatever the names of files and folders.
    Series of one PatientID are never in two splits. `extent_mm` is the side of the cube that is cut
    out about the centre, or padded to; null takes the largest extent of all series. `percentiles`
    of all voxels except padding become black and white. `table` is a CSV with columns file (a
    series' UID), label and optionally subject.
    """

    name: Literal["dicom"]
    root: FilePath | None = None
    side: Side = 64
    extent_mm: Positive | None = None
    percentiles: Percentiles = (0.5, 99.5)
    table: FilePath | None = None


@dataclass(frozen=True)
@limited
class PhantomSourceConfig:
    """Generated brains: nested deformed ellipsoids, ventricles whose volume is the class.

    `noise` and `bias` are the standard deviation of noise and the strength of the
    bias field, both relative to the brightest tissue.
    """

    name: Literal["phantom"]
    side: Side = 32
    noise: Share = 0.02
    bias: Share = 0.2

    def __post_init__(self) -> None:
        if self.side < 16:
            raise ValueError(f"side={self.side} is too small for ventricles: at least 16")


@dataclass(frozen=True)
class MedmnistSourceConfig:
    """AdrenalMNIST3D: `root` is the npz file or its folder; `download` uses the medmnist package.

    `check_md5=false` accepts another file of the same layout.
    """

    name: Literal["medmnist"]
    root: FilePath | None = None
    side: Literal[28, 64] = 28
    download: bool = False
    check_md5: bool = True


@dataclass(frozen=True)
@limited
class MeshesSourceConfig:
    """Voxelised closed meshes, randomly deformed: each OBJ file below `root` is a class.

    `classes` names the files to take (without .obj), null takes all. `deformation` is the largest
    displacement along an axis relative to the mesh's radius. `skip_open` leaves out meshes that are
    not closed, and reports and records their number; otherwise such a mesh is refused. `by_object`
    keeps all volumes of one mesh in one split, so that test objects are new: files are named by
    their paths below `root`, meshes of the same shape count once, and without `num_samples` there
    is one volume of each.
    """

    name: Literal["meshes"]
    root: FilePath | None = None
    classes: tuple[str, ...] | None = None
    side: Side = 28
    deformation: Annotated[float, between(0, 0.5)] = 0.1
    skip_open: bool = False
    by_object: bool = False


@dataclass(frozen=True)
@limited
class CutOutsSourceConfig:
    """Cut-outs with transparency in `root`/objects in front of pictures in `root`/backgrounds.

    There must be at least 3 cut-outs; no cut-out is in two splits. Larger pictures than
    `max_megapixels`, in millions of pixels, are refused: decoding takes memory.
    """

    name: Literal["folders"]
    root: FilePath | None = None
    size: Side = 64
    max_megapixels: Count = 90


@dataclass(frozen=True)
@limited
class RenderSourceConfig:
    """Views of meshes under rotations of space: `root` is an OBJ file or a folder of them."""

    name: Literal["render"]
    root: FilePath | None = None
    size: Side = 64


@dataclass(frozen=True)
@limited
class ObjectViewsSourceConfig:
    """Views of many meshes under rotations of space, each in a light and a hue of its own.

    Every OBJ file below `root` is an object, and no object is in two splits; meshes of the same
    shape count once. `skip_open` leaves out those that are not closed, and reports and records
    their number; otherwise they are drawn anyway.
    """

    name: Literal["views"]
    root: FilePath | None = None
    size: Side = 64
    skip_open: bool = False


@dataclass(frozen=True)
@limited
class GeneratedPlanesSourceConfig:
    """Drawn planes in front of drawn skies; needs no files."""

    name: Literal["generated"]
    size: Side = 64


@dataclass(frozen=True)
@limited
class ImageFolderSourceConfig:
    """PNG, JPEG, TIFF, WebP, BMP and GIF files below `root`; its folders, if any, are the classes.

    With `size` images are cut to a square about their centre and resized; without it, all must have
    the same size already. `colour=auto` is grey if all images are. Larger pictures than
    `max_megapixels`, in millions of pixels, are refused: decoding takes memory.
    """

    name: Literal["images"]
    root: FilePath | None = None
    size: Side | None = None
    colour: Literal["auto", "grey", "rgb"] = "auto"
    max_megapixels: Count = 90


@dataclass(frozen=True)
@limited
class VolumeFolderSourceConfig:
    """NIfTI and NPY volumes below `root`; its folders, if any, are the classes.

    With `side` volumes are padded to a cube and resampled; without it, all must be cubes of the
    same size already. `percentiles` of a volume become black and white; null takes uint8 volumes
    unchanged. `nan=background` leaves NaN out of them and makes it black. `binary` says that
    volumes are masks, of 0 and one positive value (1, say, or 255) or of booleans, whatever the
    percentiles. Oblique NIfTI files are turned to the nearest axes of RAS.
    """

    name: Literal["volumes"]
    root: FilePath | None = None
    side: Side | None = None
    percentiles: Percentiles | None = (0.5, 99.5)
    nan: Nan = "refuse"
    binary: bool = False


@dataclass(frozen=True)
@limited
class TableSourceConfig:
    """A CSV of source, target, the action's components, label and split, or an npz of arrays.

    `binary` says that frames show shapes, 0 outside and 255 inside. Larger pictures than
    `max_megapixels`, in millions of pixels, are refused: decoding takes memory.
    """

    name: Literal["table"]
    root: FilePath | None = None
    binary: bool = False
    max_megapixels: Count = 90


@dataclass(frozen=True)
@limited
class ThreeDIEBenchSourceConfig:
    """3DIEBench below `root`: folders SYNSET/OBJECT of pictures and latents, and index files.

    `size` is the side to which pictures are resized, `num_views` takes the first ones of the 50
    views of each object.
    """

    name: Literal["threediebench"]
    root: FilePath | None = None
    size: Side = 64
    num_views: Annotated[int, between(2, 50)] = 50


@dataclass(frozen=True)
@limited
class ArrowsSourceConfig:
    """Drawn arrows of different shapes, red before black."""

    name: Literal["arrows"]
    size: Annotated[int, between(16, 512)] = 64


@dataclass(frozen=True)
@limited
class SquaresSourceConfig:
    """Drawn squares of different sizes, white before black."""

    name: Literal["squares"]
    size: Annotated[int, between(16, 512)] = 64


@dataclass(frozen=True)
class MeshSourceConfig:
    """One object to turn: the OBJ file `root`."""

    name: Literal["mesh"]
    root: FilePath | None = None


@dataclass(frozen=True)
class NoSourceConfig:
    """No source: the records are simulated."""

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
    | ThreeDIEBenchSourceConfig
    | ArrowsSourceConfig
    | SquaresSourceConfig
    | MeshSourceConfig
    | NoSourceConfig
)
