"""Protects what users write in tables: each text means one thing, or is refused with its line.

Labels, subjects, numbers of actions, columns and delimiters; the names of files stay in the
folder of the table. What pandas and spreadsheets write is read, or its cause is named.
"""

import io
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.programs import REPOSITORY, call
from hypothesis import given
from hypothesis import strategies as st

from data_prep.settings.sources import MedmnistSourceConfig
from data_prep.sources.adrenal import AdrenalSource
from launch.cluster.settings import minutes_of
from orbit.core.groups import make_group
from orbit.core.groups.words import read_elements
from orbit.core.reading import numpy_files as expansion
from orbit.core.reading import pairs_csv as csv_table
from orbit.core.reading.files import number_labels
from orbit.core.reading.numpy_files import load_npy, load_npz
from orbit.core.reading.pairs import read_npz_pairs
from orbit.core.reading.pairs_csv import read_csv_pairs, read_csv_table
from orbit.core.reading.volumes import read_table
from pipeline.run_files.checkpoint import CheckpointStore
from pipeline.training.distributed import JOIN_TIMEOUT_S, join_timeout_s


def labels_of(texts: list[str]) -> tuple[list[int], list[str]]:
    labels, names = number_labels(texts, lambda row: f"row {row}")
    return labels.tolist(), names


@pytest.mark.parametrize(
    ("texts", "labels", "names"),
    [
        (["11", "7", "-3", "0"], [11, 7, -3, 0], []),
        (["1_1", "11"], [1, 0], ["11", "1_1"]),
        (["007", "7"], [0, 1], ["007", "7"]),
        (["+7", "7"], [0, 1], ["+7", "7"]),
        (["٧", "7"], [1, 0], ["7", "٧"]),
        (["1.0", "2.0", "10.0"], [1, 2, 10], []),
        (["1.", "-2.00"], [1, -2], []),
        (["-0.0", "3.0"], [0, 3], []),
        (["1.5", "2.0", "10.0"], [0, 2, 1], ["1.5", "10.0", "2.0"]),
        (["none", "Nan", "cat"], [2, 0, 1], ["Nan", "cat", "none"]),
    ],
)
def test_a_label_is_an_integer_only_as_it_is_plainly_written(
    texts: list[str], labels: list[int], names: list[str]
) -> None:
    assert labels_of(texts) == (labels, names)


@given(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=8))
def test_different_labels_never_become_one(texts: list[str]) -> None:
    """Whatever the texts are: they keep apart, or the column is refused."""
    try:
        labels, _ = labels_of(texts)
    except ValueError:
        return
    assert len(set(labels)) == len({text.rstrip("\0") for text in texts})


@pytest.mark.parametrize("text", ["", " ", "nan", "NaN", "NA", "None", "<NA>", "null", "n/a"])
def test_a_missing_label_is_refused_with_its_row(text: str) -> None:
    for others in (["3", "4"], ["cat", "dog"], ["1.0", "2.0"]):
        with pytest.raises(ValueError, match="row 2 has no label"):
            labels_of([*others, text])


@pytest.mark.parametrize(
    ("first", "second"), [("2", "2.0"), ("2.0", "2.00"), ("0.0", "-0.0"), ("é", "e\u0301")]
)
def test_one_label_in_two_spellings_is_refused(first: str, second: str) -> None:
    with pytest.raises(ValueError, match=r"row 1: label .* of row 0 in another spelling"):
        labels_of([first, second])


def write_pairs(root: Path, text: str, encoding: str = "utf-8", num: int = 4) -> Path:
    for number in range(num):
        np.save(root / f"{number}.npy", np.full((4, 4), number, np.uint8))
    path = root / "pairs.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("text", ["0_1", "1_0", "٣", "nan", "inf", "1e999", "0x1", "1,0", " "])
def test_an_action_is_a_plain_number(tmp_path: Path, text: str) -> None:
    path = write_pairs(
        tmp_path, f'source,target,quarter_turns\n0.npy,1.npy,1\n2.npy,3.npy,"{text}"'
    )
    with pytest.raises(ValueError, match=r"pairs\.csv, line 3: quarter_turns="):
        read_csv_pairs(path, "c4")


def test_actions_are_read_as_pandas_writes_them(tmp_path: Path) -> None:
    rows = "source,target,cosine,sine\n0.npy,1.npy,6.123e-17,1.0\n2.npy,3.npy,-1,0.0"
    pairs = read_csv_pairs(write_pairs(tmp_path, rows), "so2")
    np.testing.assert_allclose(pairs.action, [[0, 1], [-1, 0]], atol=1e-6)


HEADER = "source,target,quarter_turns"


@pytest.mark.parametrize(
    ("text", "encoding", "fault"),
    [
        (f"{HEADER}\n0.npy,1.npy,1".replace(",", ";"), "utf-8", "is separated by semicolons"),
        (f"{HEADER}\n0.npy,1.npy,1".replace(",", "\t"), "utf-8", "is separated by tabs"),
        (f"{HEADER}\n0.npy,1.npy,1".replace(",", " | "), "utf-8", "separated by vertical bars"),
        (f"{HEADER}\n0.npy,1.npy,1", "utf-16", "is UTF-16: save it as CSV in UTF-8"),
        (f"{HEADER}\n0.npy,1.npy,1", "utf-16-le", "is UTF-16 "),
        (f"{HEADER}\n0.npy,1.npy,1\nö.npy,1.npy,1", "latin-1", "line 3, byte 0xf6"),
        (f"{HEADER}\n0.npy,1.npy,1\na\\,b.npy,1.npy,1", "utf-8", "line 3: 4 values in 3 columns: "),
        (f"{HEADER}\n0.npy,1.npy", "utf-8", "line 2: 2 values in 3 columns"),
        (f',{HEADER}\n0,0.npy,1.npy,1', "utf-8", "index=False keeps pandas from"),
        (f'{HEADER}\n"0.npy,1.npy,1\n2.npy,3.npy,1', "utf-8", "is not a CSV file: line 3"),
        (f"{HEADER},source\n0.npy,1.npy,1,2.npy", "utf-8", "has column source twice"),
        (f"{HEADER}\n0.npy,1\0.npy,1", "utf-8", "is not text"),
    ],
)  # fmt: skip
def test_a_table_of_another_kind_is_named(
    tmp_path: Path, text: str, encoding: str, fault: str
) -> None:
    path = write_pairs(tmp_path, text, encoding)
    with pytest.raises(ValueError) as error:
        read_csv_pairs(path, "c4")
    assert fault in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_the_table_of_volumes_is_read_by_the_same_reader(tmp_path: Path) -> None:
    """Its quotes, lengths and columns were looked at less: the last of two labels won."""
    path = tmp_path / "t.csv"
    for text, fault in (
        ("file;label\na.nii;1", "separated by semicolons"),
        ("file,label,label\na.nii,1,2", "has column label twice"),
        ("file,label\na.nii,1,9", "line 2: 3 values in 2 columns"),
        (
            "file,label\nb\\a.nii,1",
            "line 2 names 'b\\\\a.nii', which is not below source.root: wri",
        ),
        ("file,label,subject\nb/a.nii,1,NA", "line 2, file b/a.nii has no subject"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError) as error:
            read_table(path, ["b/a.nii"])
        assert fault in str(error.value)
    path.write_text("age,file,label\n30,b/a.nii,1")
    assert read_table(path, ["b/a.nii"]).labels.tolist() == [1]


def test_a_table_with_an_endless_line_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_table, "MAX_LINE", 1000)
    path = tmp_path / "t.csv"
    path.write_text("file,label\n" + "a" * 5000)
    with pytest.raises(ValueError, match=r"t\.csv, line 2 has 1000 characters or more"):
        read_csv_table(path, ("file", "label"), ())


@pytest.mark.parametrize("name", ["../out.npy", "sub/../../out.npy", "{root}/out.npy"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "in"
    (root / "sub").mkdir(parents=True)
    np.save(tmp_path / "out.npy", np.zeros((4, 4), np.uint8))
    text = f"{HEADER}\n0.npy,1.npy,1\n2.npy,{name.format(root=tmp_path)},1"
    with pytest.raises(ValueError, match=r"line 3: .* is outside the folder of the table"):
        read_csv_pairs(write_pairs(root, text), "c4")


def test_a_linked_folder_and_dots_within_are_read(tmp_path: Path) -> None:
    """A link is the user's own: data often lies on another disk."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "elsewhere" / "a.npy", np.zeros((4, 4), np.uint8))
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    text = f"{HEADER}\nlinked/a.npy,linked/../0.npy,1"
    assert read_csv_pairs(write_pairs(tmp_path / "in", text), "c4").frames.shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("b\\\\0.npy", "is missing: write paths with /"),
        ("gone.npy", "is missing"),
        ("b", "is a directory"),
        ("x" * 300 + ".npy", "File name too long"),
        ("closed.npy", "may not be read"),
    ],
)
def test_every_file_of_a_table_is_looked_at_first(
    tmp_path: Path, name: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b").mkdir()
    np.save(tmp_path / "b" / "0.npy", np.zeros((4, 4), np.uint8))
    np.save(tmp_path / "closed.npy", np.zeros((4, 4), np.uint8))
    real = os.open

    def closed(path: Path, *arguments: int) -> int:
        if Path(path).name == "closed.npy":
            raise PermissionError
        return real(path, *arguments)

    monkeypatch.setattr(os, "open", closed)
    text = f"{HEADER}\n0.npy,1.npy,1\n2.npy,{name},1".replace("\\\\", "\\")
    with pytest.raises((ValueError, OSError), match=f"line 3: .*{fault}"):
        read_csv_pairs(write_pairs(tmp_path, text), "c4")


def arrays(**changed: Any) -> dict[str, Any]:
    frames = np.zeros((3, 4, 4), np.uint8)
    return {"source": frames, "target": frames, "action": np.zeros((3, 1)), **changed}


def test_labels_of_an_npz_may_be_whole_floats(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays(label=np.array([1.0, 2.0, 10.0])))
    assert read_npz_pairs(path, "c4").label.tolist() == [1, 2, 10]
    np.savez(path, **arrays(label=np.array([1.0, np.nan, 10.0])))
    with pytest.raises(ValueError, match=r"a\.npz, row 1 has no label"):
        read_npz_pairs(path, "c4")


def npy(array: np.ndarray, shape: tuple[int, ...] | None = None) -> bytes:
    """An NPY file, with another shape in its header if one is given."""
    file = io.BytesIO()
    header = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(file, {**header, "shape": shape or array.shape})
    return file.getvalue() + array.tobytes()


def write_npz(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize("shape", [(2**40,), (5,), (-1, 4), (7,)])
def test_a_header_that_lies_about_its_array_is_refused_before_it_is_read(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    array = np.arange(6, dtype=np.uint8)
    path = write_npz(tmp_path / "a.npz", label=npy(array, shape))
    with pytest.raises(ValueError, match=r"a\.npz"):
        load_npz(path)
    (tmp_path / "a.npy").write_bytes(npy(array, shape))
    with pytest.raises(ValueError, match=r"a\.npy"):
        load_npy(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(npy(array) + b"\0")
    with pytest.raises(ValueError, match="bytes, but its header says"):
        load_npy(tmp_path / "a.npy")


def test_an_archive_that_unpacks_to_far_more_than_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For tables of pairs, and for the shapes of glands as well."""
    monkeypatch.setattr(expansion, "HARMLESS_BYTES", 2**18)
    blank = np.zeros((40, 28, 28, 28), np.uint8)
    path = write_npz(tmp_path / "a.npz", source=npy(blank), train_images=npy(blank))
    for read in (
        lambda: read_npz_pairs(path, "c4"),
        lambda: (
            AdrenalSource(MedmnistSourceConfig("medmnist", str(path), check_md5=False)).num_images
        ),
    ):
        with pytest.raises(ValueError, match=r"a\.npz unpacks to .* times its size; if that is"):
            read()
    noise = np.random.default_rng(0).integers(0, 256, blank.shape, np.uint8)
    assert load_npz(write_npz(path, source=npy(noise)))["source"].shape == blank.shape


def test_a_name_twice_in_an_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", npy(np.zeros(3)))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.npy", npy(np.ones(3)))
    with pytest.raises(ValueError, match="holds a twice"):
        load_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("numbers", ["08:2", "8:02", "1_0:2", "٨:2", "8.0:2", "+8:2"])
def test_numbers_of_a_group_are_plainly_written(numbers: str) -> None:
    with pytest.raises(ValueError, match="is not a whole number of pixels"):
        make_group(f"wrap2d:{numbers}")


@pytest.mark.parametrize("size", ["1_0", "٣", "inf", "0x3"])
def test_a_greatest_shift_is_plainly_written(size: str) -> None:
    with pytest.raises(ValueError, match=r"MAX .* is not a number"):
        make_group(f"so2+shift:28:{size}")


@pytest.mark.parametrize("text", ["3_0", "٣٠", "infinity", "30 + (1_0, 0)"])
def test_an_angle_is_plainly_written(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number"):
        read_elements(make_group("so2+shift:28:10"), text)


@pytest.mark.parametrize("name", ["²", "٣", "007", "+7", "-1", "1_0", "7.0"])
def test_a_step_is_plainly_written(tmp_path: Path, name: str) -> None:
    store = CheckpointStore(tmp_path)
    with pytest.raises(ValueError, match=f"checkpoint={re.escape(name)} is not allowed"):
        store.resolve(name)
    assert store.resolve("7") == 7


@pytest.mark.parametrize("text", ["", "soon", "1_0", "nan", "-5"])
def test_a_period_in_the_environment_is_plainly_written(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(JOIN_TIMEOUT_S, text)
    with pytest.raises(ValueError, match=f"{JOIN_TIMEOUT_S}={text} must be a positive number"):
        join_timeout_s()


def test_a_time_of_slurm_has_plain_digits() -> None:
    assert minutes_of("01:30:00") == 90
    for text in ("١:٣٠:٠٠", "1_0", "²"):
        with pytest.raises(ValueError, match="cannot be read"):
            minutes_of(text)


def documented_columns() -> dict[str, tuple[str, ...]]:
    """Specification to columns, from the table of groups in the documentation."""
    found = {}
    for line in (REPOSITORY / "docs/datasets.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        is_group = len(cells) == 4 and cells[3] in ("yes", "interpolates")
        if is_group:
            (spec,) = re.findall("`(.+?)`", cells[0])
            found[spec] = tuple(re.findall("`(.+?)`", cells[2]))
    return found


def test_the_documentation_names_the_columns_of_every_group() -> None:
    from orbit.core.groups.words import PLAIN, SHIFTED, WRAPPED

    documented = documented_columns()
    assert {spec.split(":")[0] for spec in documented} == {*PLAIN, *WRAPPED, *SHIFTED}
    for spec, columns in documented.items():
        group = make_group(spec.replace(":P", ":8").replace(":S", ":2").replace(":M", ":2"))
        assert columns == tuple(component.name for component in group.action_components), spec


def test_a_table_as_the_documentation_says_is_prepared(tmp_path: Path) -> None:
    columns = ",".join(documented_columns()["so2"])
    (tmp_path / "in").mkdir()
    lines = [f"{n}.npy,{n}.npy,1,0,{float(n % 3)}" for n in range(12)]
    path = write_pairs(
        tmp_path / "in", "\n".join([f"source,target,{columns},label", *lines]), num=12
    )
    words = (f"source.root={path}", "dataset.group=so2", f"out={tmp_path / 'out'}", "num_workers=1")
    done = call("data_prep/prepare.py", "dataset=pairs_table", *words)
    assert done.code == 0, done.err
