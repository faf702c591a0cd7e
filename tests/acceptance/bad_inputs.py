"""A campaign of bad inputs: hundreds of bad files for every reader, met by the real programs.

  python tests/acceptance/bad_inputs.py
  python tests/acceptance/bad_inputs.py reader=NIfTI,NPY only=cut
  python tests/acceptance/bad_inputs.py sample=true json=FILE

Every file is a good one that was changed, the same way each time. Each program runs in a
child of one process that has imported everything. Wanted of it: one line that names the file
and the cause, exit code 1, nothing left behind, less than 2 GiB of memory.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

from helpers import warm_parent  # noqa: E402
from helpers.bad_inputs.catalogue import READERS, all_cases, sample  # noqa: E402
from helpers.bad_inputs.material import MAKERS  # noqa: E402
from helpers.bad_inputs.running import Trial, make_material, run_cases  # noqa: E402
from helpers.bad_inputs.table import line, processor, table  # noqa: E402


def main(words: list[str]) -> int:
    options = dict(word.split("=", 1) for word in words)
    cases = all_cases()
    if options.get("sample") == "true":
        cases = sample(cases)
    readers = options["reader"].split(",") if "reader" in options else READERS
    if unknown := [reader for reader in readers if reader not in READERS]:
        raise SystemExit(f"no reader {unknown[0]}; there: {', '.join(READERS)}")
    cases = [
        case for case in cases if case.reader in readers and options.get("only", "") in case.name
    ]
    started = time.monotonic()
    warm_parent.import_everything()
    warm_parent.freeze()
    # Not a TemporaryDirectory: a child that ends would run what deletes it.
    scratch = Path(tempfile.mkdtemp(prefix="bad_inputs_"))
    try:
        make_material(MAKERS, {case.material for case in cases}, scratch)
        print(f"{len(cases)} cases, ready after {time.monotonic() - started:.0f} s", flush=True)
        trials = run_cases(cases, scratch, lambda trial: print(line(trial), flush=True))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"\n{table(trials)}\n\n{time.monotonic() - started:.0f} s on {processor()}")
    if "json" in options:
        Path(options["json"]).write_text(json.dumps([_plain(trial) for trial in trials]))
    return 0 if all(trial.is_passed for trial in trials) else 1


def _plain(trial: Trial) -> dict[str, object]:
    return {
        "title": trial.case.title,
        "reader": trial.case.reader,
        "is_lenient": trial.case.is_lenient,
        "outcome": trial.outcome,
        "is_passed": trial.is_passed,
        "error": trial.ending.err.strip(),
        "peak_bytes": trial.ending.peak_bytes,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
