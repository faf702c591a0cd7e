"""Show that every dataset prepares, verifies, trains on one and two processes and evaluates.

Example:
  python tests/acceptance/every_dataset.py mnist=DIR meshes=DIR work=DIR epochs=3
  python tests/acceptance/every_dataset.py work=DIR only=planes,brain_mri

Keys: mnist (a folder that holds MNIST/raw; without it datasets of digits are left out), meshes
(a folder of OBJ files; likewise), classes (the closed ones among them, without .obj), work, epochs
(of the run on one process; the one on two has a single epoch), num_samples (source images of each
dataset), only (names of cases). Writes contact_sheet.png and orbits.png of each case below
work/NAME and a line of results for each.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from orbit.core.config.program import run_program, take_value

ROOT = Path(__file__).resolve().parents[2]


def main(words: list[str]) -> None:
    work = Path(take_value(words, "work", "every_dataset")).absolute()
    mnist, meshes = take_value(words, "mnist", ""), take_value(words, "meshes", "")
    classes = take_value(words, "classes", "")
    epochs = take_value(words, "epochs", "3")
    num_samples = take_value(words, "num_samples", "600")
    only = [name for name in take_value(words, "only", "").split(",") if name]
    if words:
        raise ValueError(f"cannot use {words[0]!r}: see --help")
    work.mkdir(parents=True, exist_ok=True)
    own = make_own_files(work / "own")
    for name, experiment, prepare in cases(mnist, meshes, classes, own, num_samples):
        if not only or name in only:
            print(f"{name:24}", run_case(work / name, experiment, prepare, epochs), flush=True)


def cases(
    mnist: str, meshes: str, classes: str, own: Path, num_samples: str
) -> Iterator[tuple[str, str, list[str]]]:
    """Name, experiment and words of `prepare.py` of every case."""
    limit = f"num_samples={num_samples}"
    if mnist:
        for dataset in ("rotated_mnist", "rotated_blocked_mnist", "rotated_mnist_so2"):
            words = [f"source.root={mnist}", *([] if dataset == "rotated_mnist" else [limit])]
            yield dataset, dataset, [f"dataset={dataset}", *words]
    yield "rotated_digits", "rotated_digits", ["dataset=rotated_digits"]
    for dataset in ("brain_mri", "brain_mri_so3", "planes", "planes_views"):
        yield dataset, dataset, [f"dataset={dataset}", limit]
    if meshes:
        words = ["dataset=adrenal", "source=meshes", f"source.root={meshes}", limit]
        if classes:
            words.append(f"source.classes=[{classes}]")
        yield "adrenal", "adrenal", words
        for dataset in ("objects_3d", "objects_views"):
            yield dataset, dataset, [f"dataset={dataset}", f"source.root={meshes}", limit]
    cube = "dataset.group=octahedral"
    shapes = [f"dataset.{split}_pairs=orbit" for split in ("train", "val", "test")]
    yield "cube_rotations", "brain_mri", ["dataset=brain_mri", cube, *shapes, "num_samples=90"]
    words = ["dataset=image_folder", f"source.root={own / 'images'}"]
    yield "image_folder", "image_folder", words
    words = ["dataset=volume_folder", f"source.root={own / 'volumes'}"]
    yield "volume_folder", "volume_folder", words
    words = ["dataset=pairs_table", f"source.root={own / 'pairs.csv'}"]
    yield "pairs_table", "pairs_table", words


def run_case(folder: Path, experiment: str, prepare: list[str], epochs: str) -> str:
    """Prepare, verify, show, train twice and evaluate; what came out, in a line."""
    data, one, two = folder / "data", folder / "run", folder / "run_2"
    started = time.monotonic()
    program("data_prep/prepare.py", *prepare, f"out={data}")
    seconds = time.monotonic() - started
    program("data_prep/verify.py", str(data))
    program("data_prep/show.py", str(data))
    train = [f"experiment={experiment}", f"data={data}", "collapse.action=restart"]
    started = time.monotonic()
    program("pipeline/train.py", *train, f"run_dir={one}", f"epochs={epochs}", "num_threads=2")
    trained = time.monotonic() - started
    program("pipeline/evaluate.py", f"run_dir={one}")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    program(*torchrun, str(ROOT / "pipeline/train.py"), *train, f"run_dir={two}", "epochs=1")
    (evaluation,) = (one / "evaluations").glob("*-test.json")
    metrics = json.loads(evaluation.read_text())["metrics"]
    on_two = json.loads((two / "result.json").read_text())["metrics"]
    return (
        f"prepared {seconds:5.1f} s  trained {trained:6.1f} s  psnr {metrics['psnr']:5.2f}"
        f"  equivariance error {metrics['equivariance_error/variant']:.3f}"
        f"  two processes, 1 epoch: psnr {on_two['psnr']:5.2f}"
    )


def program(*words: str) -> None:
    """Run one of the programs; ValueError with its last line if it fails."""
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise ValueError(f"{' '.join(words[:3])} ended with {done.returncode}: {said[-1]}")


def make_own_files(folder: Path) -> Path:
    """What a user might bring: coloured PNGs in class folders, volumes, and a table of pairs."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    rng = np.random.default_rng(0)
    rows = ["source,target,quarter_turns,label"]
    for index in range(400):
        grey = np.kron(digits.images[index], np.ones((2, 2))) * (255 / 16)
        colour = rng.uniform(0.3, 1.0, 3)
        picture = Image.fromarray((grey[..., None] * colour).astype(np.uint8))
        label, turns = int(digits.target[index]), int(rng.integers(4))
        place = folder / "images" / f"digit_{label}" / f"{index:04}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        picture.save(place)
        (folder / "pairs").mkdir(exist_ok=True)
        picture.save(folder / "pairs" / f"{index:04}_source.png")
        turned = picture.rotate(90 * turns)
        turned.save(folder / "pairs" / f"{index:04}_target.png")
        rows.append(f"pairs/{index:04}_source.png,pairs/{index:04}_target.png,{turns},{label}")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    (folder / "volumes").mkdir(exist_ok=True)
    axis = np.linspace(-1, 1, 16)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    for index in range(60):
        a, b, c = rng.uniform(0.3, 0.9, 3)
        blob = np.exp(-((x / a) ** 2) - ((y - 0.2) / b) ** 2 - ((z + 0.2) / c) ** 2)
        np.save(folder / "volumes" / f"{index:03}.npy", blob.astype(np.float32))
    return folder


if __name__ == "__main__":
    run_program(main, __doc__)
