"""Measure loader, training, validation, ranks, start-up, preparation and worlds; print tables.

Examples:
  python benchmarks/run.py
  python benchmarks/run.py parts=loader,training mnist=DIR out=FILE.json
  python benchmarks/run.py parts=gpu out=FILE.json

Keys: parts (of loader, training, ranks, startup, preparation, worlds, world_models, validation,
pairs, gpu; all of these by default; and cold, which limits its memory by a control group where it
may make one, and writes three times as much), mnist (a prepared rotated_mnist; synthetic images
of its shape otherwise), mnist_root (a folder that holds MNIST/raw, to prepare from; noise
otherwise), mesh (an OBJ file to turn as a teapot, beside the generated one), device (of the part
gpu: auto, cuda, or cpu for a dry run at tiny sizes), minutes (what that part may take, 8 by
default), cold (a dataset for the part cold, to be made otherwise), cold_mib (the memory that this
part allows itself, 1500 by default), cold_seconds (that it reads in each way in each of three
rounds, 8 by default), out (write the results as JSON, and the tables beside it as .md).
Takes about twenty minutes on two cores. Leave the machine alone meanwhile. The part gpu, skipped
without one, checks what a GPU computes before it measures how fast. The exit code is 1 where a
part could not be measured or a check of the GPU failed.
"""

import tempfile
import time
from pathlib import Path

from orbit.core.config.program import run_program, take_value
from orbit.core.user_text import parse_integer, parse_number


def main(words: list[str]) -> int:
    from cold_speed import SHAPE, num_images
    from measuring import as_markdown, as_plain, describe_machine, machine_line, say
    from parts import BY_DEFAULT, NEED_LARGE, NEED_SMALL, PARTS, Cold, Datasets, measure_apart
    from synthetic import make_dataset

    from orbit.core.files.atomic import write_json, write_text
    from orbit.core.store.manifest import read_manifest

    out, mnist = take_value(words, "out", ""), take_value(words, "mnist", "")
    mnist_root, mesh = take_value(words, "mnist_root", ""), take_value(words, "mesh", "")
    device, minutes = take_value(words, "device", "auto"), take_value(words, "minutes", "8")
    cold_data = take_value(words, "cold", "")
    cold_mib = parse_integer(allowed := take_value(words, "cold_mib", "1500"))
    cold_seconds = parse_number(lasting := take_value(words, "cold_seconds", "8"))
    chosen = take_value(words, "parts", ",".join(BY_DEFAULT)).split(",")
    unknown = [*words, *(f"parts={part}" for part in chosen if part not in PARTS)]
    if unknown:
        keys = f"parts={','.join(PARTS)}, mnist, mnist_root, mesh, device, minutes, cold, cold_mib,"
        keys += " cold_seconds, out"
        raise ValueError(f"cannot use {unknown[0]!r}; keys: {keys}")
    if device not in ("auto", "cuda", "cpu"):
        raise ValueError(f"device={device} is not allowed; allowed: auto, cuda, cpu")
    limit = parse_number(minutes)
    if limit is None or limit <= 0:
        raise ValueError(f"minutes={minutes} must be a positive number")
    if cold_mib is None or cold_mib < 1:
        raise ValueError(f"cold_mib={allowed} must be a positive whole number")
    if cold_seconds is None or cold_seconds <= 0:
        raise ValueError(f"cold_seconds={lasting} must be a positive number")
    if out.endswith(".md"):
        raise ValueError(f"out={out} is where the tables go: name the JSON file, FILE.json")
    if mnist and read_manifest(Path(mnist)).frames.shape != (1, 28, 28):
        raise ValueError(f"mnist={mnist} does not hold images of 28x28")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        say("making datasets")
        small, large = Path(mnist or f"{folder}/small"), Path(folder) / "large"
        if not mnist and NEED_SMALL & set(chosen):
            make_dataset(small, (1, 28, 28), 48_000, 12_000)
        if NEED_LARGE & set(chosen):
            make_dataset(large, (3, 64, 64), 4_096, 256)
        cold = Path(cold_data or f"{folder}/cold")
        if "cold" in chosen and not cold_data:
            make_dataset(cold, SHAPE, num_images(cold_mib), 256)
        root, solid = (Path(given).absolute() if given else None for given in (mnist_root, mesh))
        cold_part = Cold(cold, cold_mib, cold_seconds)
        datasets = Datasets(small, large, root, solid, device, limit, cold_part)
        machine, reports = describe_machine(), []
        print(machine_line(machine), flush=True)
        for part in chosen:
            reports.append(measure_apart(part, datasets))
            say("")
            print(f"\n{as_markdown(reports[-1])}", flush=True)
    print(f"\nMeasured in {time.monotonic() - started:.0f} s.", flush=True)
    if out:
        write_json(Path(out), as_plain(machine, reports))
        tables = "\n\n".join(as_markdown(report) for report in reports)
        write_text(Path(out).with_suffix(".md"), f"{machine_line(machine)}\n\n{tables}\n")
    return int(any(report.is_broken for report in reports))


if __name__ == "__main__":
    run_program(main, __doc__)
