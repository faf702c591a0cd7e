"""What came of the cases, in Markdown."""

from collections.abc import Sequence
from pathlib import Path

from helpers.bad_inputs.running import Trial

MIB = 2**20
MAX_SHOWN = 1500


def table(trials: Sequence[Trial]) -> str:
    """Counts and greatest memory by reader."""
    columns = ("cases", "a lenient parser loads", "refused", "said", "read", "faults")
    heads = [*columns, "greatest peak, MiB", "greatest growth, MiB"]
    lines = [["reader", *heads], ["---", *["---:"] * len(heads)]]
    readers = list(dict.fromkeys(trial.case.reader for trial in trials))
    for reader in [*readers, None]:
        own = [trial for trial in trials if reader in (None, trial.case.reader)]
        outcomes = [trial.outcome for trial in own]
        counts = [
            len(own),
            sum(trial.case.is_lenient for trial in own),
            *(outcomes.count(word) for word in ("refused", "said", "read")),
            sum(not trial.is_passed for trial in own),
            max(trial.ending.peak_bytes for trial in own) // MIB,
            max(trial.ending.peak_bytes - trial.ending.start_bytes for trial in own) // MIB,
        ]
        lines.append([reader or "all", *map(str, counts)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def line(trial: Trial) -> str:
    """One trial in a line."""
    grown = (trial.ending.peak_bytes - trial.ending.start_bytes) // MIB
    text = f"{trial.case.title} -> {trial.outcome} ({trial.seconds:.1f} s, +{grown} MiB)"
    if trial.is_passed:
        return f"ok    {text}"
    said = (trial.ending.err or trial.ending.out).strip()
    return f"FAULT {text}\n      {said[-MAX_SHOWN:]}"


def processor() -> str:
    """The name of this machine's processor."""
    for text in Path("/proc/cpuinfo").read_text().splitlines():
        if text.startswith("model name"):
            return text.partition(":")[2].strip()
    return "unknown"
