"""Part (d): time from the command to the first step, and memory against dataset size."""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import Check, PartReport, say, time_row
from synthetic import make_dataset

PROGRAM = Path(__file__).resolve().parents[1] / "pipeline" / "train.py"
DROP_CACHES = Path("/proc/sys/vm/drop_caches")
TIMEOUT_S = 180
NUM_SOURCES = (4_000, 16_000, 64_000)
FLAT_MIB = 16.0
IMPORTS = "import torch, h5py, hydra; from nvidia.dali import Pipeline, fn"
BEYOND_S = 1.2


def measure_startup(
    data: Path, num_times: int = 3, num_sources: tuple[int, ...] = NUM_SOURCES
) -> PartReport:
    """Start `pipeline/train.py` again and again on a dataset; write datasets of several sizes."""
    report = PartReport("(d) Start-up and memory")
    seconds_to_first_step(data)
    seconds_of_imports()
    pairs = [(seconds_of_imports(), seconds_to_first_step(data)) for _ in range(num_times)]
    bare, warm = ([pair[side] for pair in pairs] for side in (0, 1))
    report.rows.append(time_row(f"python -c '{IMPORTS}'", bare, "s"))
    report.rows.append(time_row("start to first step, warm", warm, "s"))
    beyond = statistics.median(step - imports for imports, step in pairs)
    report.checks.append(
        Check("start to first step beyond the bare imports, s", BEYOND_S, beyond, True)
    )
    cold: list[float] = []
    while len(cold) < max(1, num_times - 1) and drop_page_cache():
        cold.append(seconds_to_first_step(data))
    if cold:
        report.rows.append(time_row("start to first step, page cache dropped", cold, "s"))
    else:
        report.notes.append("The cold start was not measured: dropping the page cache needs root.")
    own = []
    with tempfile.TemporaryDirectory() as folder:
        for num in num_sources:
            say(f"dataset of {num} images")
            made = make_dataset(Path(folder) / str(num), (1, 28, 28), num, max(8, num // 20))
            memory = resident_mib(made)
            size = sum(path.stat().st_size for path in made.rglob("*.h5")) / 2**20
            own.append(memory["own"])
            report.rows += [
                time_row(f"{size:,.0f} MiB dataset: own memory", [memory["own"]], "MiB"),
                time_row(f"{size:,.0f} MiB dataset: mapped files", [memory["files"]], "MiB"),
            ]
    growth = own[-1] - own[0]
    report.checks.append(
        Check("growth of own memory, smallest to largest dataset, MiB", FLAT_MIB, growth, True)
    )
    report.notes.append(
        "Memory after one epoch through the loader. Own memory is what the process cannot give"
        " back; mapped files are pages of the system's cache, shared between processes and"
        " dropped when memory is short."
    )
    return report


def seconds_of_imports() -> float:
    """How long a process takes that imports the large libraries and ends."""
    started = time.time()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, timeout=TIMEOUT_S)
    return time.time() - started


def seconds_to_first_step(data: Path) -> float:
    """From starting the training program to the end of its first step, then stop it."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        words = ["experiment=rotated_mnist", f"data={data}", f"run_dir={run_dir}", "log_every=1"]
        command = [sys.executable, str(PROGRAM), *words, "num_threads=1"]
        started = time.time()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return _time_of_first_line(run_dir / "metrics.jsonl", process) - started
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _time_of_first_line(path: Path, process: "subprocess.Popen[bytes]") -> float:
    deadline = time.time() + TIMEOUT_S
    while time.time() < deadline:
        if path.exists():
            first = path.read_text().partition("\n")
            if first[1]:
                return float(json.loads(first[0])["time/unix"])
        if process.poll() is not None:
            raise OSError(
                f"training ended with exit code {process.returncode} before its first step"
            )
        time.sleep(0.02)
    raise OSError(f"training made no step in {TIMEOUT_S} s")


def drop_page_cache() -> bool:
    """Empty the system's file cache; False where that is not allowed."""
    try:
        os.sync()
        DROP_CACHES.write_text("3\n")
    except OSError:
        return False
    return True


def resident_mib(data: Path) -> dict[str, float]:
    """Resident memory, in MiB, of a process that has read a training epoch through the loader."""
    worker = Path(__file__).with_name("memory_worker.py")
    command = [sys.executable, str(worker), str(data)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise OSError(f"reading {data} was not done after {TIMEOUT_S} s") from None
    if done.returncode:
        raise OSError(f"reading {data} failed: {done.stderr.strip().splitlines()[-1]}")
    memory: dict[str, float] = json.loads(done.stdout)
    return memory
