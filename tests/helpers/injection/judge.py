"""Whether a program took a fault well: judged by bytes, never by what the program says of itself.

Right is an end with the same bytes as undisturbed; or one line on standard error, and the same
bytes after the command is repeated. Nothing that was complete before may be lost or done again.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from helpers.injection.canonical import Content, canonical, differences, litter
from helpers.injection.driver import Outcome
from helpers.injection.warm import HANGS

REPLACED = ".replaced"
"""Where a dataset waits, shard by shard, for the one that replaces it."""
MAX_LINES = 3
"""The line that says what is wrong, and what is said about what it was about to tidy up."""
STEP = re.compile(r"step_(\d{8})$")
Complete = dict[str, str]


@dataclass(frozen=True)
class Undisturbed:
    """How a subject ends when nothing happens, once and after a second call."""

    end: Content
    again: Content
    said: frozenset[str]


@dataclass(frozen=True)
class Verdict:
    """`kind` is one of KINDS; `faults` has a line for each thing that was wrong."""

    kind: str
    faults: tuple[str, ...]
    litter: tuple[str, ...]


KINDS = ("no effect", "reported and repaired", "killed and repaired", "wrong")


def judge(
    before: Complete,
    work: Path,
    disturbed: Outcome,
    between: Complete,
    after_disturbed: Content,
    repeated: Outcome,
    after: Complete,
    undisturbed: Undisturbed,
) -> Verdict:
    """A verdict on a disturbed program and its repetition, which ended in `work`."""
    faults: list[str] = []
    was_killed = any(code == -9 for code in disturbed.codes)
    kind = "killed and repaired" if was_killed else "reported and repaired"
    if HANGS in disturbed.codes:
        faults.append("it did not end")
    elif not any(disturbed.codes):
        kind = "no effect"
        faults += [f"exit 0, but {line}" for line in differences(undisturbed.end, after_disturbed)]
    elif not was_killed:
        faults += _faults_of_words(disturbed, undisturbed)
    faults += [f"lost: {line}" for line in lost(before, between)]
    if any(repeated.codes):
        last = [text.strip().splitlines()[-1:] for text in repeated.errors]
        faults.append(f"the repetition ended with {repeated.codes} {last}")
    end = canonical(work)
    wanted = undisturbed.again if kind == "no effect" else undisturbed.end
    faults += [f"after the repetition {line}" for line in differences(wanted, end)]
    faults += [f"lost by the repetition: {line}" for line in lost(between, after)]
    return Verdict("wrong" if faults else kind, tuple(faults), tuple(litter(wanted, end)))


def _faults_of_words(disturbed: Outcome, undisturbed: Undisturbed) -> list[str]:
    usual = undisturbed.said
    said = [[line for line in text.splitlines() if line not in usual] for text in disturbed.errors]
    if any("Traceback" in text for text in disturbed.errors):
        return [f"a traceback: {_last(disturbed)}"]
    if not any(said) and not set("\n".join(disturbed.outputs).splitlines()) - usual:
        return [f"exit {disturbed.codes} without a word"]
    if max(map(len, said)) > MAX_LINES:
        return [f"{max(map(len, said))} lines: {_last(disturbed)}"]
    return []


def _last(outcome: Outcome) -> str:
    lines = [line for text in outcome.errors for line in text.splitlines()[-2:]]
    return " / ".join(lines)


def lost(before: Complete, after: Complete) -> list[str]:
    """What was complete and is not any more, or was made anew."""
    lines = []
    for name, identity in before.items():
        if name in after and after[name] != identity:
            lines.append(f"{name} was made anew")
        elif name not in after and not _is_superseded(name, after):
            lines.append(name)
    return lines


def complete(work: Path, is_renewed: bool = False) -> Complete:
    """What is complete below `work`, by name, with something that changes if it is made again.

    With `is_renewed` the command makes a whole dataset again, as it is told to.
    """
    found: Complete = {}
    for manifest in (*work.rglob("manifest.json"), *work.rglob(".building")):
        found.update(_shards(manifest, is_renewed))
    for folder in work.rglob("checkpoints"):
        found.update(_run(work, folder.parent))
    return found


def _shards(place: Path, is_renewed: bool) -> Complete:
    """Whole datasets, and the finished shards of others: by their content."""
    root = place.parent
    try:
        if place.is_file():
            splits = json.loads(place.read_bytes())["splits"].values()
            listed = [shard for split in splits for shard in split["shards"]]
        else:
            listed = [json.loads(note.read_bytes())["shard"] for note in place.glob("*-*.json")]
    except (ValueError, KeyError, TypeError):
        return {}
    places = [root, root / REPLACED, *([root.parent] if root.name == REPLACED else [])]
    sound = {
        shard["sha256"]: place / shard["file"]
        for shard in listed
        for place in (places if is_renewed else places[:1])
        if _sha256(place / shard["file"]) == shard["sha256"]
    }
    found = {f"shard {digest[:8]}": _identity(path) for digest, path in sound.items()}
    if place.is_file() and len(sound) == len(listed):
        whole = {"a whole dataset": ""}
        return whole if is_renewed else {**found, **whole}
    return found


def _run(work: Path, run: Path) -> Complete:
    """Checkpoints whose bytes fit their checksums, and the lines of metrics up to the newest."""
    found: Complete = {}
    newest = 0
    for folder in (run / "checkpoints").iterdir():
        match = STEP.match(folder.name)
        if match is None:
            continue
        try:
            files = json.loads((folder / "meta.json").read_bytes())["files"]
            is_sound = all(_sha256(folder / name) == files[name]["sha256"] for name in files)
        except (OSError, ValueError, KeyError):
            continue
        if is_sound:
            newest = max(newest, int(match[1]))
    if not newest:
        return {}
    name = run.relative_to(work).as_posix()
    for step in range(1, newest + 1):
        # With their times: a step that is trained again has other ones.
        found[f"{name}, metrics of step {step}"] = _metrics(run / "metrics.jsonl", step)
    found[f"{name}, a checkpoint of step {newest} or later"] = ""
    return found


def _is_superseded(name: str, after: Complete) -> bool:
    run, separator, rest = name.partition(", a checkpoint of step ")
    if separator:
        step = int(rest.split()[0])
        newer = [other for other in after if other.startswith(run + separator)]
        return any(int(other[len(run + separator) :].split()[0]) >= step for other in newer)
    return name.startswith("shard ") and "a whole dataset" in after


def _metrics(path: Path, step: int) -> str:
    lines = path.read_bytes().splitlines() if path.is_file() else []
    wanted = [line for line in lines if line.startswith(b'{"step": %d,' % step)]
    return hashlib.sha256(b"\n".join(wanted)).hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _identity(path: Path) -> str:
    found = path.stat()
    return f"{found.st_ino} {found.st_mtime_ns}"
