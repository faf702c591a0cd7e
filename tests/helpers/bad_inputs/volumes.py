"""Bad volumes: NIfTI and NPY."""

import gzip
import struct

import numpy as np

from helpers.bad_inputs import case as c
from helpers.bad_inputs.case import Case, Change, Spoil, Wanted
from helpers.bad_inputs.material import SIDE, nifti_bytes, npy_bytes, pixels

PREPARE = ("dataset=volume_folder", "source.root=WORK/in", "out=WORK/out", "num_workers=1")
DIM, DATATYPE, BITPIX, PIXDIM, VOX_OFFSET, SLOPE, SFORM = 40, 70, 72, 76, 108, 112, 254
GIANT = 32000


def cases() -> list[Case]:
    return [*_nifti(), *_npy()]


def _nifti() -> list[Case]:
    found = []

    def add(
        name: str, spoil: Spoil, wanted: Wanted = "refused", is_lenient: bool = False,
        file: str = "0.nii", source: str = "volumes",
    ) -> None:  # fmt: skip
        brain = ("dataset=brain_mri", "source=nifti", "source.side=8", *PREPARE[1:])
        words = PREPARE if source == "volumes" else brain
        found.append(
            Case(
                "NIfTI", name, "nifti", spoil, "data_prep/prepare.py", words, (f"in/{file}",),
                is_lenient, wanted,
            )
        )  # fmt: skip

    file, packed = "in/0.nii", "in/5.nii.gz"
    for name, content in c.NO_FILES.items():
        add(name, c.edit(file, c.instead(content)))
    add("cut in the header", c.edit(file, c.cut_by(800)))
    add("cut in the voxels", c.edit(file, c.cut(0.8)))
    add("bytes after its end", c.edit(file, c.longer(bytes(100))), "either", is_lenient=True)
    add("gzip cut off", c.edit(packed, c.cut(0.7)), is_lenient=True, file="5.nii.gz")
    add("gzip with a wrong checksum", c.edit(packed, c.put(-8, b"\1\2\3\4")), file="5.nii.gz",
        is_lenient=True)  # fmt: skip
    add("a bit of a gzip", c.edit(packed, c.flip(0, 30)), is_lenient=True, file="5.nii.gz")
    add("bytes after a gzip", c.edit(packed, c.longer(b"more")), is_lenient=True, file="5.nii.gz")
    add("a bomb of a gzip", c.edit(packed, c.instead(_bomb)), is_lenient=True, file="5.nii.gz")
    add("a gzip that goes on for GiB", c.edit(packed, c.instead(_endless)), is_lenient=True,
        file="5.nii.gz")  # fmt: skip
    giant = struct.pack("<8h", 3, GIANT, GIANT, GIANT, 1, 1, 1, 1)
    add("giant axes", c.edit(file, c.put(DIM, giant)), is_lenient=True)
    add("a negative axis", c.edit(file, c.put(DIM, struct.pack("<8h", 3, 8, -8, 8, 1, 1, 1, 1))))
    add("an axis of 0", c.edit(file, c.put(DIM, struct.pack("<8h", 3, 8, 0, 8, 1, 1, 1, 1))))
    add("nine axes", c.edit(file, c.put(DIM, struct.pack("<h", 9))))
    add("two volumes", c.edit(file, c.instead(nifti_bytes(np.zeros((8, 8, 8, 2), np.int16)))),
        is_lenient=True)  # fmt: skip
    add("complex values", c.edit(file, c.instead(nifti_bytes(np.zeros((8, 8, 8), np.complex64)))),
        is_lenient=True)  # fmt: skip
    add("an unknown type", c.edit(file, c.put(DATATYPE, struct.pack("<h", 77))))
    add("bits that are not of its type", c.edit(file, c.put(BITPIX, struct.pack("<h", 64))),
        is_lenient=True)  # fmt: skip
    add("voxels of NaN mm", c.edit(file, _affine(np.nan)), is_lenient=True)
    add("voxels of 0 mm", c.edit(file, _affine(0.0)), is_lenient=True)
    add("a slope of NaN", c.edit(file, c.put(SLOPE, struct.pack("<2f", np.nan, np.inf))),
        is_lenient=True, wanted="either")  # fmt: skip
    add("a slope of infinity", c.edit(file, c.put(SLOPE, struct.pack("<2f", np.inf, 0))),
        is_lenient=True, wanted="either")  # fmt: skip
    add("voxels far behind the file", c.edit(file, c.put(VOX_OFFSET, struct.pack("<f", 1e9))))
    add("voxels before the file", c.edit(file, c.put(VOX_OFFSET, struct.pack("<f", -16))))
    add("values of NaN", c.edit(file, c.instead(_with_nan())), is_lenient=True)
    add("cut in the voxels, brains", c.edit(file, c.cut(0.8)), source="nifti")
    add("an ANALYZE header", c.edit(file, c.put(344, b"\0\0\0\0")), is_lenient=True)
    return found


def _affine(value: float) -> Change:
    """All three rows of the affine hold this value."""
    return c.put(280, struct.pack("<12f", *[value] * 12))


def _with_nan() -> bytes:
    volume = pixels(0, SIDE, SIDE, SIDE).astype(np.float32)
    volume[0] = np.nan
    return nifti_bytes(volume)


def _bomb() -> bytes:
    """A header of 1500^3 voxels, with all of them: 3.4 GiB of zeros as nearly none."""
    header = bytearray(nifti_bytes(np.zeros((1, 1, 1), np.uint8))[:352])
    header[DIM : DIM + 16] = struct.pack("<8h", 3, 1500, 1500, 1500, 1, 1, 1, 1)
    return gzip_of_zeros(bytes(header), 1500**3)


def _endless() -> bytes:
    """A whole small volume, and then GiB of zeros."""
    return gzip_of_zeros(nifti_bytes(pixels(5, SIDE, SIDE, SIDE).astype(np.int16)), 3 * 2**30)


def gzip_of_zeros(start: bytes, num_zeros: int) -> bytes:
    """A gzip of `start` and zeros, of one packed block again and again."""
    import zlib

    block = 2**24
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    part = packer.compress(bytes(block)) + packer.flush(zlib.Z_FULL_FLUSH)
    times, rest = divmod(num_zeros, block)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    tail = packer.compress(bytes(rest)) + packer.flush()
    crc = zlib.crc32(start)
    zeros = bytes(block)
    for _ in range(times):
        crc = zlib.crc32(zeros, crc)
    crc = zlib.crc32(bytes(rest), crc)
    length = (len(start) + num_zeros) % 2**32
    header = gzip.compress(b"", mtime=0)[:10]
    return header + head + part * times + tail + struct.pack("<II", crc, length)


def _npy() -> list[Case]:
    found = []

    def add(name: str, spoil: Spoil, wanted: Wanted = "refused", is_lenient: bool = False) -> None:
        names = ("in/0.npy", "not 4 x 4 x 4")
        program = "data_prep/prepare.py"
        found.append(Case("NPY", name, "npy", spoil, program, PREPARE, names, is_lenient, wanted))

    file = "in/0.npy"
    for name, content in c.NO_FILES.items():
        add(name, c.edit(file, c.instead(content)))
    volume = pixels(0, SIDE, SIDE, SIDE)
    add("cut in the header", c.edit(file, c.cut(0.1)))
    add("cut in the values", c.edit(file, c.cut_by(10)))
    add("bytes after its end", c.edit(file, c.longer(b"more")), is_lenient=True)
    add("a whole file after its end", c.edit(file, lambda content: content * 2), is_lenient=True)
    add("a giant shape", c.edit(file, header_of((2**40, 8, 8))), is_lenient=True)
    add("a shape beyond 64 bits", c.edit(file, header_of((2**62, 2**62, 8))))
    add("a negative shape", c.edit(file, header_of((-8, 8, 8))))
    add("a smaller shape than its values", c.edit(file, header_of((8, 8, 4))), is_lenient=True)
    add("a larger shape than its values", c.edit(file, header_of((8, 8, 9))))
    add("four bytes a value", c.edit(file, header_of((8, 8, 2), "<i4")), wanted="either",
        is_lenient=True)  # fmt: skip
    add("objects", c.edit(file, c.instead(npy_bytes_of_objects())), is_lenient=True)
    add("text", c.edit(file, c.instead(npy_bytes(volume.astype("U3")))), is_lenient=True)
    add(
        "complex values",
        c.edit(file, c.instead(npy_bytes(volume.astype(complex)))),
        is_lenient=True,
    )
    add("dates", c.edit(file, c.instead(npy_bytes(volume.astype("M8[s]")))), is_lenient=True)
    add("records", c.edit(file, c.instead(npy_bytes(volume.view("u1,u1")))), is_lenient=True)
    add("NaN", c.edit(file, c.instead(npy_bytes(volume * np.float32(np.nan)))), is_lenient=True)
    add("two axes", c.edit(file, c.instead(npy_bytes(volume[0]))), is_lenient=True)
    add("no values", c.edit(file, c.instead(npy_bytes(volume[:0]))), is_lenient=True)
    add("another side", c.edit(file, c.instead(npy_bytes(volume[:4, :4, :4]))), is_lenient=True)
    add("an archive named .npy", c.edit(file, c.instead(_archive())), is_lenient=True)
    add("code in the header", c.edit(file, _code_in_header))
    return found


def header_of(shape: tuple[int, ...], descr: str = "|u1") -> Change:
    """Another shape and type in the header of an NPY file, which stays of its length."""

    def change(content: bytes) -> bytes:
        start = content.index(b"{")
        end = content.index(b"\n") + 1
        text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
        return content[:start] + text.ljust(end - start - 1).encode() + b"\n" + content[end:]

    return change


def _code_in_header(content: bytes) -> bytes:
    start, end = content.index(b"{"), content.index(b"\n")
    return content[:start] + b"__import__('os').abort()".ljust(end - start) + content[end:]


def npy_bytes_of_objects() -> bytes:
    import io

    file = io.BytesIO()
    np.save(file, np.array([[[{}]]], object), allow_pickle=True)
    return file.getvalue()


def _archive() -> bytes:
    import io

    file = io.BytesIO()
    np.savez(file, a=np.zeros((8, 8, 8), np.uint8))
    return file.getvalue()
