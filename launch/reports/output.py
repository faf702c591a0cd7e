"""What the ranks of a run said, by attempt."""

from collections import deque
from pathlib import Path

from launch.jobs.history import ATTEMPTS, Ending, decisive, endings, log_name, read_attempts
from launch.jobs.run_state import ENDED_FILE
from orbit.core.files.atomic import read_json_object
from orbit.core.files.listing import list_folder
from orbit.core.user_text import parse_integer
from pipeline.run_files.reading import CONFIG_FILE


def read_output(run_dir: Path, attempt: str, rank: str, lines: str) -> list[str]:
    """Lines to show: where they are from, then the last of them.

    `attempt` is a name, `first` or `last`; `rank` may be empty. Raises FileNotFoundError or
    ValueError for what is not there.
    """
    num_lines, wanted = _number(lines, "lines"), _number(rank, "rank") if rank else None
    if not (run_dir / CONFIG_FILE).is_file():
        raise FileNotFoundError(f"no run at {run_dir}: {CONFIG_FILE} is missing")
    names = [each.name for each in read_attempts(run_dir)]
    if not names:
        return _said_at_the_end(run_dir)
    ends = {"first": names[0], "last": names[-1]}
    name = ends.get(attempt, attempt)
    if name not in names:
        raise ValueError(f"attempt={attempt} is none of this run; there: {', '.join(names)}")
    folder = run_dir / ATTEMPTS / name
    noted = endings(folder)
    chosen = first_to_fail(noted) if wanted is None else wanted
    file = folder / log_name(chosen)
    if not file.is_file():
        logs = [path.name for path in list_folder(folder, "rank_*.log")]
        known = ", ".join(logs) or "none: its job never got so far"
        raise FileNotFoundError(f"{file} is not there; logs of this attempt: {known}")
    said = [f"{ending.kind}: {ending.message}" for ending in noted if ending.rank == chosen]
    head = f"attempt {name} ({names.index(name) + 1} of {len(names)}), rank {chosen}: {file}"
    return [head, *_last_lines(file, num_lines), *said]


def first_to_fail(noted: list[Ending]) -> int:
    """The rank whose end explains the others', the earliest of those; 0 where none failed."""
    if not noted:
        return 0
    kind = decisive(noted).kind
    return min((each for each in noted if each.kind == kind), key=lambda one: one.time).rank


def _said_at_the_end(run_dir: Path) -> list[str]:
    """Of a run that no launcher watched."""
    ending = read_json_object(run_dir / ENDED_FILE)
    head = f"{run_dir} was started by hand: what it said went to that terminal"
    if ending is None:
        return [head]
    lines = [str(line) for line in ending.get("lines") or ()]
    said = f"{ending.get('kind')}, rank {ending.get('rank')}: {ending.get('message')}"
    return [head, *lines, said]


def _last_lines(file: Path, num_lines: int) -> list[str]:
    """The last lines of a log, all for 0; of one that was drawn again and again its last form."""
    kept: deque[str] = deque(maxlen=num_lines or None)
    with open(file, encoding="utf-8", errors="replace", newline="\n") as opened:
        for line in opened:
            kept.append(line.rstrip("\r\n").rpartition("\r")[2])
    return list(kept)


def _number(text: str, key: str) -> int:
    value = parse_integer(text)
    if value is None or value < 0:
        raise ValueError(f"{key}={text} is no whole number from 0 on")
    return value
