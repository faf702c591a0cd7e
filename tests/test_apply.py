"""Protects what a user gets for files of their own: the model's output, under the right element,
in files of the right kind, or one line that says why not."""

import json
import os
import shutil
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel
import numpy as np
import pytest
import torch
from helpers.preparing import prepare
from helpers.programs import Outcome, call
from helpers.training import make_config, never_stop
from matplotlib.figure import Figure
from PIL import Image

from orbit.core.groups import make_group
from orbit.core.groups.interpolation import inscribed
from orbit.core.reading.nifti import read_volume
from orbit.core.reading.pictures import read_picture
from orbit.core.store.manifest import FrameSpec, Manifest, read_manifest
from orbit.core.store.origin import Named, Orbits, Scene
from orbit.core.store.reader import PairStore
from pipeline.application.apply_run import to_file_values, write_nifti
from pipeline.application.reading import (
    Preparation,
    file_labels,
    find_inputs,
    make_preparation,
    read_frame,
)
from pipeline.methods.latent_action.pictures.elements import predict
from pipeline.runs import load_run
from pipeline.settings import ApplyConfig
from pipeline.training.run import train

NOT_UTF8 = os.fsdecode(b"caf\xe9")
PROGRAM = "pipeline/apply.py"


def write_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def grey(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.fixture(scope="module")
def volume_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on cubes of 8 voxels a side that were padded and resampled from NPY files."""
    folder = tmp_path_factory.mktemp("volumes")
    (folder / "files").mkdir()
    rng = np.random.default_rng(0)
    for index in range(6):
        np.save(folder / f"files/{index}.npy", rng.random((10, 12, 8), np.float32))
    words = ["dataset=volume_folder", f"source.root={folder}/files", "source.side=8"]
    prepare(folder / "data", *words)
    words = ["experiment=volume_folder", "epochs=1", "global_batch=4", "task.model.width=4"]
    config = make_config(folder / "data", folder / "run", *words, "collapse.action=warn")
    train(config, never_stop())
    return folder / "run"


def test_outputs_are_those_of_evaluation(
    digits_run: Path, digits_dir: Path, tmp_path: Path
) -> None:
    """Test images as PNG files come back as the model predicts them, element by element."""
    records = PairStore(digits_dir).split("test").read(np.arange(12))
    run = load_run(digits_run)
    wanted = np.rint(predict(run, records.source, records.action) * 255).astype(np.uint8)
    names = run.group.names(run.group.decode(torch.from_numpy(records.action)))
    for index, frame in enumerate(records.source):
        write_png(tmp_path / f"in/{index:02}.png", frame[0])
    outcome = call(PROGRAM, str(digits_run), f"images={tmp_path}/in", "element=all", "batch=5",
                   f"out={tmp_path}/out")  # fmt: skip
    assert outcome.code == 0, outcome.err
    for index, name in enumerate(names):
        found = grey(tmp_path / f"out/{index:02}__{name}.png")
        assert np.abs(found.astype(int) - wanted[index, 0]).max() <= 1
    assert len(list((tmp_path / "out").glob("*__*.png"))) == 48
    assert (tmp_path / "out/sheet.png").is_file()
    record = json.loads((tmp_path / "out/applied.json").read_text())
    assert record["elements"] == {"0": [0.0], "90": [1.0], "180": [2.0], "270": [3.0]}
    assert record["files"][f"{tmp_path}/in/03.png"][1] == "03__90.png"


def test_results_lie_in_the_run_directory_unless_told_otherwise(
    digits_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(digits_run, run)
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "one.png")
    outcome = call("pipeline/apply.py", str(run), f"images={tmp_path / 'one.png'}", "element=90")
    assert (outcome.code, (run / "applied/one__90.png").is_file()) == (0, True)


def test_folders_below_stay_folders(digits_run: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a/x", "b/x", "y"):
        write_png(tmp_path / f"in/{name}.png", rng.integers(0, 255, (16, 16), np.uint8))
    (tmp_path / "in/.hidden").write_text("no picture")
    words = [f"images={tmp_path}/in", "element=[90, 270]", f"out={tmp_path}/out", "sheet=false"]
    assert call(PROGRAM, str(digits_run), *words).code == 0
    made = {path.relative_to(tmp_path / "out").as_posix() for path in tmp_path.glob("out/**/*.png")}
    names = {f"{stem}__{g}.png" for stem in ("a/x", "b/x", "y") for g in (90, 270)}
    assert made == names
    again = call(PROGRAM, str(digits_run), *words)
    assert "overwrite=true" in again.error_line
    assert call(PROGRAM, str(digits_run), *words, "overwrite=true").code == 0


def test_volumes_come_back_as_they_came(volume_run: Path, tmp_path: Path) -> None:
    """NPY as NPY, NIfTI as NIfTI in whose file the axes stand as in the one it came from."""
    rng = np.random.default_rng(1)
    volume = rng.random((10, 10, 10), np.float32)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in/a.npy", volume)
    ras = np.ascontiguousarray(volume[:, ::-1].transpose(2, 1, 0))
    nibabel.save(nibabel.Nifti1Image(ras, np.diag([2.0, 2.0, 2.0, 1.0])), tmp_path / "in/b.nii.gz")
    words = [f"images={tmp_path}/in", "element=all", f"out={tmp_path}/out"]
    outcome = call(PROGRAM, str(volume_run), *words)
    assert outcome.code == 0, outcome.err
    assert "padded with black to a cube" in outcome.out
    assert "percentiles 0.5 and 99.5" in outcome.out
    for g in ("0", "90", "180", "270"):
        array = np.load(tmp_path / f"out/a__{g}.npy")
        assert (array.shape, array.dtype) == ((8, 8, 8), np.uint8)
        same, header = read_volume(tmp_path / f"out/b__{g}.nii.gz", "volumes")
        assert np.array_equal(array, same)
        assert header.voxel_mm == pytest.approx((2.5, 2.5, 2.5))


def test_a_written_nifti_is_read_back(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 255, (3, 4, 5)).astype(np.uint8)
    write_nifti(tmp_path / "v.nii.gz", volume, (1.0, 2.0, 3.0))
    read, header = read_volume(tmp_path / "v.nii.gz", "volumes")
    assert np.array_equal(read, volume)
    assert header.voxel_mm == (1.0, 2.0, 3.0)
    image = nibabel.load(tmp_path / "v.nii.gz")
    centre = image.affine @ [*(np.array(image.shape) - 1) / 2, 1]
    assert np.allclose(centre[:3], 0)


# Sizes and colours


def preparation(shape: tuple[int, ...] = (1, 16, 16), **settings: object) -> Preparation:
    frames = FrameSpec(shape, "uint8", (0.0, 255.0), (-1.0, 1.0))
    values = {"resize": "none", "to_grey": False, "percentiles": None, "extent_mm": None}
    values |= {"zero_is_background": False, "nan": "refuse", "margin": None, "frames": frames}
    values |= settings
    return Preparation(**values)  # type: ignore[arg-type]


def test_cropping_keeps_the_centre_and_padding_keeps_all(tmp_path: Path) -> None:
    pixels = np.zeros((32, 64), np.uint8)
    pixels[:, :8] = pixels[:, -8:] = 255
    pixels[12:20, 28:36] = 200
    write_png(tmp_path / "wide.png", pixels)
    cropped = read_frame(tmp_path / "wide.png", preparation(resize="crop")).values[0]
    padded = read_frame(tmp_path / "wide.png", preparation(resize="pad")).values[0]
    assert min(cropped[8, 8], padded[8, 8]) > 150
    assert cropped[:, 0].max() == 0
    assert min(padded[8, 0], padded[8, -1]) > 240
    assert padded[:3].max() == padded[-3:].max() == 0
    same = read_picture(tmp_path / "wide.png", True, 16)
    assert np.array_equal(cropped, same[0])


def test_files_are_prepared_as_the_dataset_was(digits_dir: Path) -> None:
    manifest = read_manifest(digits_dir)

    def made(group: str = "c4", scene: Scene = "plain", **settings: object) -> Preparation:
        source = Named(str(settings.pop("source")), settings)
        origin = Orbits("orbits", source, {}, 1.0, scene)
        values = {**vars(manifest), "origin": origin, "group": group}
        other = Manifest(**{key: values[key] for key in Manifest.__dataclass_fields__})
        config = ApplyConfig("run", "images", "0", "out")
        return make_preparation(config, other, make_group(group))

    assert made(source="sklearn").resize == "none"
    assert made(source="images", size=16).resize == "crop"
    assert made(source="images", size=None).resize == "none"
    assert made(source="images", colour="grey").to_grey
    assert not made(source="images", colour="auto").to_grey
    assert made(source="images").margin is None
    assert made("so2", source="images").margin == 0
    assert made("so2+shift:16:3", source="images").margin == 3
    assert made("so2", source="images", scene="composite").margin is None


def test_corners_are_black_where_a_continuous_group_turns(tmp_path: Path) -> None:
    write_png(tmp_path / "white.png", np.full((16, 16), 255, np.uint8))
    values = read_frame(tmp_path / "white.png", preparation(margin=0.0)).values
    assert np.array_equal(values[0] > 0, inscribed((16, 16)) > 0)


def test_shapes_are_cut_at_one_half() -> None:
    images = np.array([0.0, 0.49, 0.51, 1.2, -0.1], np.float32)
    assert to_file_values(images, True).tolist() == [0, 0, 255, 255, 0]
    assert to_file_values(images, False).tolist() == [0, 125, 130, 255, 0]


def test_unsuitable_files_are_one_line_and_nothing_is_written(
    digits_run: Path, tmp_path: Path
) -> None:
    good = np.zeros((16, 16), np.uint8)
    write_png(tmp_path / "good/a.png", good)
    write_png(tmp_path / "large/a.png", good)
    write_png(tmp_path / "large/b.png", np.zeros((20, 18), np.uint8))
    write_png(tmp_path / "colour/a.png", np.zeros((16, 16, 3), np.uint8))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("hello")
    write_png(tmp_path / "twice/a.png", good)
    Image.fromarray(good).save(tmp_path / "twice/a.jpg")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/a.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "volume.npy", np.zeros((16, 16, 16), np.uint8))

    def apply(images: str, *words: str) -> Outcome:
        given = [f"images={tmp_path}/{images}", f"out={tmp_path}/out", *words]
        element = [] if any(word.startswith("element=") for word in words) else ["element=90"]
        return call(PROGRAM, str(digits_run), *given, *element)

    for images, said in {
        "nowhere": "there is no such file or folder",
        "empty": "holds no file of .png",
        "large": "b.png measures 18 x 20 and this model takes 16 x 16: resize=crop",
        "colour": "to_grey=true makes it grey",
        "other": "other holds no file of .png",
        "other/notes.txt": "notes.txt: this model takes pictures",
        "twice": "would both be written as a",
        "broken": "a.png",
        "volume.npy": "this model takes pictures",
    }.items():
        assert said in apply(images).error_line, images
    for words, said in {
        ("element=45",): "element=45 is not understood for c4; known: 0, 90, 180, 270, all",
        ("element=[90, 90]",): "two of them would be written as 90",
        ("percentiles=[1,99]",): "percentiles has no effect",
        ("resize=stretch",): "resize=stretch is not allowed; allowed: as_prepared, none, crop",
        ("batch=0",): "batch=0",
        ("data=nowhere",): "no dataset at nowhere",
        (f"out={tmp_path}/good/out",): "must not lie in images=",
        ("sede=1",): "unknown key 'sede'",
    }.items():
        assert said in apply("good", *words).error_line, words
    assert "missing key element" in call(
        PROGRAM, str(digits_run), f"images={tmp_path}/good", f"out={tmp_path}/out"
    ).error_line  # fmt: skip
    assert not (tmp_path / "out").exists()
    assert apply("large", "resize=pad").code == 0
    assert apply("colour", "to_grey=true", "overwrite=true").code == 0


def test_volumes_need_their_percentiles(volume_run: Path, tmp_path: Path) -> None:
    frames = preparation((1, 8, 8, 8))
    np.save(tmp_path / "a.npy", np.zeros((8, 8, 8), np.float32))
    with pytest.raises(ValueError, match="float32, not uint8: give percentiles"):
        read_frame(tmp_path / "a.npy", frames)
    np.save(tmp_path / "b.npy", np.arange(512, dtype=np.int64).reshape(8, 8, 8) // 2)
    scaled = read_frame(tmp_path / "b.npy", preparation((1, 8, 8, 8), percentiles=(0.0, 100.0)))
    assert scaled.values.min() == 0
    assert scaled.values.max() == 255
    line = call(PROGRAM, str(volume_run), f"images={tmp_path}/a.npy", "element=0", "to_grey=true",
                f"out={tmp_path}/o").error_line  # fmt: skip
    assert "to_grey=true has no effect" in line


def test_names_of_elements_become_parts_of_file_names(tmp_path: Path) -> None:
    names = ["0", "90 mirrored", "120 [1 1 1]", "90 -z", "(4, 0)", "30 + (2.5, -1)"]
    labels = file_labels(names)
    assert labels == ["0", "90_mirrored", "120_1_1_1", "90_-z", "4_0", "30_+_2.5_-1"]
    for label in labels:
        (tmp_path / label).write_text("")
        assert os.sep not in label
    with pytest.raises(ValueError, match="written as 1_2"):
        file_labels(["(1, 2)", "[1 2]"])
    (tmp_path / "scan.nii.gz").write_text("")
    (only,) = find_inputs(tmp_path / "scan.nii.gz", (".nii.gz",), "volumes")
    assert only.stem == Path("scan")


def test_any_name_may_be_applied(digits_run: Path, tmp_path: Path) -> None:
    """Dollars, letters of no font, the longest names: results, their record and the sheet."""
    run = tmp_path / "run$\\frac{"
    shutil.copytree(digits_run, run)
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16), np.uint8)
    names = [
        "a$b$.png",
        "$\\frac{.png",
        "\u540d" * 80 + ".png",
        "n" * 251 + ".png",
        "n" * 250 + "m.png",
    ]
    for name in names:
        write_png(tmp_path / "in" / name, pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        outcome = call(PROGRAM, str(run), f"images={tmp_path}/in", "element=[90,180]")
    assert outcome.code == 0, outcome.err
    record = json.loads((run / "applied/applied.json").read_text())
    made = [name for files in record["files"].values() for name in files]
    assert sorted(record["files"]) == sorted(f"{tmp_path}/in/{name}" for name in names)
    assert len(set(made)) == 2 * len(names)
    assert all(len(os.fsencode(name)) <= 255 for name in made)
    assert all((run / "applied" / name).is_file() for name in made)
    assert "a$b$__90.png" in made
    assert (run / "applied/sheet.png").is_file()


def test_a_name_that_no_record_can_hold_is_refused_before_anything_is_written(
    digits_run: Path, tmp_path: Path
) -> None:
    """Of one file as of a folder, and in a folder above it."""
    pixels = np.zeros((16, 16), np.uint8)
    for name in (NOT_UTF8 + ".png", NOT_UTF8 + "/a.png"):
        write_png(tmp_path / "in" / name, pixels)
        words = [f"images={tmp_path}/in/{name}", "element=90", f"out={tmp_path}/out"]
        outcome = call(PROGRAM, str(digits_run), *words)
        assert (outcome.code, outcome.out) == (1, "")
        assert r"caf\xe9" in outcome.error_line
        assert "is not UTF-8" in outcome.error_line
        assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match=r"caf\\xe9\.png.*not UTF-8"):
        find_inputs(tmp_path / "in" / (NOT_UTF8 + ".png"), (".png",), "pictures")


def test_the_record_is_there_before_the_sheet(
    digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails in drawing leaves results that are accounted for."""
    write_png(tmp_path / "in/a.png", np.zeros((16, 16), np.uint8))

    def fail(figure: Figure, _: Path) -> None:
        plt.close(figure)
        raise OSError(28, "No space left on device", "sheet.png")

    monkeypatch.setattr("pipeline.application.apply_run.save_figure", fail)
    words = [f"images={tmp_path}/in", "element=90", f"out={tmp_path}/out"]
    assert call(PROGRAM, str(digits_run), *words).code != 0
    assert json.loads((tmp_path / "out/applied.json").read_text())["files"]


def test_a_large_picture_is_applied_where_the_user_allows_it(
    digits_run: Path, tmp_path: Path
) -> None:
    Image.new("L", (1001, 1001)).save(tmp_path / "a.png")
    words = [f"images={tmp_path}/a.png", "element=90", "resize=crop", f"out={tmp_path}/out"]
    line = call(PROGRAM, str(digits_run), *words, "max_megapixels=1").error_line
    assert "a.png has 1001x1001 pixels" in line
    assert line.endswith("set max_megapixels=2")
    assert call(PROGRAM, str(digits_run), *words, "max_megapixels=2").code == 0


@pytest.mark.parametrize("inside", [1, 7, 255])
@pytest.mark.parametrize("resize", ["none", "crop", "pad"])
def test_a_mask_of_any_value_is_a_shape(tmp_path: Path, inside: int, resize: str) -> None:
    side = 16 if resize == "none" else 32
    mask = np.zeros((side, side), np.uint8)
    mask[side // 4 : side // 2] = inside
    write_png(tmp_path / "a.png", mask)
    frames = FrameSpec((1, 16, 16), "uint8", (0.0, 255.0), (-1.0, 1.0), "binary")
    found = read_frame(tmp_path / "a.png", preparation(frames=frames, resize=resize)).values[0]
    assert (found[4:8] == 255).all()
    assert found.sum() == 4 * 16 * 255
    mask[0, 0] = inside - 1 or 3
    write_png(tmp_path / "a.png", mask)
    with pytest.raises(ValueError, match=r"a\.png is not a mask: besides 0 it holds values from"):
        read_frame(tmp_path / "a.png", preparation(frames=frames, resize=resize))
