"""Bad journals of searches."""

import json
from collections.abc import Callable
from typing import Any

from helpers.bad_inputs import case as c
from helpers.bad_inputs.case import Case, Change, Spoil, Wanted
from helpers.bad_inputs.material import search_words

JOURNAL = "search/optuna.journal"
SEARCH = ("launch/sweep.py", search_words("WORK", 3))
STATUS = ("launch/status.py", ("WORK/search",))


def cases() -> list[Case]:
    found = []

    def add(
        name: str, spoil: Spoil, wanted: Wanted = "refused", is_lenient: bool = True,
        program: tuple[str, tuple[str, ...]] = SEARCH,
    ) -> None:  # fmt: skip
        title = name if program is SEARCH else f"{name}, status.py"
        found.append(
            Case(
                "study journals", title, "study", spoil, *program, ("optuna.journal",), is_lenient,
                wanted,
            )
        )  # fmt: skip

    for name, content in c.NO_FILES.items():
        if name != "empty":
            add(name, c.edit(JOURNAL, c.instead(content)), is_lenient=False)
    add("a last line cut off", c.edit(JOURNAL, c.cut_by(10)), "either")
    add("a line cut in the middle", _line(3, lambda line: line[:10]), is_lenient=False)
    add("a byte of Latin-1", _line(2, lambda line: line.replace(b"a", b"\xe9", 1)))
    add("a bit of a brace", _line(2, lambda line: b"[" + line[1:]), is_lenient=False)
    add("a list for a record", _line(2, lambda _: b"[]"))
    add("a number for a record", _line(2, lambda _: b"7"))
    add("brackets without end", _line(2, lambda _: b"[" * 200000), is_lenient=False)
    add("an unknown operation", _field("op_code", 99))
    add("an operation of text", _field("op_code", "x"))
    add("no operation", _field("op_code", None))
    add("no worker", _field("worker_id", None))
    add("a trial of another study", _field("study_id", 5))
    add("a study of text", _field("study_id", "x"))
    add("a trial that is not there", _field("trial_id", 99))
    add("a parameter of NaN", _field("param_value_internal", float("nan")))
    add("a parameter out of range", _field("param_value_internal", 99.0))
    add("a parameter of text", _field("param_value_internal", "much"))
    add("another distribution", _distribution("FloatDistribution", "Hidden"))
    add("a distribution that is no JSON", _field("distribution", "{"))
    add("a state that is not there", _field("state", 99))
    add("a value of text", _field("values", ["x"]))
    add("a value of NaN", _field("values", [float("nan")]))
    add("a date that is none", _field("datetime_start", "soon"))
    add("the study twice", c.edit(JOURNAL, lambda content: content * 2))
    add("the first line less", c.edit(JOURNAL, lambda content: content.split(b"\n", 1)[1]))
    add("a folder in its place", c.folder_instead(JOURNAL), is_lenient=False)
    return found


def _line(number: int, change: Change) -> Spoil:
    """Change one line of the journal."""

    def rewrite(content: bytes) -> bytes:
        lines = content.split(b"\n")
        lines[number] = change(lines[number])
        return b"\n".join(lines)

    return c.edit(JOURNAL, rewrite)


def _records(change: Callable[[dict[str, Any]], bool]) -> Change:
    """Change the first record that takes the change."""

    def rewrite(content: bytes) -> bytes:
        records = [json.loads(line) for line in content.splitlines()]
        assert any(change(record) for record in records), "no record was changed"
        return b"".join(json.dumps(record).encode() + b"\n" for record in records)

    return rewrite


def _field(name: str, value: Any) -> Spoil:
    def change(record: dict[str, Any]) -> bool:
        if record.get(name) is None:
            return False
        if value is None:
            del record[name]
        else:
            record[name] = value
        return True

    return c.edit(JOURNAL, _records(change))


def _distribution(old: str, new: str) -> Spoil:
    def change(record: dict[str, Any]) -> bool:
        if old not in record.get("distribution", ""):
            return False
        record["distribution"] = record["distribution"].replace(old, new)
        return True

    return c.edit(JOURNAL, _records(change))
