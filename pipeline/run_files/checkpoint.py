"""Checkpoints: directories that are complete as soon as they are visible.

checkpoints/step_00000750/
  model.safetensors   weights to evaluate (the moving average, if there is one)
  state.pt            optimiser, task statistics, accumulators; tensors and plain values only
  meta.json           step, sizes and sha256 of both files, dataset fingerprint, ranks
checkpoints/best.json, last.json     {"step": 750}
"""

import contextlib
import hashlib
import io
import os
import pickle
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import nn

from orbit.core.files.atomic import (
    STILL_IN_USE,
    make_directory,
    parse_json,
    remove_tree,
    sync_directory,
    write_json,
)
from orbit.core.files.listing import list_folder
from orbit.core.user_text import parse_integer

MODEL_FILE, STATE_FILE, META_FILE = "model.safetensors", "state.pt", "meta.json"
STEP_PATTERN = re.compile(r"step_([0-9]{8,})")
DOOMED_SUFFIX = ".deleted"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read into memory, with verified checksums."""

    step: int
    weights: dict[str, torch.Tensor]
    state: dict[str, Any]
    meta: dict[str, Any]


class DamagedCheckpointError(ValueError):
    """A checkpoint differs from what was written: a file is missing, cut off or changed."""


class CheckpointStore:
    """The `checkpoints` folder of a run directory.

    An error of the operating system never counts as damage: it is raised unchanged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, step: int) -> Path:
        """Directory of a step's checkpoint."""
        return self.folder / f"step_{step:08d}"

    def steps(self) -> list[int]:
        """Steps that have a checkpoint directory, ascending; contents unchecked."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        matches = (STEP_PATTERN.fullmatch(name) for name in names)
        return sorted(int(match.group(1)) for match in matches if match)

    def save(
        self,
        step: int,
        weights: dict[str, torch.Tensor],
        state: dict[str, Any],
        meta: dict[str, Any],
    ) -> None:
        """Write a checkpoint under a temporary name, flush it, rename it into place.

        An error leaves nothing of it behind; earlier checkpoints are unchanged.
        """
        make_directory(self.folder)
        final = self.path(step)
        draft = self.folder / f".{final.name}.{uuid.uuid4().hex[:8]}.tmp"
        draft.mkdir()
        try:
            buffer = io.BytesIO()
            torch.save(state, buffer)
            contiguous = {name: tensor.contiguous().cpu() for name, tensor in weights.items()}
            contents = {MODEL_FILE: save_safetensors(contiguous), STATE_FILE: buffer.getvalue()}
            for name, content in contents.items():
                _write_bytes(draft / name, content)
            files = {
                name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                for name, content in contents.items()
            }
            # Flushes the draft's entries too: all three files are on disk before the rename.
            write_json(draft / META_FILE, {"step": step, **meta, "files": files})
            if final.exists():
                self._discard(step)
            os.rename(draft, final)
        except BaseException as error:
            with contextlib.suppress(OSError):
                remove_tree(draft)
            if isinstance(error, OSError) and error.errno:
                reason = f"{error.strerror}; it was not saved; earlier checkpoints are unchanged"
                raise OSError(error.errno, reason, str(final)) from error
            raise
        sync_directory(self.folder)
        self.point("last", step)

    def load(self, step: int) -> Checkpoint:
        """Read and check a checkpoint.

        Raises FileNotFoundError if it does not exist, DamagedCheckpointError if it differs from
        what was written, ValueError if it is intact and still cannot be used.
        """
        path = self.path(step)
        try:
            meta, contents = _read_files(path)
        except FileNotFoundError as error:
            if path.is_dir():
                missing = Path(error.filename).name
                raise DamagedCheckpointError(
                    f"checkpoint {path} is damaged: no {missing}"
                ) from None
            known = ", ".join(map(str, self.steps())) or "none"
            raise FileNotFoundError(
                f"no checkpoint of step {step} in {self.folder}; there: {known}"
            ) from None
        try:
            weights = load_safetensors(contents[MODEL_FILE])
            state = torch.load(
                io.BytesIO(contents[STATE_FILE]), map_location="cpu", weights_only=True
            )
            if not isinstance(state, dict):
                raise ValueError(f"{STATE_FILE} holds a {type(state).__name__}, no dictionary")
        except pickle.UnpicklingError:
            raise ValueError(f"checkpoint {path} is damaged or holds more than tensors") from None
        except (
            *(ValueError, LookupError, TypeError, AttributeError, EOFError, RuntimeError),
            SafetensorError,
        ) as error:
            raise ValueError(
                f"checkpoint {path} cannot be read, although its checksums are right: {error}"
            ) from None
        return Checkpoint(step, weights, state, meta)

    def newest_valid(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint that can be read, and a line for each newer one that is damaged.

        Damaged checkpoints are renamed. Raises other errors of `load`, and changes nothing then.
        """
        complaints: list[str] = []
        for step in reversed(self.steps()):
            try:
                return self.load(step), complaints
            except DamagedCheckpointError as error:
                complaints.append(str(error))
                aside = self.path(step).with_name(f"{self.path(step).name}.damaged")
                if not remove_tree(aside):
                    aside = aside.with_name(f"{aside.name}.{uuid.uuid4().hex[:8]}")
                os.rename(self.path(step), aside)
        return None, complaints

    def point(self, name: str, step: int) -> None:
        """Make `best.json` or `last.json` name a step."""
        write_json(self.folder / f"{name}.json", {"step": step})

    def restore_pointers(self, checkpoint: Checkpoint) -> None:
        """Make both pointers agree with `checkpoint`, the newest.

        A run that is killed between writing a checkpoint and its pointers leaves older pointers, or
        none.
        """
        wanted = {"last": checkpoint.step, "best": checkpoint.state.get("best_step")}
        for name, step in wanted.items():
            try:
                found = self._pointed(name)
            except ValueError:
                found = -1
            if step is None:
                (self.folder / f"{name}.json").unlink(missing_ok=True)
            elif found != step:
                self.point(name, step)

    def resolve(self, name: str) -> int:
        """The step of `best`, `last` or a number.

        Raises FileNotFoundError if the run has no such checkpoint yet, or no longer.
        """
        step = parse_integer(name)
        if step is not None and step >= 0:
            return step
        if name not in ("best", "last"):
            raise ValueError(f"checkpoint={name} is not allowed; allowed: best, last, a step")
        steps = self.steps()
        step = self._pointed(name)
        if name == "last" and steps and step not in steps:
            return steps[-1]
        if step is None:
            raise FileNotFoundError(f"no {name} checkpoint in {self.folder} yet")
        if step not in steps:
            known = ", ".join(map(str, steps)) or "none"
            raise FileNotFoundError(
                f"{self.folder / f'{name}.json'} names step {step}, which has no checkpoint;"
                f" there: {known}"
            )
        return step

    def prune(self, keep_last: int, keep_every: int | None, best_step: int | None) -> None:
        """Delete all checkpoints but the last `keep_last`, every `keep_every` steps, and the best.

        A checkpoint that another process is reading is renamed and deleted by a later call.
        """
        steps = self.steps()
        kept = set(steps[-keep_last:])
        if best_step is not None:
            kept.add(best_step)
        if keep_every is not None:
            kept.update(step for step in steps if step % keep_every == 0)
        for path in list_folder(self.folder, f".step_*{DOOMED_SUFFIX}"):
            remove_tree(path)
        for step in steps:
            if step not in kept:
                try:
                    self._discard(step)
                except OSError as error:
                    if error.errno not in STILL_IN_USE:
                        raise

    def clear(self) -> None:
        """Delete everything, to start again."""
        for name in ("best", "last"):
            (self.folder / f"{name}.json").unlink(missing_ok=True)
        for step in self.steps():
            self._discard(step)
        remove_tree(self.folder)

    def clear_leftovers(self) -> None:
        """Delete what a crash left half-written or half-deleted."""
        for pattern in (".step_*", ".*.tmp"):
            for path in list_folder(self.folder, pattern):
                remove_tree(path)

    def _pointed(self, name: str) -> int | None:
        """The step that a pointer names, None without a pointer; ValueError if it does not name a
        step."""
        pointer = self.folder / f"{name}.json"
        try:
            return as_step(parse_json(pointer.read_bytes())["step"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{pointer} cannot be read: it should name a step") from None

    def _discard(self, step: int) -> None:
        # Renamed first, so that a crash leaves no half-deleted checkpoint.
        name = f".{self.path(step).name}.{uuid.uuid4().hex[:8]}{DOOMED_SUFFIX}"
        doomed = self.folder / name
        os.rename(self.path(step), doomed)
        remove_tree(doomed)


def _read_files(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Metadata and contents of a checkpoint's files, by name, with verified sizes and checksums."""
    meta_text = (path / META_FILE).read_bytes()
    try:
        meta = parse_json(meta_text)
        recorded = {
            name: (meta["files"][name]["size"], meta["files"][name]["sha256"])
            for name in (MODEL_FILE, STATE_FILE)
        }
        if path.name != f"step_{as_step(meta['step']):08d}":
            raise ValueError(f"it is for step {meta['step']}")
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpointError(
            f"checkpoint {path} is damaged: {META_FILE} cannot be read ({error})"
        ) from None
    contents = {}
    for name, (size, digest) in recorded.items():
        contents[name] = (path / name).read_bytes()
        if len(contents[name]) != size:
            raise DamagedCheckpointError(
                f"checkpoint {path} is damaged: {name} has {len(contents[name])} bytes, not {size}"
            )
        if hashlib.sha256(contents[name]).hexdigest() != digest:
            raise DamagedCheckpointError(
                f"checkpoint {path} is damaged: {name} does not match its checksum"
            )
    return meta, contents


def as_step(value: Any) -> int:
    """A step as JSON holds it; ValueError for anything else."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not a step")
    return value


def _write_bytes(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def fill(model: nn.Module, checkpoint: Checkpoint, run_dir: Path) -> None:
    """Load a checkpoint's weights.

    Raises ValueError naming the run if they do not fit the model, or are not finite.
    """
    misfits = _misfits(model.state_dict(), checkpoint.weights)
    if misfits:
        others = f" (and {len(misfits) - 1} more)" if len(misfits) > 1 else ""
        raise ValueError(f"the weights of {run_dir} do not fit this model: {misfits[0]}{others}")
    try:
        model.load_state_dict(checkpoint.weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"the weights of {run_dir} do not fit this model: {reason}") from None
    guilty = non_finite_names(model)
    if guilty:
        raise ValueError(
            f"the weights of {run_dir}, step {checkpoint.step}, are not finite ({guilty[0]}):"
            " that run diverged; an earlier step may be of use"
        )


def _misfits(own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> list[str]:
    """What keeps weights from fitting a model's own, in words."""
    found = [f"{name} is missing" for name in own if name not in given]
    for name, values in given.items():
        if name not in own:
            found.append(f"this model has no {name}")
        elif values.dtype != own[name].dtype:
            found.append(f"{name} is of {values.dtype}, not {own[name].dtype}")
        elif values.shape != own[name].shape:
            there, here = (" x ".join(map(str, each.shape)) for each in (values, own[name]))
            found.append(f"{name} is {there or 'a number'} there, {here or 'a number'} here")
    return found


def non_finite_names(model: nn.Module) -> list[str]:
    """Names of a model's weights that hold NaN or infinity."""
    return [name for name, values in model.named_parameters() if not bool(values.isfinite().all())]
