"""Measure loader, training, validation, ranks, start-up, preparation and worlds; print tables.

Examples:
  python benchmarks/run.py
  python benchmarks/run.py parts=loader,training mnist=DIR out=FILE.json

Keys: parts (of loader, training, ranks, startup, preparation, worlds, world_models, validation;
all by default), mnist (a prepared rotated_mnist; synthetic images of its shape otherwise),
mnist_root (a folder that holds MNIST/raw, to prepare from; noise otherwise), mesh (an OBJ file to
turn as a teapot, beside the generated one), out (write the results as JSON).
Takes about twenty minutes on two cores. Leave the machine alone meanwhile.
"""

import tempfile
import time
from pathlib import Path

from pipeline.config.program import run_program, take_value


def main(words: list[str]) -> int:
    from measuring import say
    from parts import PARTS, Datasets, measure_apart
    from synthetic import make_dataset
    from table import as_markdown, as_plain, describe_machine, machine_line

    from data_prep.store.manifest import read_manifest
    from pipeline.files.atomic import write_json

    out, mnist = take_value(words, "out", ""), take_value(words, "mnist", "")
    mnist_root, mesh = take_value(words, "mnist_root", ""), take_value(words, "mesh", "")
    chosen = take_value(words, "parts", ",".join(PARTS)).split(",")
    unknown = [*words, *(f"parts={part}" for part in chosen if part not in PARTS)]
    if unknown:
        keys = f"parts={','.join(PARTS)}, mnist, mnist_root, mesh, out"
        raise ValueError(f"cannot use {unknown[0]!r}; keys: {keys}")
    if mnist and read_manifest(Path(mnist)).frames.shape != (1, 28, 28):
        raise ValueError(f"mnist={mnist} does not hold images of 28x28")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        say("making datasets")
        small, large = Path(mnist or f"{folder}/small"), Path(folder) / "large"
        if not mnist:
            make_dataset(small, (1, 28, 28), 48_000, 12_000)
        if {"loader", "validation"} & set(chosen):
            make_dataset(large, (3, 64, 64), 4_096, 256)
        root, solid = (Path(given).absolute() if given else None for given in (mnist_root, mesh))
        datasets = Datasets(small, large, root, solid)
        machine, reports = describe_machine(), []
        print(machine_line(machine), flush=True)
        for part in chosen:
            reports.append(measure_apart(part, datasets))
            say("")
            print(f"\n{as_markdown(reports[-1])}", flush=True)
    print(f"\nMeasured in {time.monotonic() - started:.0f} s.", flush=True)
    if out:
        write_json(Path(out), as_plain(machine, reports))
    return int(any("not measured" in report.title for report in reports))


if __name__ == "__main__":
    run_program(main, __doc__)
