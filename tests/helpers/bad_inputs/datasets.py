"""Bad datasets: manifest.json and shards."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from helpers.bad_inputs import case as c
from helpers.bad_inputs.case import Case, Spoil, Wanted
from helpers.bad_inputs.material import TRAINING

MANIFEST = "data/manifest.json"
SHARD = "data/train/*.h5"
VERIFY = ("data_prep/verify.py", ("WORK/data",))
SHOW = ("data_prep/show.py", ("WORK/data", "out=WORK/sheet.png"))
TRAIN = ("pipeline/train.py", (*TRAINING, "data=WORK/data", "run_dir=WORK/run"))

Program = tuple[str, tuple[str, ...]]


def cases() -> list[Case]:
    return [*_manifest(), *_shards()]


def _manifest() -> list[Case]:
    found = []

    def add(
        name: str, spoil: Spoil, is_lenient: bool = True, wanted: Wanted = "refused",
        programs: tuple[Program, ...] = (VERIFY,), names: tuple[str, ...] = ("manifest.json",),
    ) -> None:  # fmt: skip
        for program, words in programs:
            title = name if program == VERIFY[0] else f"{name}, {Path(program).name}"
            found.append(
                Case(
                    "manifest.json", title, "dataset", spoil, program, words, names, is_lenient,
                    wanted,
                )
            )  # fmt: skip

    def value(*keys: str | int, to: Any) -> Spoil:
        def change(manifest: Any) -> None:
            place = manifest
            for key in keys[:-1]:
                place = place[key]
            place[keys[-1]] = to

        return c.edit_json(MANIFEST, change)

    for name, content in c.NO_FILES.items():
        add(name, c.edit(MANIFEST, c.instead(content)), is_lenient=False)
    add("cut off", c.edit(MANIFEST, c.cut(0.7)), is_lenient=False)
    add("missing", c.remove(MANIFEST), is_lenient=False, programs=(VERIFY, TRAIN))
    add("a list", c.edit(MANIFEST, c.instead(b"[]")), programs=(VERIFY, SHOW, TRAIN))
    add("a number", c.edit(MANIFEST, c.instead(b"1")))
    add("brackets without end", c.edit(MANIFEST, c.instead(b"[" * 200000)), is_lenient=False)
    add("text after its end", c.edit(MANIFEST, c.longer(b"{}")), is_lenient=False)
    add(
        "an invalid byte",
        c.text(MANIFEST, "image_folder", "image\\ud800folder", 1),
        wanted="either",
    )
    add("a key twice", c.pattern(MANIFEST, r'"seed": 0', '"seed": 0, "seed": 1'))
    add("a newer schema", value("schema_version", to=3))
    add("an unknown key", value("colour", to="red"))
    add("another group", value("group", to="d4"))
    add("an unknown group", value("group", to="c5"))
    add("a wrong fingerprint", value("fingerprint", to="0" * 64))
    add("frames of another shape", value("frames", "shape", to=[1, 4, 16]))
    add("frames of a giant shape", value("frames", "shape", to=[1, 2**20, 2**20]))
    add("frames of float16", value("frames", "dtype", to="float16"))
    add("a stored range of NaN", value("frames", "stored_range", to=[math.nan, 255.0]))
    add("a shard that leaves the folder", _shard_elsewhere("../outside.h5"),
        programs=(VERIFY, SHOW, TRAIN))  # fmt: skip
    add("a shard by its absolute path", _shard_elsewhere("WORK/outside.h5"))
    add("a shard less", c.edit_json(MANIFEST, lambda m: m["splits"]["train"]["shards"].clear()))
    add("a wrong number of records", value("splits", "train", "num_records", to=7),
        programs=(VERIFY, TRAIN))  # fmt: skip
    add("a wrong number of frames", value("splits", "train", "num_frames", to=7))
    add("a negative number of records", value("splits", "train", "num_records", to=-8))
    add("2^62 records", value("splits", "train", "num_records", to=2**62), programs=(VERIFY, TRAIN))
    add("records of half a number", value("splits", "train", "num_records", to=8.5))
    add("a mean of infinity", value("splits", "train", "statistics", "mean", to=[math.inf]))
    add("a negative deviation", value("splits", "train", "statistics", "std", to=[-1.0]))
    add("two means of one channel", value("splits", "train", "statistics", "mean", to=[0.0, 0.0]))
    add("orbits of 3", value("splits", "train", "records_per_source", to=3))
    add(
        "no split val",
        c.edit_json(MANIFEST, lambda manifest: manifest["splits"].pop("val") and None),
        programs=(TRAIN,),
        names=("manifest.json", "val"),
    )
    return found


def _shards() -> list[Case]:
    found = []

    def add(
        name: str, spoil: Spoil, is_lenient: bool = True, programs: tuple[Program, ...] = (VERIFY,),
        wanted: Wanted = "refused",
    ) -> None:  # fmt: skip
        for program, words in programs:
            title = name if program == VERIFY[0] else f"{name}, {Path(program).name}"
            names = ("data/train/",)
            found.append(
                Case("shards", title, "dataset", spoil, program, words, names, is_lenient, wanted)
            )

    everyone = (VERIFY, SHOW, TRAIN)
    for name, content in c.NO_FILES.items():
        add(name, c.edit_newest(SHARD, c.instead(content)), is_lenient=False)
    add("cut off", c.edit_newest(SHARD, c.cut(0.8)), is_lenient=False, programs=everyone)
    add("a byte too many", c.edit_newest(SHARD, c.longer(b"\0")), programs=everyone)
    add("missing", _remove_newest, is_lenient=False, programs=everyone)
    add("a bit of a frame", c.edit_newest(SHARD, c.flip(0, -300)))
    for seed in range(4):
        add(f"a bit of the header, {seed}", c.edit_newest(SHARD, c.flip(seed, 0, 600)))
    add("a signature of zeros", c.edit_newest(SHARD, c.put(0, bytes(8))), is_lenient=False,
        programs=everyone)  # fmt: skip
    add("the shard of another split", _other_split, programs=(VERIFY,))
    add("a link to itself", _link_to_itself, is_lenient=False)
    for name, change in HDF5.items():
        add(f"{name}, wrong checksum", _edit_hdf5(change, False))
        add(f"{name}, right checksum", _edit_hdf5(change, True), programs=(VERIFY,))
    add("giant frames", _edit_hdf5(_giant, True), programs=everyone)
    return found


def _replace(file: h5py.File, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    values = change(file[name][...])
    del file[name]
    file[name] = values


def _giant(file: h5py.File) -> None:
    """Frames of 1 TiB of which nothing is stored."""
    del file["frames"]
    file.create_dataset("frames", (2**30, 1, 32, 32), "uint8", chunks=(1, 1, 32, 32))


HDF5: dict[str, Callable[[h5py.File], None]] = {
    "a source outside of the frames": lambda file: file["source"].write_direct(
        np.full(len(file["source"]), 10**6)
    ),
    "a negative target": lambda file: file["target"].write_direct(np.full(len(file["target"]), -1)),
    "an action of NaN": lambda file: file["action"].write_direct(
        np.full(file["action"].shape, np.nan, np.float32)
    ),
    "an action of 7": lambda file: file["action"].write_direct(
        np.full(file["action"].shape, 7, np.float32)
    ),
    "other actions": lambda file: file["action"].write_direct(
        (file["action"][...] + 1) % np.float32(4)
    ),
    "targets as 32 bits": lambda file: _replace(file, "target", lambda v: v.astype(np.int32)),
    "labels as floats": lambda file: _replace(file, "label", lambda v: v.astype(np.float64)),
    "a label less": lambda file: _replace(file, "label", lambda v: v[:-1]),
    "frames in chunks": lambda file: _chunked(file),
}


def _chunked(file: h5py.File) -> None:
    values = file["frames"][...]
    del file["frames"]
    file.create_dataset("frames", data=values, chunks=True, compression="gzip")


def _edit_hdf5(change: Callable[[h5py.File], None], is_refitted: bool) -> Spoil:
    def spoil(work: Path) -> None:
        from helpers.spoiling import refit_manifest

        with h5py.File(max(work.glob(SHARD)), "r+") as file:
            change(file)
        if is_refitted:
            refit_manifest(work / "data")

    return spoil


def _shard_elsewhere(name: str) -> Spoil:
    """The shard lies outside, whole, and the manifest says so."""

    def spoil(work: Path) -> None:
        path = max(work.glob(SHARD))
        path.rename(work / "outside.h5")
        own = path.relative_to(work / "data").as_posix()
        c.text(MANIFEST, own, name.replace("WORK", str(work)))(work)

    return spoil


def _remove_newest(work: Path) -> None:
    max(work.glob(SHARD)).unlink()


def _other_split(work: Path) -> None:
    from helpers.spoiling import refit_manifest

    path = max(work.glob(SHARD))
    path.write_bytes(max(work.glob("data/val/*.h5")).read_bytes())
    refit_manifest(work / "data")


def _link_to_itself(work: Path) -> None:
    path = max(work.glob(SHARD))
    path.unlink()
    path.symlink_to(path.name)
