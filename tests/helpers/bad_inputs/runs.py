"""Bad run directories: config.yaml, meta.json, weights and state of a checkpoint."""

import hashlib
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.bad_inputs import case as c
from helpers.bad_inputs.case import Case, Change, Spoil, Wanted

CONFIG = "run/config.yaml"
META, WEIGHTS, STATE = (
    f"run/checkpoints/step_*/{name}" for name in ("meta.json", "model.safetensors", "state.pt")
)
DESCRIBE = ("pipeline/describe.py", ("WORK/run",))
EVALUATE = ("pipeline/evaluate.py", ("run_dir=WORK/run", "pictures=false"))
EXPORT = ("pipeline/export.py", ("WORK/run", "out=WORK/exported"))
APPLY = (
    "pipeline/apply.py",
    ("WORK/run", "images=WORK/in/0.png", "element=90", "out=WORK/applied"),
)
STATUS = ("launch/status.py", ("WORK",))
COLLECT = ("launch/collect.py", ("WORK", "out=WORK/table.csv"))
REPORT = ("launch/report.py", ("WORK", "out=WORK/report"))

Program = tuple[str, tuple[str, ...]]


def cases() -> list[Case]:
    return [*_config(), *_meta(), *_weights()]


class _Adder:
    """Collects cases of one reader, for each of some programs."""

    def __init__(self, reader: str, names: tuple[str, ...], programs: tuple[Program, ...]) -> None:
        self.reader, self.names, self.programs = reader, names, programs
        self.found: list[Case] = []

    def __call__(
        self, name: str, spoil: Spoil, is_lenient: bool = True, wanted: Wanted = "refused",
        programs: tuple[Program, ...] | None = None, names: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        for program, words in programs or self.programs:
            title = f"{name}, {Path(program).name}"
            given = names or self.names
            self.found.append(
                Case(
                    self.reader, title, "trained", spoil, program, words, given, is_lenient, wanted
                )
            )


def _config() -> list[Case]:
    add = _Adder("config.yaml", ("config.yaml",), (DESCRIBE,))
    for name, content in c.NO_FILES.items():
        add(name, c.edit(CONFIG, c.instead(content)), is_lenient=False)
    add("missing", c.remove(CONFIG), is_lenient=False, programs=(DESCRIBE, EVALUATE, EXPORT, APPLY))
    add("a list", c.edit(CONFIG, c.instead(b"- 1\n")), programs=(DESCRIBE, EVALUATE, EXPORT))
    add("a text", c.edit(CONFIG, c.instead(b"run\n")))
    add("a tag of Python", c.edit(CONFIG, c.longer(b"evil: !!python/object/apply:os.abort []\n")))
    add("aliases of aliases", c.edit(CONFIG, c.instead(_laughs())), is_lenient=True)
    add("brackets without end", c.edit(CONFIG, c.instead(b"[" * 20000)), is_lenient=False)
    add("tabs", c.edit(CONFIG, c.longer(b"\tx: 1\n")), is_lenient=False)
    add("an unknown key", c.edit(CONFIG, c.longer(b"colour: red\n")))
    add("a key twice", c.edit(CONFIG, c.longer(b"seed: 5\n")))
    add("a missing key", c.pattern(CONFIG, r"(?m)^epochs:.*\n", ""), wanted="either")
    add("epochs of text", c.pattern(CONFIG, r"(?m)^epochs:.*$", "epochs: many"))
    add("epochs of -1", c.pattern(CONFIG, r"(?m)^epochs:.*$", "epochs: -1"))
    add("an octal batch", c.pattern(CONFIG, r"(?m)^global_batch:.*$", "global_batch: 010"))
    add("a clock for a batch", c.pattern(CONFIG, r"(?m)^global_batch:.*$", "global_batch: 1:20"))
    add(
        "a batch with underscores",
        c.pattern(CONFIG, r"(?m)^global_batch:.*$", "global_batch: 1_0"),
        wanted="either",
    )
    add(
        "a rate of NaN", c.pattern(CONFIG, r"(?m)^( +)learning_rate:.*$", r"\\1learning_rate: .nan")
    )
    add("a width of 0", c.pattern(CONFIG, r"(?m)^( +)width:.*$", r"\\1width: 0"))
    add("a giant width", c.pattern(CONFIG, r"(?m)^( +)width:.*$", r"\\1width: 1000000"),
        programs=(DESCRIBE, EVALUATE), names=("config.yaml", "WORK/run", "run"))  # fmt: skip
    add("another width", c.pattern(CONFIG, r"(?m)^( +)width:.*$", r"\\1width: 3"),
        programs=(DESCRIBE, EVALUATE, EXPORT, APPLY), names=("work/run",))  # fmt: skip
    add(
        "data that is gone",
        c.pattern(CONFIG, r"(?m)^data:.*$", "data: /nowhere"),
        names=("/nowhere",),
    )
    add("cut off", c.edit(CONFIG, c.cut(0.5)))
    add("a byte of Latin-1", c.edit(CONFIG, c.longer(b"# caf\xe9\n")))
    add("no text, seen from afar", c.edit(CONFIG, c.instead(bytes(100))), wanted="said",
        programs=(STATUS, COLLECT, REPORT), names=("run",))  # fmt: skip
    return add.found


def _meta() -> list[Case]:
    add = _Adder("meta.json", ("work/run/checkpoints",), (DESCRIBE,))
    for name, content in c.NO_FILES.items():
        add(name, c.edit_newest(META, c.instead(content)), is_lenient=False)
    everyone = (DESCRIBE, EVALUATE, EXPORT, APPLY)
    add("missing", _remove(META), is_lenient=False, programs=everyone)
    add("a list", c.edit_newest(META, c.instead(b"[]")))
    add("cut off", c.edit_newest(META, c.cut(0.6)), is_lenient=False)
    add("brackets without end", c.edit_newest(META, c.instead(b"[" * 200000)), is_lenient=False)

    def value(*keys: str, to: Any = None) -> Spoil:
        def change(meta: Any) -> None:
            place = meta
            for key in keys[:-1]:
                place = place[key]
            if to is None:
                del place[keys[-1]]
            else:
                place[keys[-1]] = to

        return c.edit_json(META, change)

    weights = ("files", "model.safetensors")
    add("no files", value("files"))
    add("files as a list", value("files", to=[]))
    add("files as nothing", value("files", to={}))
    add("no weights", value(*weights))
    add("no checksum", value(*weights, "sha256"))
    add("a wrong checksum", value(*weights, "sha256", to="0" * 64), programs=everyone)
    add("a checksum that is a number", value(*weights, "sha256", to=7))
    add("a wrong size", value(*weights, "size", to=1))
    add("a file that leaves the folder", _file_elsewhere)
    add("another step", value("step", to=77))
    add("no step", value("step"))
    add("a step of text", value("step", to="1"))
    add("no dataset", value("dataset"), programs=(DESCRIBE, EVALUATE))
    add("another dataset", value("dataset", to="0" * 64), wanted="either")
    add("a pointer to a step that is gone", c.edit_json("run/checkpoints/best.json", _step(99)))
    add("a pointer of text", c.edit_json("run/checkpoints/best.json", _step("../step")))
    add("a pointer that is a list", c.edit_newest("run/checkpoints/best.json", c.instead(b"[]")))
    add("a pointer cut off", c.edit_newest("run/checkpoints/best.json", c.cut(0.5)))
    add("a pointer without a step", c.edit_newest("run/checkpoints/best.json", c.instead(b"{}")))
    return add.found


def _weights() -> list[Case]:
    add = _Adder("safetensors", ("work/run",), (DESCRIBE,))
    for name, content in c.NO_FILES.items():
        add(name, _refitted(WEIGHTS, c.instead(content)), is_lenient=False)
    add("a bit of its values", c.edit_newest(WEIGHTS, c.flip(0, -200)),
        programs=(DESCRIBE, EVALUATE, EXPORT, APPLY))  # fmt: skip
    add("missing", _remove(WEIGHTS), is_lenient=False, programs=(DESCRIBE, EVALUATE))
    add("cut off", c.edit_newest(WEIGHTS, c.cut(0.9)), is_lenient=False)
    add("cut off, right checksum", _refitted(WEIGHTS, c.cut(0.9)), is_lenient=False)
    add("bytes after its end, right checksum", _refitted(WEIGHTS, c.longer(b"more")))
    add("a giant header", _refitted(WEIGHTS, c.put(0, struct.pack("<Q", 2**62))), is_lenient=False)
    add(
        "a header of 3 GiB",
        _refitted(WEIGHTS, c.put(0, struct.pack("<Q", 3 * 2**30))),
        is_lenient=False,
    )
    add("no tensor", _header(lambda header: header.clear()))
    add("a tensor less", _header(lambda header: header.pop(_first(header))))
    add("a tensor of another name", _header(lambda h: h.update(other=h.pop(_first(h)))))
    add("a tensor of another shape", _header(_other_shape))
    add("a giant tensor", _header(lambda h: h[_first(h)].update(shape=[2**40])), is_lenient=False)
    add("a tensor of another type", _header(_other_type))
    add("tensors that overlap", _header(_overlap))
    add("offsets beyond the file", _header(lambda h: h[_first(h)].update(data_offsets=[0, 2**40])))
    add("weights of NaN", _refitted(WEIGHTS, _nan))
    add("a pickle for its state", _refitted(STATE, c.instead(_pickle())), is_lenient=True)
    add("a state cut off", _refitted(STATE, c.cut(0.8)), is_lenient=False)
    add("a state of text", _refitted(STATE, c.instead(b"text")), is_lenient=False)
    add("a bomb for its state", _refitted(STATE, c.instead(_state_bomb)), is_lenient=False)
    return add.found


def _laughs() -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for number in range(1, 12):
        lines.append(f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 9)}]")
    return "\n".join(lines).encode()


def _remove(glob: str) -> Spoil:
    return lambda work: max(work.glob(glob)).unlink()


def _step(value: Any) -> Callable[[Any], None]:
    return lambda pointer: pointer.update(step=value)


def _file_elsewhere(work: Path) -> None:
    """The weights lie in the run directory, and meta.json says so."""
    path = max(work.glob(WEIGHTS))
    path.rename(work / "run/model.safetensors")

    def change(meta: Any) -> None:
        meta["files"]["../../model.safetensors"] = meta["files"].pop("model.safetensors")

    c.edit_json(META, change)(work)


def _refitted(glob: str, change: Change) -> Spoil:
    """Change a file of the checkpoint, with size and checksum that fit."""

    def spoil(work: Path) -> None:
        c.edit_newest(glob, change)(work)
        path = max(work.glob(glob))
        content = path.read_bytes()
        sums = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        c.edit_json(META, lambda meta: meta["files"].update({path.name: sums}))(work)

    return spoil


def _header(change: Callable[[dict[str, Any]], Any]) -> Spoil:
    """Change the header of the weights."""

    def rewrite(content: bytes) -> bytes:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + content[8 + length :]

    return _refitted(WEIGHTS, rewrite)


def _first(header: dict[str, Any]) -> str:
    return min(name for name in header if name != "__metadata__")


def _other_shape(header: dict[str, Any]) -> None:
    entry = max(header.values(), key=lambda entry: len(entry.get("shape", ())))
    entry["shape"] = entry["shape"][::-1]
    entry["shape"].append(1)


def _other_type(header: dict[str, Any]) -> None:
    for entry in header.values():
        if entry.get("dtype") == "F32":
            entry["dtype"] = "I32"


def _overlap(header: dict[str, Any]) -> None:
    same = [entry for entry in header.values() if entry.get("dtype") == "F32"]
    first, second = same[:2]
    second["data_offsets"], second["shape"] = first["data_offsets"], first["shape"]


def _nan(content: bytes) -> bytes:
    (length,) = struct.unpack("<Q", content[:8])
    num = (len(content) - 8 - length) // 4
    return content[: 8 + length] + struct.pack(f"<{num}f", *[float("nan")] * num)


def _pickle() -> bytes:
    """What would print if it were unpickled."""
    import pickle

    class Evil:
        def __reduce__(self) -> Any:
            return print, ("Traceback (most recent call last): this was carried out",)

    import torch

    file = io.BytesIO()
    torch.save({"a": Evil()}, file, pickle_module=pickle)
    return file.getvalue()


def _state_bomb() -> bytes:
    """A tensor of 8 GiB of which nothing is stored."""
    import torch

    file = io.BytesIO()
    torch.save(torch.zeros(1).expand(2**31), file)
    return file.getvalue()
