"""Checkpoints: directories that are complete from the moment they can be seen.

checkpoints/step_00000750/
  model.safetensors   weights to evaluate (the moving average, if there is one)
  state.pt            optimiser, task statistics, accumulators; tensors and plain values only
  meta.json           step, sizes and sha256 of the two, dataset fingerprint, ranks
checkpoints/best.json, last.json     {"step": 750}
"""

import io
import json
import os
import pickle
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from pipeline.config.user_text import parse_integer
from pipeline.files.atomic import sha256_of_file, sync_directory, write_json
from pipeline.training.settings import RetentionConfig

MODEL_FILE, STATE_FILE, META_FILE = "model.safetensors", "state.pt", "meta.json"
STEP_PATTERN = re.compile(r"step_([0-9]{8,})$")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read into memory; its checksums were right."""

    step: int
    weights: dict[str, torch.Tensor]
    state: dict[str, Any]
    meta: dict[str, Any]


class CheckpointStore:
    """The `checkpoints` folder of a run directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, step: int) -> Path:
        """Directory of a step's checkpoint."""
        return self.folder / f"step_{step:08d}"

    def steps(self) -> list[int]:
        """Steps that have a checkpoint directory, ascending; contents unchecked."""
        if not self.folder.is_dir():
            return []
        matches = (STEP_PATTERN.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match.group(1)) for match in matches if match)

    def save(
        self,
        step: int,
        weights: dict[str, torch.Tensor],
        state: dict[str, Any],
        meta: dict[str, Any],
    ) -> None:
        """Write a checkpoint under a temporary name, flush it, rename it into place."""
        final = self.path(step)
        draft = self.folder / f".{final.name}.tmp"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            buffer = io.BytesIO()
            torch.save(state, buffer)
            contiguous = {name: tensor.contiguous().cpu() for name, tensor in weights.items()}
            _write_bytes(draft / MODEL_FILE, save_safetensors(contiguous))
            _write_bytes(draft / STATE_FILE, buffer.getvalue())
            files = {
                name: {
                    "size": (draft / name).stat().st_size,
                    "sha256": sha256_of_file(draft / name),
                }
                for name in (MODEL_FILE, STATE_FILE)
            }
            write_json(draft / META_FILE, {"step": step, **meta, "files": files})
            if final.exists():
                shutil.rmtree(final)
            os.rename(draft, final)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        sync_directory(self.folder)
        self.point("last", step)

    def load(self, step: int) -> Checkpoint:
        """Read and check a checkpoint.

        Raises FileNotFoundError if it does not exist, ValueError if it is damaged.
        """
        path = self.path(step)
        if not path.is_dir():
            known = ", ".join(map(str, self.steps())) or "none"
            raise FileNotFoundError(
                f"no checkpoint of step {step} in {self.folder}; there: {known}"
            )
        try:
            meta = json.loads((path / META_FILE).read_text())
            contents = {}
            for name, recorded in meta["files"].items():
                if sha256_of_file(path / name) != recorded["sha256"]:
                    raise ValueError(f"{name} does not match its checksum")
                contents[name] = (path / name).read_bytes()
            weights = load_safetensors(contents[MODEL_FILE])
            state = torch.load(
                io.BytesIO(contents[STATE_FILE]), map_location="cpu", weights_only=True
            )
        except pickle.UnpicklingError:
            raise ValueError(f"checkpoint {path} is damaged or holds more than tensors") from None
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise ValueError(f"checkpoint {path} is damaged: {error}") from None
        return Checkpoint(step, weights, state, meta)

    def newest_valid(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint that can be read, and a line for each newer one that cannot.

        Damaged checkpoints are set aside under a name of their own.
        """
        complaints: list[str] = []
        for step in reversed(self.steps()):
            try:
                return self.load(step), complaints
            except ValueError as error:
                complaints.append(str(error))
                aside = self.path(step).with_name(f"{self.path(step).name}.damaged")
                shutil.rmtree(aside, ignore_errors=True)
                os.rename(self.path(step), aside)
        return None, complaints

    def point(self, name: str, step: int) -> None:
        """Make `best.json` or `last.json` name a step."""
        write_json(self.folder / f"{name}.json", {"step": step})

    def resolve(self, name: str) -> int:
        """The step that `best`, `last` or a number means.

        Raises FileNotFoundError if the run has no such checkpoint yet.
        """
        step = parse_integer(name)
        if step is not None and step >= 0:
            return step
        if name not in ("best", "last"):
            raise ValueError(f"checkpoint={name} is not allowed; allowed: best, last, a step")
        pointer = self.folder / f"{name}.json"
        if not pointer.is_file():
            raise FileNotFoundError(f"no {name} checkpoint in {self.folder} yet")
        return int(json.loads(pointer.read_text())["step"])

    def prune(self, retention: RetentionConfig, best_step: int | None) -> None:
        """Delete checkpoints that nothing asks to keep; never the newest."""
        steps = self.steps()
        kept = set(steps[-retention.keep_last :])
        if best_step is not None:
            kept.add(best_step)
        if retention.keep_every is not None:
            kept.update(step for step in steps if step % retention.keep_every == 0)
        for step in steps:
            if step not in kept:
                # Renamed first, so that a crash leaves no half-deleted checkpoint in view.
                doomed = self.folder / f".{self.path(step).name}.deleted"
                os.rename(self.path(step), doomed)
                shutil.rmtree(doomed)

    def clear(self) -> None:
        """Delete everything, for a new start."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def clear_leftovers(self) -> None:
        """Delete what a crash left half-written or half-deleted."""
        for pattern in (".step_*", ".*.tmp"):
            for path in self.folder.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _write_bytes(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
