"""The good files that cases spoil, as small as the programs take them."""

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.idx import write_mnist

Run = Callable[..., None]
NUM_FILES = 6
SIDE = 8
TRAINING = (
    *("experiment=image_folder", "epochs=1", "global_batch=8", "num_train_items=8"),
    *("pairs=stored", "task.model.width=2", "task.model.depth=1", "log_every=1"),
    *("validation_batch=8", "collapse.action=warn", "compile=false"),
)


def pixels(number: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, shape or (SIDE, SIDE), np.uint8)


def pictures(work: Path, run: Run) -> None:
    """in/0.png to 3.png grey, 4.png RGB, 5.jpg; 16-bit and animated ones are cases."""
    (work / "in").mkdir()
    for number in range(NUM_FILES - 2):
        Image.fromarray(pixels(number)).save(work / f"in/{number}.png")
    Image.fromarray(pixels(4, SIDE, SIDE, 3)).save(work / "in/4.png")
    Image.fromarray(pixels(5)).save(work / "in/5.jpg")


def tiffs(work: Path, run: Run) -> None:
    """in/0.tif, ...: plain, and packed ones."""
    (work / "in").mkdir()
    for number in range(NUM_FILES):
        compression = (None, "tiff_lzw", "tiff_deflate")[number % 3]
        Image.fromarray(pixels(number, 32, 32)).save(
            work / f"in/{number}.tif", compression=compression
        )


def nifti_bytes(array: np.ndarray) -> bytes:
    import nibabel

    return bytes(nibabel.Nifti1Image(array, np.eye(4)).to_bytes())


def nifti(work: Path, run: Run) -> None:
    """in/0.nii, ..., and in/5.nii.gz; labels.csv lists them."""
    (work / "in").mkdir()
    for number in range(NUM_FILES):
        content = nifti_bytes(pixels(number, SIDE, SIDE, SIDE).astype(np.int16))
        if number == NUM_FILES - 1:
            (work / f"in/{number}.nii.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (work / f"in/{number}.nii").write_bytes(content)
    names = [f"{number}.nii" for number in range(5)] + ["5.nii.gz"]
    rows = [f"{name},{number % 2}" for number, name in enumerate(names)]
    (work / "labels.csv").write_text("\n".join(["file,label", *rows]) + "\n")


def npy_bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npy(work: Path, run: Run) -> None:
    """in/0.npy, ...: volumes."""
    (work / "in").mkdir()
    for number in range(NUM_FILES):
        (work / f"in/{number}.npy").write_bytes(npy_bytes(pixels(number, SIDE, SIDE, SIDE)))


def table(work: Path, run: Run) -> None:
    """in/pairs.csv, of NPY files and pictures beside it, with labels."""
    (work / "in").mkdir()
    rows = []
    for number in range(12):
        np.save(work / f"in/{number}.npy", pixels(number))
        rows.append(f"{number}.npy,{number}.npy,{number % 4},{number % 3}")
    text = "\n".join(["source,target,quarter_turns,label", *rows]) + "\n"
    (work / "in/pairs.csv").write_text(text)


def arrays() -> dict[str, np.ndarray]:
    frames = np.stack([pixels(number) for number in range(12)])
    action = np.arange(12).reshape(12, 1) % 4
    return {"source": frames, "target": frames, "action": action, "label": np.arange(12) % 3}


def npz(work: Path, run: Run) -> None:
    (work / "in").mkdir()
    np.savez_compressed(work / "in/pairs.npz", **arrays())  # type: ignore[arg-type]


TETRAHEDRON = """# a solid
v 1.0 1.0 1.0
v -1.0 -1.0 1.0
v -1.0 1.0 -1.0
v 1.0 -1.0 -1.0
f 1 3 2
f 1 2 4
f 1 4 3
f 2 3 4
"""


def meshes(work: Path, run: Run) -> None:
    """in/a.obj and in/b.obj."""
    (work / "in").mkdir()
    (work / "in/a.obj").write_text(TETRAHEDRON)
    (work / "in/b.obj").write_text(TETRAHEDRON.replace("v 1.0 1.0 1.0", "v 1.5 1.5 1.5"))


def idx(work: Path, run: Run) -> None:
    write_mnist(work / "in")


def dicom(work: Path, run: Run) -> None:
    """in/0/0.dcm, ...: series of 8 slices."""
    from helpers.dicom import write_series

    for number in range(NUM_FILES):
        folder = work / f"in/{number}"
        volume = pixels(number, SIDE, SIDE, SIDE).astype(np.int16)
        for index, path in enumerate(write_series(folder, volume, uid=f"1.2.{number}")):
            path.rename(folder / f"{index}.dcm")


def dataset(work: Path, run: Run) -> None:
    """data/, prepared of pictures."""
    pictures(work, run)
    run(
        "data_prep/prepare.py",
        *("dataset=image_folder", f"source.root={work}/in", "source.colour=grey"),
        *(f"out={work}/data", "num_workers=1"),
    )


def trained(work: Path, run: Run) -> None:
    """data/ and run/, finished and evaluated."""
    dataset(work, run)
    run("pipeline/train.py", *TRAINING, f"data={work}/data", f"run_dir={work}/run")
    run("pipeline/evaluate.py", f"run_dir={work}/run", "pictures=false")


def study(work: Path, run: Run) -> None:
    """data/ and search/, an Optuna search of two trials."""
    dataset(work, run)
    run("launch/sweep.py", *search_words(work, 2))


def search_words(work: Path | str, num_trials: int) -> tuple[str, ...]:
    space = "{task.tau: {low: 0.3, high: 0.7}, task.model.width: {choices: [2]}}"
    return (
        *(word for word in TRAINING if "width" not in word),
        *(f"data={work}/data", "sweep=optuna_search", "cluster=inline"),
        *(f"sweep_dir={work}/search", "sweep.search.num_parallel=1"),
        *(f"sweep.search.space={space}", f"sweep.search.num_trials={num_trials}"),
    )


MAKERS = {
    "pictures": pictures,
    "tiffs": tiffs,
    "nifti": nifti,
    "npy": npy,
    "table": table,
    "npz": npz,
    "meshes": meshes,
    "idx": idx,
    "dicom": dicom,
    "dataset": dataset,
    "trained": trained,
    "study": study,
}
