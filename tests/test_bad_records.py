"""Protects readers of files that somebody altered: a rule that can tell refuses, in one line.

Each file is one that would load without the rule: a manifest that speaks of other files or
counts, JSON that is nested too deep, a journal that Optuna would replay, archives that unpack
to far more than they are.
"""

import gzip
import hashlib
import io
import json
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from helpers.dicom import write_series
from helpers.idx import idx_bytes
from helpers.programs import start_python
from helpers.searching import LOSS, SPACE
from helpers.volumes import write_nifti
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian

from data_prep.sources.mnist import read_idx
from launch.sweeps.settings import OptunaSearch
from launch.sweeps.study import JOURNAL, SearchStudy, mend_journal
from orbit.core.config.schema import build
from orbit.core.files.atomic import parse_json
from orbit.core.reading import nifti as nifti_file
from orbit.core.reading import numpy_files as expansion
from orbit.core.reading.dicom import find_series
from orbit.core.reading.nifti import read_volume
from orbit.core.reading.pictures import read_picture
from orbit.core.store.manifest import SplitInfo, read_manifest
from pipeline.run_files.checkpoint import Checkpoint, CheckpointStore, DamagedCheckpointError, fill


def altered(root: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A dataset's manifest alone, changed."""
    values = json.loads((root / "manifest.json").read_text())
    change(values)
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    return tmp_path


def train(values: dict[str, Any]) -> dict[str, Any]:
    return values["splits"]["train"]


MANIFESTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a shard outside": (
        lambda m: train(m)["shards"][0].update(file="train/../../x.h5"),
        "is not a path below the dataset",
    ),
    "an absolute path": (
        lambda m: train(m)["shards"][0].update(file="/data/x.h5"),
        "is not a path below the dataset",
    ),
    "other records": (lambda m: train(m).update(num_records=16), "num_records 16 where the shards"),
    "other frames": (lambda m: train(m).update(num_frames=16), "num_frames 16 where the shards"),
    "a count below 0": (
        lambda m: train(m)["shards"][0].update(num_frames=-1),
        "has a number below 0",
    ),
    "broken orbits": (lambda m: train(m).update(records_per_source=0), "does not divide"),
    "a mean of NaN": (lambda m: train(m)["statistics"].update(mean=[float("nan")]), "finite"),
    "a mean too many": (
        lambda m: train(m)["statistics"].update(mean=[0.0, 0.0]),
        "belong to no frames",
    ),
    "statistics of colours": (
        lambda m: train(m)["statistics"].update(mean=[0.0] * 3, std=[1.0] * 3),
        "speaks of 3 channels, frames have 1",
    ),
}


@pytest.mark.parametrize("fault", MANIFESTS)
def test_a_manifest_agrees_with_itself(fault: str, digits_dir: Path, tmp_path: Path) -> None:
    """The fingerprint speaks for the shards' contents alone."""
    change, words = MANIFESTS[fault]
    with pytest.raises(ValueError, match=r"manifest\.json cannot be read: ") as error:
        read_manifest(altered(digits_dir, tmp_path, change))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[" * 100_000, "nested too deep"),
        (b'{"a": ' * 100_000, "nested too deep"),
        (b'{"seed": 0, "seed": 1}', "'seed' is given twice"),
        (b'{"a": [{"b": 1, "b": 1}]}', "'b' is given twice"),
        (b'"\xe9"', "utf-8"),
        (b"[]", "it holds no keys"),
    ],
)
def test_json_that_python_would_choke_on_or_load(text: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(text)
    with pytest.raises(ValueError, match=words):
        read_manifest(tmp_path)
    assert parse_json(b'{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}


def test_a_message_stays_short_whatever_the_value_is() -> None:
    """Aliases of YAML repeat a value 9 times at each level, for nothing."""
    value: Any = "x"
    for _ in range(12):
        value = [value] * 9
    for given in ({"shards": 7, "num_frames": value}, {"num_frames": 1, "statistics": value}):
        with pytest.raises(ValueError) as error:
            build(SplitInfo, {"num_records": 0, "records_per_source": None, **given})
        assert len(str(error.value)) < 500


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A search with one finished trial."""
    study = SearchStudy(tmp_path, search())
    trial = study.ask()
    study.report(trial.number, {10: 0.5})
    study.complete(trial.number, 0.5)
    return tmp_path / JOURNAL


def search() -> OptunaSearch:
    return OptunaSearch("optuna", SPACE, num_trials=3, metric=LOSS, sampler="random")


def rewrite(journal: Path, key: str, value: Any) -> None:
    """Another value for the last record that has this key."""
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    chosen = [record for record in records if record.get(key) is not None]
    chosen[-1][key] = value
    journal.write_text("".join(f"{json.dumps(record)}\n" for record in records))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("op_code", 99),
        ("trial_id", 7),
        ("trial_id", "0"),
        ("study_id", 5),
        ("worker_id", 5),
        ("param_value_internal", 1e9),
        ("distribution", "{"),
        ("values", [float("nan")]),
        ("intermediate_value", float("inf")),
        ("datetime_complete", "soon"),
    ],
)
def test_an_altered_journal_is_named(journal: Path, key: str, value: Any) -> None:
    rewrite(journal, key, value)
    with pytest.raises(ValueError, match=r"optuna\.journal is damaged: ") as error:
        SearchStudy(journal.parent, search())
    assert "\n" not in str(error.value)


def test_a_file_without_records_is_not_emptied(tmp_path: Path) -> None:
    """Only the start of a record is an unfinished line; all else is not ours to cut off."""
    for content in (bytes(4096), b"text", b"\x80\x04cos"):
        (tmp_path / JOURNAL).write_bytes(content)
        with pytest.raises(ValueError, match=r"optuna\.journal is damaged: its last line"):
            mend_journal(tmp_path / JOURNAL)
        assert (tmp_path / JOURNAL).read_bytes() == content


def test_a_journal_of_something_else_is_named(journal: Path) -> None:
    for content in (b"text\n", b"[]\n", b"7\n", b"\xff\xfe\n", journal.read_bytes() * 2):
        journal.write_bytes(content)
        with pytest.raises(ValueError, match=r"optuna\.journal is damaged: "):
            SearchStudy(journal.parent, search())


def png(header: tuple[int, ...], data: bytes) -> bytes:
    """A picture of this header and pixels, packed; its checksums are right."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", *header)),
        (b"IDAT", zlib.compress(data)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


@pytest.mark.parametrize(
    ("header", "num_bytes"),
    [((5, 4, 8, 0, 0, 0, 0), 24), ((5, 4, 1, 0, 0, 0, 0), 8), ((5, 4, 8, 2, 0, 0, 1), 68)],
)
def test_a_png_holds_the_rows_that_its_header_states(
    header: tuple[int, ...], num_bytes: int, tmp_path: Path
) -> None:
    """Pillow fills what is missing with zeros."""
    path = tmp_path / "a.png"
    path.write_bytes(png(header, bytes(num_bytes)))
    assert read_picture(path, True, None).shape == (1, 4, 5)
    path.write_bytes(png(header, bytes(num_bytes - 1)))
    with pytest.raises(ValueError, match=r"a\.png cannot be decoded: its pixels end after"):
        read_picture(path, True, None)


def test_libtiff_prints_nothing_of_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.tif"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    for compression in ("tiff_deflate", "tiff_lzw"):
        Image.fromarray(noise).save(path, compression=compression)
        content = path.read_bytes()
        path.write_bytes(content[:60] + bytes(1000) + content[1060:])
        with pytest.raises(ValueError, match=r"a\.tif cannot be decoded"):
            read_picture(path, True, None)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_a_tiff_cut_off_is_told_in_one_line(share: float, tmp_path: Path) -> None:
    """Without what Pillow warns of, which tests do not show, and without tags that it made up."""
    path = tmp_path / "a.tif"
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(path, compression="tiff_lzw")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with warnings.catch_warnings(action="error"), pytest.raises(ValueError) as error:
        read_picture(path, True, None)
    assert str(path) in str(error.value)
    assert "None" not in str(error.value)


def spoilt_nifti(path: Path, place: int, value: bytes) -> Path:
    write_nifti(path, np.zeros((8, 8, 8), np.int16))
    content = path.read_bytes()
    path.write_bytes(content[:place] + value + content[place + len(value) :])
    return path


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (72, struct.pack("<h", 64), "64 bits a voxel for values of int16"),
        (40, struct.pack("<4h", 3, 8, 8, 9), "is cut off: it has 1376 bytes, but its header says"),
        (40, struct.pack("<4h", 3, 32000, 32000, 32000), "is cut off"),
        (70, struct.pack("<h", 77), "data code 77 not recognized"),
        (108, struct.pack("<f", -16), "vox offset"),
    ],
)
def test_a_nifti_header_agrees_with_its_file(
    place: int, value: bytes, words: str, tmp_path: Path
) -> None:
    """Found with the headers, before any voxel is read; and nibabel prints nothing."""
    path = spoilt_nifti(tmp_path / "a.nii", place, value)
    code = (
        "from pathlib import Path; from orbit.core.reading.nifti import read_header\n"
        f"try: read_header(Path({str(path)!r}), 'nifti')\n"
        "except ValueError as error: print(error)"
    )
    done = start_python(code)
    out, err = done.communicate()
    assert words in out
    assert str(path) in out
    assert err == ""


def test_a_packed_nifti_ends_with_its_voxels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a stream of zeros without end would be unpacked to its end."""
    monkeypatch.setattr(nifti_file, "CHUNK_BYTES", 100)
    path = write_nifti(tmp_path / "a.nii.gz", np.zeros((8, 8, 8), np.int16))
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content + bytes(500)))
    with pytest.raises(ValueError, match="it continues after its voxels"):
        read_volume(path, "nifti")


def test_gzip_that_unpacks_to_far_more_than_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what the header says: before memory is taken for it."""
    monkeypatch.setattr(expansion, "HARMLESS_BYTES", 2**16)
    (tmp_path / "images.gz").write_bytes(gzip.compress(idx_bytes(np.zeros((400, 28, 28)))))
    with pytest.raises(ValueError, match=r"images\.gz unpacks to .* unpack it yourself"):
        read_idx(tmp_path / "images.gz")
    path = write_nifti(tmp_path / "a.nii.gz", np.zeros((60, 60, 60), np.float32))
    with pytest.raises(ValueError, match=r"a\.nii\.gz unpacks to .* unpack it yourself"):
        read_volume(path, "nifti")


def test_a_packed_idx_file_has_the_length_of_its_header(tmp_path: Path) -> None:
    content, path = idx_bytes(np.arange(24).reshape(2, 3, 4)), tmp_path / "images.gz"
    for wrong in (content[:-1], content + b"\0", content[:6], b"", content[:4] + content[8:]):
        path.write_bytes(gzip.compress(wrong))
        with pytest.raises(ValueError, match=r"images\.gz"):
            read_idx(path)
    giant = content[:4] + struct.pack(">3I", 2**31, 2**20, 2**20)
    path.write_bytes(gzip.compress(giant))
    with pytest.raises(ValueError, match=r"images\.gz unpacks to"):
        read_idx(path)
    path.write_bytes(gzip.compress(content))
    np.testing.assert_array_equal(read_idx(path), np.arange(24).reshape(2, 3, 4))


def saved(state: Any) -> bytes:
    """What torch writes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


META: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another step": (lambda meta: meta.update(step=2), "it is for step 2"),
    "a step of text": (lambda meta: meta.update(step="1"), "'1' is not a step"),
    "another size": (lambda meta: meta["files"]["state.pt"].update(size=1), "bytes, not 1"),
    "a list": (lambda meta: meta.update(files=[]), "meta.json cannot be read"),
}


@pytest.mark.parametrize("fault", META)
def test_a_checkpoint_agrees_with_its_record(fault: str, tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(1, {"w": torch.zeros(2)}, {}, {"dataset": "x"})
    change, words = META[fault]
    file = store.path(1) / "meta.json"
    meta = json.loads(file.read_text())
    change(meta)
    file.write_text(json.dumps(meta))
    with pytest.raises(DamagedCheckpointError, match="is damaged") as error:
        store.load(1)
    assert words in str(error.value)


@pytest.mark.parametrize("content", [b"text", b"", saved(torch.zeros(2)), saved([1])])
def test_a_state_that_is_none_is_named(content: bytes, tmp_path: Path) -> None:
    """Its checksum is right: whoever altered it made it fit."""
    store = CheckpointStore(tmp_path)
    store.save(1, {"w": torch.zeros(2)}, {}, {"dataset": "x"})
    (store.path(1) / "state.pt").write_bytes(content)
    file = store.path(1) / "meta.json"
    meta = json.loads(file.read_text())
    sums = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    meta["files"]["state.pt"] = sums
    file.write_text(json.dumps(meta))
    with pytest.raises(ValueError, match=r"step_00000001 (cannot be read|is damaged)"):
        store.load(1)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", '{"step": "../1"}', '{"step": true}'])
def test_a_pointer_that_names_no_step_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "best.json").write_text(text)
    with pytest.raises(ValueError, match=r"best\.json cannot be read"):
        CheckpointStore(tmp_path).resolve("best")


def test_weights_of_another_type_are_not_converted(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    weights = {name: values.to(torch.int32) for name, values in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"do not fit this model: weight is of torch\.int32"):
        fill(model, Checkpoint(1, weights, {}, {}), tmp_path)


def test_dicom_files_are_measured_before_their_pixels_are_read(tmp_path: Path) -> None:
    """Otherwise the giant would set the extent of all series."""
    volume = np.zeros((4, 8, 8), np.int16)
    write_series(tmp_path / "a", volume)
    assert len(find_series(tmp_path, "source.root")[0]) == 1
    write_series(tmp_path / "b", volume, uid="1.9", Rows=65535)
    with pytest.raises(ValueError, match=r"/b/file.* is cut off: it has \d+ bytes for 5"):
        find_series(tmp_path, "source.root")


def test_deflated_dicom_that_unpacks_to_far_more_than_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expansion, "HARMLESS_BYTES", 2**16)
    paths = write_series(tmp_path / "a", np.zeros((4, 700, 700), np.int16))
    assert len(find_series(tmp_path, "source.root")[0]) == 1
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(path)
    with pytest.raises(ValueError, match=r"/a/file.* unpacks to .* save it without deflating it"):
        find_series(tmp_path, "source.root")
