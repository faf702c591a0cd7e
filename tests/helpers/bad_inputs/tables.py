"""Bad tables: CSV of pairs, CSV of labels, and NPZ."""

import io
import random
import struct
import zipfile

import numpy as np

from helpers.bad_inputs import case as c
from helpers.bad_inputs.case import Case, Change, Spoil, Wanted
from helpers.bad_inputs.material import arrays, npy_bytes, pixels
from helpers.bad_inputs.volumes import header_of

PREPARE = ("dataset=pairs_table", "out=WORK/out", "num_workers=1")
BRAINS = (
    *("dataset=brain_mri", "source=nifti", "source.root=WORK/in", "source.table=WORK/labels.csv"),
    *("source.side=8", "out=WORK/out", "num_workers=1"),
)
ROW = "3.npy,3.npy,3,0"


def cases() -> list[Case]:
    return [*_csv(), *_labels(), *_npz()]


def _csv() -> list[Case]:
    found = []

    def add(name: str, spoil: Spoil, is_lenient: bool = True, wanted: Wanted = "refused") -> None:
        words = (*PREPARE, "source.root=WORK/in/pairs.csv")
        found.append(
            Case(
                "CSV", name, "table", spoil, "data_prep/prepare.py", words, ("in/pairs.csv",),
                is_lenient, wanted,
            )
        )  # fmt: skip

    file = "in/pairs.csv"
    for name, content in c.NO_FILES.items():
        add(name, c.edit(file, c.instead(content)), is_lenient=False)
    add("semicolons", c.text(file, ",", ";"))
    add("tabs", c.text(file, ",", "\t"))
    for name in ("utf-16", "utf-16-be", "utf-32"):
        add(name, c.edit(file, _recode(name)))
    add(
        "a byte of Latin-1", c.edit(file, lambda content: content.replace(b"3.npy", b"\xe9.npy", 1))
    )
    add("a cell too many", c.text(file, ROW, f"{ROW},"))
    add("a cell too few", c.text(file, ROW, "3.npy,3.npy,3"))
    add("a quote without its end", c.text(file, ROW, f'"{ROW}'))
    add("a byte of 0", c.text(file, ROW, "3.npy,3.npy,3\0,0"))
    add("a line of 2 MiB", c.text(file, ROW, ROW + "0" * 2**21), is_lenient=False)
    add("a column twice", c.text(file, "label", "source"))
    add("a column misspelt", c.text(file, "label", "lable"))
    for text in ("0_1", "nan", "inf", "٣", "0x3", "4", "-1", "1.5", "3,0", "1e400"):
        add(f"an action of {text}", c.text(file, ROW, f'3.npy,3.npy,"{text}",0'))
    for text in ("", "NA", "nan", "0.0", str(2**63)):
        add(f"a label of {text or 'nothing'}", c.text(file, ROW, f"3.npy,3.npy,3,{text}"))
    for name in (
        "../outside/3.npy",
        "WORK",
        "gone.npy",
        ".",
        "pairs.csv",
        "3.npy/3.npy",
        "3\\3.npy",
    ):
        add(f"a file {name}", c.both(c.move_out("in/3.npy"), _name(name)), is_lenient=False)
    add("an absolute name", c.both(c.move_out("in/3.npy"), _absolute), is_lenient=True)
    add("a frame cut off", c.edit("in/3.npy", c.cut(0.9)), is_lenient=False)
    add("a frame of another shape", c.edit("in/3.npy", c.instead(npy_bytes(pixels(0, 4, 4)))))
    add("a frame of floats", c.edit("in/3.npy", c.instead(npy_bytes(np.zeros((8, 8))))))
    add("a frame of a giant shape", c.edit("in/3.npy", header_of((2**40, 8))), is_lenient=False)
    add("a link to itself", c.link("in/3.npy", "3.npy"), is_lenient=False)
    add("a byte-order mark", c.edit(file, lambda content: b"\xef\xbb\xbf" + content), wanted="read")
    return found


def _labels() -> list[Case]:
    found = []

    def add(name: str, spoil: Spoil, is_lenient: bool = True) -> None:
        found.append(
            Case(
                "CSV of labels", name, "nifti", spoil, "data_prep/prepare.py", BRAINS,
                ("labels.csv",), is_lenient,
            )
        )  # fmt: skip

    file = "labels.csv"
    for name, content in c.NO_FILES.items():
        add(name, c.edit(file, c.instead(content)), is_lenient=False)
    add("semicolons", c.text(file, ",", ";"))
    add("UTF-16", c.edit(file, _recode("utf-16")))
    add("a label twice in a row", c.text(file, "3.nii,1", "3.nii,1,0"))
    add("a column twice", c.text(file, "file,label\n", "file,label,label\n"))
    add("a missing label", c.text(file, "3.nii,1", "3.nii,NaN"))
    add("a label in two spellings", c.text(file, "3.nii,1", "3.nii,1.0"))
    add("a file twice", c.text(file, "3.nii", "2.nii"))
    add("a file of elsewhere", c.text(file, "3.nii", "../in/3.nii"))
    add("a file that is not there", c.text(file, "3.nii", "9.nii"))
    add("a file too few", c.text(file, "3.nii,1\n", ""))
    add("a path with a backslash", c.text(file, "3.nii", ".\\\\3.nii"))
    add("an open quote", c.text(file, "3.nii,1", '"3.nii,1'))
    add("an empty subject", c.both(c.text(file, "file,label", "file,label,subject"), _subjects))
    add("a gap", c.text(file, "3.nii,1", ",1"))
    add("a single column", c.text(file, ",", " "))
    return found


def _npz() -> list[Case]:
    found = []

    def add(name: str, spoil: Spoil, wanted: Wanted = "refused", is_lenient: bool = False) -> None:
        words = (*PREPARE, "source.root=WORK/in/pairs.npz")
        found.append(
            Case(
                "NPZ", name, "npz", spoil, "data_prep/prepare.py", words, ("in/pairs.npz",),
                is_lenient, wanted,
            )
        )  # fmt: skip

    file = "in/pairs.npz"

    def of(**changed: np.ndarray | None) -> Spoil:
        given = {**arrays(), **changed}
        return c.edit(file, c.instead(_packed({k: v for k, v in given.items() if v is not None})))

    for name, content in c.NO_FILES.items():
        add(name, c.edit(file, c.instead(content)))
    add("cut off", c.edit(file, c.cut(0.7)))
    for seed in range(3):
        add(f"a bit of its values, {seed}", c.edit(file, c.flip(seed, 150, 600)), is_lenient=True)
    add("a wrong checksum", c.edit(file, _wrong_checksum), is_lenient=True)
    add("a bomb", c.edit(file, c.instead(lambda: _bomb(1500**3))), is_lenient=True)
    add("a giant shape", _member("source", header_of((2**40, 8, 8))), is_lenient=True)
    add("a shape beyond 64 bits", _member("source", header_of((2**62, 2**62))))
    add("a smaller shape", _member("source", header_of((12, 4, 8))), is_lenient=True)
    add("a negative shape", _member("label", header_of((-12,), "<i8")))
    add("code in the header", _member("label", lambda content: content.replace(b"True", b"os.x")
        if b"True" in content else content.replace(b"False", b"os.xx")))  # fmt: skip
    add("a name twice", c.edit(file, c.instead(_twice())), is_lenient=True)
    add("objects", of(label=np.array([{}] * 12, object)), is_lenient=True)
    add("a member that leaves the folder", c.edit(file, _with_member("../../source.npy")))
    add("a member that is text", c.edit(file, _with_member("notes.txt")), is_lenient=True)
    add("a single array", c.edit(file, c.instead(npy_bytes(pixels(0, 12, 8, 8)))), is_lenient=True)
    add("frames of floats", of(source=np.zeros((12, 8, 8))), is_lenient=True)
    add("frames of two shapes", of(target=np.zeros((12, 4, 8), np.uint8)), is_lenient=True)
    add("too few labels", of(label=np.arange(11)), is_lenient=True)
    add("labels of NaN", of(label=np.full(12, np.nan)), is_lenient=True)
    add("labels beyond 64 bits", of(label=np.full(12, 2**63, np.uint64)), is_lenient=True)
    add("labels of dates", of(label=np.zeros(12, "M8[s]")), is_lenient=True)
    add("actions of NaN", of(action=np.full((12, 1), np.nan)), is_lenient=True)
    add("actions of text", of(action=np.full((12, 1), "1")), is_lenient=True)
    add("actions between turns", of(action=np.full((12, 1), 0.5)), is_lenient=True)
    add("one action too few", of(action=np.zeros((11, 1))), is_lenient=True)
    add("no array of actions", of(action=None))
    add("an unknown array", of(lable=np.zeros(12)), is_lenient=True)
    add("no rows", of(source=np.zeros((0, 8, 8), np.uint8)), is_lenient=True)
    add("encrypted", c.edit(file, _encrypted), is_lenient=False)
    return found


def _recode(encoding: str) -> Change:
    return lambda content: content.decode().encode(encoding)


def _name(name: str) -> Spoil:
    return c.text("in/pairs.csv", ROW, f"{name},3.npy,3,0")


def _absolute(work: object) -> None:
    c.text("in/pairs.csv", ROW, f"{work}/outside/3.npy,{work}/outside/3.npy,3,0")(work)  # type: ignore[arg-type]


def _subjects(work: object) -> None:
    lines = (work / "labels.csv").read_text().splitlines()  # type: ignore[operator]
    rows = [f"{line},{'p' if number else ''}" for number, line in enumerate(lines[1:])]
    (work / "labels.csv").write_text("\n".join([lines[0], *rows]))  # type: ignore[operator]


def _packed(members: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **members)  # type: ignore[arg-type]
    return file.getvalue()


def _member(name: str, change: Change) -> Spoil:
    """Change one member's content; the archive's checksums are right."""

    def rewrite(content: bytes) -> bytes:
        file = io.BytesIO()
        with (
            zipfile.ZipFile(io.BytesIO(content)) as old,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new,
        ):
            for info in old.infolist():
                data = old.read(info)
                is_it = info.filename == f"{name}.npy"
                new.writestr(info.filename, change(data) if is_it else data)
        return file.getvalue()

    return c.edit("in/pairs.npz", rewrite)


def _with_member(name: str) -> Change:
    def change(content: bytes) -> bytes:
        file = io.BytesIO(content)
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(name, npy_bytes(np.zeros(12)) if name.endswith(".npy") else b"text")
        return file.getvalue()

    return change


def _twice() -> bytes:
    """`source` once as it should be, and once as zeros."""
    import warnings

    file = io.BytesIO(_packed(arrays()))
    with warnings.catch_warnings(), zipfile.ZipFile(file, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("source.npy", npy_bytes(np.zeros((12, 8, 8), np.uint8)))
    return file.getvalue()


def _bomb(num_zeros: int) -> bytes:
    """An archive whose `source` is GiB of zeros."""
    file = io.BytesIO(_packed({k: v for k, v in arrays().items() if k != "source"}))
    header = npy_bytes(np.zeros((12, 8, 8), np.uint8))[:128]
    side = round(num_zeros ** (1 / 3))
    with (
        zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open("source.npy", "w", force_zip64=True) as stream,
    ):
        stream.write(header_of((side, side, side))(header))
        for _ in range(side):
            stream.write(bytes(side * side))
    return file.getvalue()


def _wrong_checksum(content: bytes) -> bytes:
    """The CRC of every member, in its own header and in the directory, is another."""
    changed = bytearray(content)
    rng = random.Random(0)
    for mark, place in ((b"PK\3\4", 14), (b"PK\1\2", 16)):
        start = content.find(mark)
        while start >= 0:
            changed[start + place : start + place + 4] = struct.pack("<I", rng.getrandbits(32))
            start = content.find(mark, start + 4)
    return bytes(changed)


def _encrypted(content: bytes) -> bytes:
    """The flag that says so, set for every member."""
    changed = bytearray(content)
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = content.find(mark)
        while start >= 0:
            changed[start + place] |= 1
            start = content.find(mark, start + 4)
    return bytes(changed)
