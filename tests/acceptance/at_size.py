"""Take pictures of 256 pixels and heads of 104 voxels through every program; peak memory of each.

Examples:
  python tests/acceptance/at_size.py meshes=DIR work=DIR
  python tests/acceptance/at_size.py work=DIR only=heads num_heads=6 num_steps=2

Keys: work, meshes (a folder of OBJ files; without it `views` is left out), only (views or heads),
num_views (of 3x256x256, 2,000 frames by default), num_heads (NIfTI files of 104 voxels a side that
are made first, 60), side_views and side_heads (other sizes), num_steps (of training, 12), limit_gib
(12: more memory than that is a failure).

Memory is that of a program and all its children at one moment, without the pages of files that
the system keeps and can drop. Prints a table; exit code 1 if a program needs more than the limit.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep.settings.sources import PhantomSourceConfig
from data_prep.sources.phantom import phantom
from orbit.core.config.program import run_program, take_value
from orbit.core.printing import say

ROOT = Path(__file__).resolve().parents[2]
KIB_PER_GIB = 2**20
POLL_S = 0.1
FRAMES_PER_VIEWED_OBJECT = 9
"""A source and its eight drawn rotations."""


def main(words: list[str]) -> int:
    work = Path(take_value(words, "work", "at_size")).absolute()
    meshes = take_value(words, "meshes", "")
    only = take_value(words, "only", "")
    num_views, num_heads = (
        int(take_value(words, f"num_{name}", default))
        for name, default in (("views", "2000"), ("heads", "60"))
    )
    side_views, side_heads = (
        int(take_value(words, f"side_{name}", default))
        for name, default in (("views", "256"), ("heads", "104"))
    )
    num_steps = int(take_value(words, "num_steps", "12"))
    limit_gib = float(take_value(words, "limit_gib", "12"))
    if words:
        raise ValueError(f"cannot use {words[0]!r}: see --help")
    if only not in ("", "views", "heads"):
        raise ValueError(f"only={only}: allowed are views and heads")
    work.mkdir(parents=True, exist_ok=True)
    peaks = []
    if meshes and only != "heads":
        objects = -(-num_views // FRAMES_PER_VIEWED_OBJECT)
        prepare = [
            "dataset=objects_views",
            f"source.root={meshes}",
            f"source.size={side_views}",
            f"num_samples={objects}",
        ]
        title = f"{objects * FRAMES_PER_VIEWED_OBJECT} views of 3x{side_views}x{side_views}"
        train = ["experiment=objects_views", "global_batch=16"]
        peaks += carry_out(work / "views", title, prepare, train, num_steps)
    if only != "views":
        make_heads(work / "heads_nifti", num_heads, side_heads)
        prepare = [
            "dataset=brain_mri",
            "source=nifti",
            f"source.root={work / 'heads_nifti'}",
            f"source.side={side_heads}",
            "dataset.group=octahedral",
            "dataset.train_pairs=drawn",
            "dataset.test_pairs=drawn",
            "dataset.num_drawn=4",
        ]
        title = f"{num_heads} heads of {side_heads} voxels, four of the cube's rotations of each"
        train = ["experiment=brain_mri", "global_batch=4", "task.model.width=8"]
        peaks += carry_out(work / "heads", title, prepare, train, num_steps)
    return int(max(peaks) > limit_gib)


def carry_out(
    work: Path, title: str, prepare: list[str], train: list[str], num_steps: int
) -> Iterator[float]:
    """Run all programs one after the other, print a line for each; their peaks in GiB."""
    data, run, source = work / "data", work / "run", work / "one"
    say(f"\n{title}\n\n| program | seconds | peak memory (GiB) |\n| --- | ---: | ---: |")
    steps = f"debug.num_steps={num_steps}"
    for name, words in (
        ("prepare", ["data_prep/prepare.py", *prepare, f"out={data}", "overwrite=true"]),
        ("verify", ["data_prep/verify.py", str(data)]),
        ("show", ["data_prep/show.py", str(data)]),
        ("train", ["pipeline/train.py", *train, f"data={data}", f"run_dir={run}", steps]),
        ("evaluate", ["pipeline/evaluate.py", f"run_dir={run}"]),
        ("describe", ["pipeline/describe.py", str(run)]),
        ("apply", ["pipeline/apply.py", str(run), f"images={source}", "element=examples"]),
        ("report", ["launch/report.py", str(run), f"out={work / 'report'}"]),
    ):
        if name == "apply":
            write_frames(data, source)
        seconds, peak = measured([sys.executable, *words])
        say(f"| {name} | {seconds:.0f} | {peak:.2f} |")
        yield peak


def measured(command: list[str]) -> tuple[float, float]:
    """Seconds and peak memory in GiB of a program with its children; ValueError if it fails."""
    started, peak = time.monotonic(), 0
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        while process.poll() is None:
            peak = max(peak, memory_of_tree(process.pid))
            time.sleep(POLL_S)
        seconds = time.monotonic() - started
        if process.returncode:
            output.seek(0)
            said = output.read().strip().splitlines() or ["no output"]
            raise ValueError(
                f"{' '.join(command[1:4])} ended with {process.returncode}: {said[-1]}"
            )
    return seconds, peak / KIB_PER_GIB


def memory_of_tree(root: int) -> int:
    """KiB that a process and all its descendants have for themselves or share, but no files."""
    parents, sizes = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            lines = (folder / "status").read_text().splitlines()
        except OSError:
            continue
        facts = dict(line.split(":", 1) for line in lines if ":" in line)
        parents[int(folder.name)] = int(facts["PPid"])
        sizes[int(folder.name)] = sum(
            int(facts.get(key, "0 kB").split()[0]) for key in ("RssAnon", "RssShmem")
        )
    total = 0
    for process, size in sizes.items():
        ancestor: int | None = process
        while ancestor not in (None, 0, root):
            ancestor = parents.get(ancestor)
        total += size if ancestor == root else 0
    return total


def make_heads(folder: Path, num_heads: int, side: int) -> None:
    """NIfTI files of generated heads, one after the other."""
    import nibabel

    folder.mkdir(parents=True, exist_ok=True)
    config = PhantomSourceConfig("phantom", side)
    for index in range(num_heads):
        path = folder / f"head_{index:03}.nii.gz"
        if not path.exists():
            volume = phantom(config, 0, index).transpose(2, 1, 0)
            affine = np.diag([1.0, 1.0, 1.0, 1.0])
            nibabel.save(nibabel.Nifti1Image(volume, affine), path)


def write_frames(data: Path, folder: Path) -> None:
    """Two source frames of the test split as files that a user might bring."""
    from PIL import Image

    from orbit.core.store.reader import PairStore

    folder.mkdir(parents=True, exist_ok=True)
    frames = PairStore(data).split("test").read_frames("source", np.arange(2))
    for index, frame in enumerate(frames):
        if frame.ndim == 4:
            np.save(folder / f"{index}.npy", frame[0])
        else:
            Image.fromarray(frame.transpose(1, 2, 0)).save(folder / f"{index}.png")


if __name__ == "__main__":
    run_program(main, __doc__)
