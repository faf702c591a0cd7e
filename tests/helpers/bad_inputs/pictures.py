"""Bad pictures: PNG, JPEG and TIFF."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, PngImagePlugin

from helpers.bad_inputs import case as c
from helpers.bad_inputs.case import Case, Spoil, Wanted
from helpers.bad_inputs.material import pixels

PREPARE = ("dataset=image_folder", "source.root=WORK/in", "out=WORK/out", "num_workers=1")
IHDR_END = 33


def cases() -> list[Case]:
    return [*_png(), *_tiff()]


def _png() -> list[Case]:
    found = []

    def add(
        name: str,
        spoil: Spoil,
        wanted: Wanted = "refused",
        is_lenient: bool = False,
        file: str = "0.png",
    ) -> None:
        words = (*PREPARE, "source.size=8")
        names = (f"in/{file}",)
        found.append(
            Case(
                "pictures", name, "pictures", spoil, "data_prep/prepare.py", words, names,
                is_lenient, wanted,
            )
        )  # fmt: skip

    file = "in/0.png"
    for name, content in c.NO_FILES.items():
        add(name, c.edit(file, c.instead(content)))
    add("cut in the middle", c.edit(file, c.cut(0.5)), is_lenient=True)
    add("cut in its last pixels", c.edit(file, c.cut_by(24)), is_lenient=True)
    add("a JPEG cut off", c.edit("in/5.jpg", c.cut(0.8)), is_lenient=True, file="5.jpg")
    for seed in range(3):
        add(f"a bit of its pixels, {seed}", c.edit(file, c.flip(seed, 41, 80)), is_lenient=True)
    add("a bit of the header", c.edit(file, c.flip(3, 16, 29)), is_lenient=True)
    add("a wrong checksum", c.edit(file, c.put(29, b"\0\0\0\0")), is_lenient=True)
    add(
        "60000 x 60000 in the header",
        c.edit(file, _png_header(60000, 60000, 8, 0)),
        is_lenient=True,
    )
    add(
        "a bomb of 20000 x 20000",
        c.edit(file, c.instead(lambda: _png_bomb(20000))),
        is_lenient=True,
    )
    add("a width of 0", c.edit(file, _png_header(0, 8, 8, 0)))
    add("a header twice as high", c.edit(file, _png_header(8, 16, 8, 0)), is_lenient=True)
    add("a header of 16 bits", c.edit(file, _png_header(8, 8, 16, 0)), is_lenient=True)
    add("an unknown colour type", c.edit(file, _png_header(8, 8, 8, 5)))
    add(
        "floats in a picture named .png",
        c.edit(file, c.instead(_saved("TIFF", "F"))),
        is_lenient=True,
    )
    add("32-bit integers named .png", c.edit(file, c.instead(_saved("TIFF", "I"))), is_lenient=True)
    add("a link to nowhere", c.link(file, "WORK/nowhere.png"))
    add("a link to itself", c.link(file, "0.png"))
    add("a folder named .png", c.folder_instead(file), wanted="either")
    add("a bomb of text", c.edit(file, c.instead(_text_bomb)), wanted="either", is_lenient=True)
    return found


def _tiff() -> list[Case]:
    found = []

    def add(
        name: str,
        spoil: Spoil,
        wanted: Wanted = "refused",
        is_lenient: bool = False,
        file: str = "0.tif",
    ) -> None:
        found.append(
            Case(
                "TIFF", name, "tiffs", spoil, "data_prep/prepare.py", PREPARE, (f"in/{file}",),
                is_lenient, wanted,
            )
        )  # fmt: skip

    file = "in/0.tif"
    add("empty", c.edit(file, c.instead(b"")))
    add("zeros", c.edit(file, c.instead(bytes(2000))))
    for share in (0.02, 0.4, 0.9):
        add(f"cut to {share:.0%}", c.edit(file, c.cut(share)), is_lenient=share > 0.1)
    add("LZW cut off", c.edit("in/1.tif", c.cut(0.9)), is_lenient=True, file="1.tif")
    add("deflate cut off", c.edit("in/2.tif", c.cut(0.9)), is_lenient=True, file="2.tif")
    add("deflate of other bytes", c.edit("in/2.tif", _spoil_strip), is_lenient=True, file="2.tif")
    add("two pages", c.edit(file, c.instead(_pages(2))), is_lenient=True)
    add("3000 pages", c.edit(file, c.instead(lambda: _pages(3000))), is_lenient=True)
    add("a loop of pages", c.edit(file, c.instead(_loop())), is_lenient=True, wanted="either")
    add(
        "65000 x 65000 in the header",
        c.edit(file, _tags({256: 65000, 257: 65000})),
        is_lenient=True,
    )
    add("2^31 wide", c.edit(file, _tags({256: 2**31 - 1, 257: 2**31 - 1})), is_lenient=True)
    add("a width of 0", c.edit(file, _tags({256: 0})))
    add("a longer side than its strip", c.edit(file, _tags({257: 64})), is_lenient=True)
    add("colours of one sample", c.edit(file, _tags({262: 2})), is_lenient=True)
    add("32 bits a sample", c.edit(file, _tags({258: 32})), is_lenient=True)
    add("an unknown compression", c.edit(file, _tags({259: 34892})))
    add("a strip outside of the file", c.edit(file, _tags({273: 10**8})))
    add("a strip of 2 GiB", c.edit(file, _tags({279: 2**31 - 1})), is_lenient=True, wanted="either")
    add("signed 16 bit", c.edit(file, c.instead(_typed(np.int16))), is_lenient=True)
    add("floats", c.edit(file, c.instead(_saved("TIFF", "F"))), is_lenient=True)
    add("a directory outside of the file", c.edit(file, c.put(4, struct.pack("<I", 10**6))))
    return found


def _png_header(width: int, height: int, depth: int, colour: int) -> c.Change:
    """A header with its checksum."""

    def change(content: bytes) -> bytes:
        body = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
        chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
        return content[:8] + chunk + content[IHDR_END:]

    return change


def _png_bomb(side: int) -> bytes:
    """A whole picture of zeros, 1000 times smaller than its pixels."""
    packer = zlib.compressobj(9)
    row = bytes(1 + side)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)),
        (b"IDAT", data),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def _text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("note", "a" * 10**8, zip=True)
    file = io.BytesIO()
    Image.fromarray(pixels(0)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def _saved(form: str, mode: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(0, 32, 32)).convert(mode).save(file, form)
    return file.getvalue()


def _typed(dtype: type) -> bytes:
    """A TIFF whose samples are said to be signed."""
    file = io.BytesIO()
    Image.fromarray(pixels(0, 32, 32).astype(np.uint16) * 257).save(file, "TIFF", tiffinfo={339: 2})
    return file.getvalue()


def _pages(num: int) -> bytes:
    file = io.BytesIO()
    first, *others = [Image.fromarray(pixels(number % 7, 32, 32)) for number in range(num)]
    first.save(file, "TIFF", save_all=True, append_images=others)
    return file.getvalue()


def _loop() -> bytes:
    """The directory of the first page is also said to be the next."""
    content = bytearray(_pages(1))
    (place,) = struct.unpack("<I", content[4:8])
    (num,) = struct.unpack("<H", content[place : place + 2])
    end = place + 2 + 12 * num
    content[end : end + 4] = struct.pack("<I", place)
    return bytes(content)


def _tags(values: dict[int, int]) -> c.Change:
    """Set tags of the first directory, as 32-bit numbers."""

    def change(content: bytes) -> bytes:
        changed = bytearray(content)
        (place,) = struct.unpack("<I", content[4:8])
        (num,) = struct.unpack("<H", content[place : place + 2])
        missing = set(values)
        for entry in range(place + 2, place + 2 + 12 * num, 12):
            (tag,) = struct.unpack("<H", content[entry : entry + 2])
            if tag in values:
                changed[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, values[tag])
                missing.discard(tag)
        assert not missing, f"no tags {missing}"
        return bytes(changed)

    return change


def _spoil_strip(content: bytes) -> bytes:
    """Zeros over the packed pixels, which come after the header's 8 bytes."""
    return content[:60] + bytes(200) + content[260:]
