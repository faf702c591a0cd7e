"""Bad DICOM series."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.bad_inputs import case as c
from helpers.bad_inputs.case import Case, Spoil, Wanted

PREPARE = (
    *("dataset=brain_mri", "source=dicom", "source.root=WORK/in", "source.side=8"),
    *("out=WORK/out", "num_workers=1"),
)
FILE = "in/0/3.dcm"
META_START, META_LENGTH = 144, 140
DEFLATED = "1.2.840.10008.1.2.1.99"


def cases() -> list[Case]:
    found = []

    def add(name: str, spoil: Spoil, is_lenient: bool = True, wanted: Wanted = "refused") -> None:
        program, names = "data_prep/prepare.py", ("in/0/",)
        found.append(
            Case("DICOM", name, "dicom", spoil, program, PREPARE, names, is_lenient, wanted)
        )

    for name, content in c.NO_FILES.items():
        add(f"{name} for a slice", c.edit(FILE, c.instead(content)), is_lenient=False)
    add("cut in its pixels", c.edit(FILE, c.cut_by(40)))
    add("cut in its tags", c.edit(FILE, c.cut(0.5)), is_lenient=False)
    add("a slice missing", c.remove(FILE))
    add("a slice twice", _copy)
    add("a link to itself", c.link(FILE, "3.dcm"), is_lenient=False)
    for tag, value in (
        ("Rows", 65535),
        ("Columns", 65535),
        ("Rows", 4),
        ("BitsAllocated", 8),
        ("BitsStored", 33),
        ("PixelRepresentation", 7),
        ("SamplesPerPixel", 3),
        ("PhotometricInterpretation", "RGB"),
        ("NumberOfFrames", 2**30),
        ("RescaleSlope", 0),
        ("PixelSpacing", [0, 0]),
        ("PixelSpacing", [2.0]),
        ("ImagePositionPatient", [0, 0, 99]),
        ("ImagePositionPatient", []),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        ("ImageOrientationPatient", [0, 0, 0, 0, 0, 0]),
    ):
        add(f"{tag} of {value}", _tag(tag, value))
    add("a slope of NaN", _tag("RescaleSlope", "nan"))
    add("all rows of 65535", _all(lambda dataset: setattr(dataset, "Rows", 65535)))
    add("a spacing of 0", _all(lambda dataset: setattr(dataset, "PixelSpacing", [0, 0])))
    add(
        "compressed in an unknown way",
        c.text(FILE, "1.2.840.10008.1.2.1\0", "1.2.840.10008.9.9.9\0"),
    )
    add("a length of 4 GiB", c.edit(FILE, _giant_length), wanted="either")
    add("a bomb of deflate", c.edit(FILE, _deflated))
    return found


def _tag(name: str, value: Any) -> Spoil:
    """Another value for a tag of one slice."""

    def spoil(work: Path) -> None:
        _save(work / FILE, lambda dataset: setattr(dataset, name, value))

    return spoil


def _all(change: Callable[[Any], None]) -> Spoil:
    """The same change of every slice."""

    def spoil(work: Path) -> None:
        for path in sorted((work / "in/0").iterdir()):
            _save(path, change)

    return spoil


def _save(path: Path, change: Callable[[Any], None]) -> None:
    import warnings

    import pydicom

    with warnings.catch_warnings(action="ignore"):
        pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
        dataset = pydicom.dcmread(path)
        change(dataset)
        dataset.save_as(path)


def _copy(work: Path) -> None:
    (work / "in/0/copy.dcm").write_bytes((work / FILE).read_bytes())


def _giant_length(content: bytes) -> bytes:
    """The pixels are said to have nearly 4 GiB."""
    place = content.index(b"\xe0\x7f\x10\x00OW")
    return content[: place + 8] + struct.pack("<I", 2**32 - 4) + content[place + 12 :]


def _deflated(content: bytes) -> bytes:
    """The whole slice, and 3 GiB of zeros after it, deflated as a file of DICOM may be."""
    (length,) = struct.unpack("<I", content[META_LENGTH:META_START])
    meta = content[META_START : META_START + length]
    plain = b"1.2.840.10008.1.2.1\0"
    assert plain in meta
    changed = meta.replace(
        struct.pack("<H", len(plain)) + plain,
        struct.pack("<H", len(DEFLATED)) + DEFLATED.encode(),
    )
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packer.compress(content[META_START + length :]) + packer.flush(zlib.Z_FULL_FLUSH)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
    end = zlib.compressobj(9, zlib.DEFLATED, -15).flush()
    header = content[:META_LENGTH] + struct.pack("<I", len(changed))
    return header + changed + start + block * 192 + end
