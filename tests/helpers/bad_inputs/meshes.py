"""Bad meshes in OBJ, and bad IDX files of MNIST."""

import gzip
import struct

import numpy as np

from helpers.bad_inputs import case as c
from helpers.bad_inputs.case import Case, Change, Spoil, Wanted
from helpers.bad_inputs.material import TETRAHEDRON, pixels
from helpers.idx import idx_bytes

MESHES = (
    *("dataset=adrenal", "source=meshes", "source.root=WORK/in", "source.side=8"),
    *("num_samples=12", "out=WORK/out", "num_workers=1"),
)
VIEWS = (
    *("dataset=planes_views", "source=render", "source.root=WORK/in", "source.size=16"),
    *("num_samples=12", "out=WORK/out", "num_workers=1"),
)
MNIST = ("dataset=rotated_mnist", "source.root=WORK/in", "out=WORK/out", "num_workers=1")


def cases() -> list[Case]:
    return [*_obj(), *_idx()]


def _obj() -> list[Case]:
    found = []

    def add(
        name: str, spoil: Spoil, wanted: Wanted = "refused", is_lenient: bool = True,
        words: tuple[str, ...] = MESHES,
    ) -> None:  # fmt: skip
        found.append(
            Case(
                "OBJ", name, "meshes", spoil, "data_prep/prepare.py", words, ("in/a.obj",),
                is_lenient, wanted,
            )
        )  # fmt: skip

    file = "in/a.obj"
    for name, content in c.NO_FILES.items():
        add(name, c.edit(file, c.instead(content)), is_lenient=False)
    for text in ("nan", "inf", "1_0", "0x1", "1e999", "٣", "", "one"):
        add(f"a coordinate {text or 'too few'}", c.text(file, "v 1.0 1.0 1.0", f"v 1.0 1.0 {text}"),
            is_lenient=text != "one")  # fmt: skip
    add("a coordinate too many", c.text(file, "v 1.0 1.0 1.0", "v 1.0 1.0 1.0 1.0 2.0"), "either")
    for text in ("0", "5", "-5", "1.0", "1_1", "+1", "x", str(2**40)):
        add(f"a corner {text}", c.text(file, "f 2 3 4", f"f 2 3 {text}"),
            "either" if text == "+1" else "refused", text != "x")  # fmt: skip
    add("a face of two corners", c.text(file, "f 2 3 4", "f 2 3"))
    add("a face of one vertex", c.text(file, "f 2 3 4", "f 2 2 2"))
    add("a hole", c.text(file, "f 2 3 4\n", ""))
    add("a face turned over", c.text(file, "f 2 3 4", "f 2 4 3"))
    add("a flat body", c.text(file, "v 1.0 1.0 1.0", "v -1.0 -0.3 -0.3"), "either")
    add("all vertices in one place", c.edit(file, c.instead(_one_place())))
    add("vertices of 1e300", c.text(file, "1.0", "1e300"), "either")
    add("vertices without faces", c.pattern(file, r"(?s)f 1.*", ""))
    add("faces without vertices", c.pattern(file, r"(?s)v .*?f", "f"))
    add("cut in a number", c.edit(file, c.cut(0.6)))
    add("a byte of Latin-1", c.text(file, "# a solid", "# a sol\xe9d"), "either")
    add("bytes of 0", c.text(file, "v 1.0 1.0 1.0", "v 1.0\0 1.0 1.0"))
    add("a path to a library", c.text(file, "# a solid", "mtllib ../../../etc/passwd"), "either")
    for name, spoil in (
        ("a hole", c.text(file, "f 2 3 4\n", "")),
        ("NaN", c.text(file, "v 1.0 1.0 1.0", "v 1.0 1.0 nan")),
        ("a corner 5", c.text(file, "f 2 3 4", "f 2 3 5")),
    ):
        add(f"{name}, views", spoil, "either" if name == "a hole" else "refused", words=VIEWS)
    return found


def _one_place() -> str:
    import re

    return re.sub("v .*", "v 1.0 1.0 1.0", TETRAHEDRON).encode()  # type: ignore[return-value]


def _idx() -> list[Case]:
    found = []

    def add(
        name: str,
        change: Change,
        is_lenient: bool = False,
        wanted: Wanted = "refused",
        file: str = "train-images-idx3-ubyte",
    ) -> None:
        add_spoil(name, c.edit(f"in/MNIST/raw/{file}", change), is_lenient, wanted, file)

    def add_spoil(
        name: str,
        spoil: Spoil,
        is_lenient: bool = True,
        wanted: Wanted = "refused",
        file: str = "train-images-idx3-ubyte",
    ) -> None:
        names = (f"raw/{file}", "labels for 0 images")
        program = "data_prep/prepare.py"
        found.append(Case("IDX", name, "idx", spoil, program, MNIST, names, is_lenient, wanted))

    labels = "train-labels-idx1-ubyte"
    for name, content in c.NO_FILES.items():
        add(name, c.instead(content))
    add("cut off", c.cut(0.8), is_lenient=True)
    add("cut in the header", c.cut(0.0002))
    add("a byte too many", c.longer(b"\0"), is_lenient=True)
    add("a byte too few", c.cut_by(1), is_lenient=True)
    add("2^32 images", c.put(4, struct.pack(">I", 2**32 - 1)), is_lenient=True)
    add("giant sides", c.put(8, struct.pack(">2I", 2**31, 2**31)), is_lenient=True)
    add("one image fewer than there are", c.put(4, struct.pack(">I", 49)), is_lenient=True)
    add("no images", c.instead(idx_bytes(np.zeros((0, 28, 28)))), is_lenient=True)
    add("another side", c.instead(idx_bytes(np.zeros((50, 27, 27)))), is_lenient=True)
    add("images of 32-bit numbers", c.put(2, b"\x0c"), is_lenient=True)
    add("signed bytes", c.put(2, b"\x09"), is_lenient=True)
    add("five axes", c.put(3, b"\x05"))
    add("one axis", c.put(3, b"\x01"), is_lenient=True)
    add("little-endian lengths", c.put(4, struct.pack("<3I", 50, 28, 28)))
    add("labels in its place", c.instead(idx_bytes(pixels(0, 50))), is_lenient=True)
    add("a label of 255", c.put(8, b"\xff"), is_lenient=True, wanted="either", file=labels)
    add("labels too few", c.instead(idx_bytes(pixels(0, 49) % 10)), is_lenient=True, file=labels)
    add(
        "labels of two axes",
        c.instead(idx_bytes(pixels(0, 50, 1) % 10)),
        is_lenient=True,
        file=labels,
    )
    add("images in place of labels", c.instead(idx_bytes(pixels(0, 50, 28, 28))), file=labels)
    add("a bit of a pixel", c.flip(0, 20), is_lenient=True, wanted="either")
    for name, change in (
        ("a gzip cut off", c.cut(0.9)),
        ("a gzip with a wrong checksum", c.put(-8, b"\1\2\3\4")),
        ("bytes after a gzip", c.longer(b"more")),
    ):
        add_spoil(name, _gzipped(change))
    add_spoil("a bomb of a gzip", _gzipped(lambda _: _bomb()))
    return found


def _gzipped(change: Change) -> Spoil:
    def spoil(work: object) -> None:
        path = work / "in/MNIST/raw/train-images-idx3-ubyte"  # type: ignore[operator]
        packed = change(gzip.compress(path.read_bytes(), mtime=0))
        path.with_name(path.name + ".gz").write_bytes(packed)
        path.unlink()

    return spoil


def _bomb() -> bytes:
    """The header of 4 million images, and 3 GiB of zeros as 3 MiB."""
    from helpers.bad_inputs.volumes import gzip_of_zeros

    num = 4 * 10**6
    return gzip_of_zeros(
        idx_bytes(np.zeros((0, 28, 28)))[:4] + struct.pack(">3I", num, 28, 28), num * 784
    )
