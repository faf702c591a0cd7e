"""A shared folder: one checkpoint of a run, with everything needed to use it without the dataset.

shared/
  README.md              the model card
  model.safetensors      the weights
  config.yaml            the configuration of the training; of paths the names alone
  dataset.json           the dataset's manifest, without the names of the files it was made from
  shared.json            step, size and sha256 of the weights, dataset, ranks; written last
  metrics.jsonl, result.json, evaluations/, orbits.png, pictures/
  task_run/              of a method that learned from another run: that run's weights and
                         configuration, as a shared folder

Reading a shared folder never runs code from it: weights are tensors, the rest is text, and names
are looked up in Orbit and the installed packages.
"""

import hashlib
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from orbit.core.files.atomic import parse_json, replacing_folder, write_bytes, write_json
from orbit.core.user_text import parse_integer
from pipeline.run_files.checkpoint import (
    MODEL_FILE,
    Checkpoint,
    CheckpointStore,
    DamagedCheckpointError,
    as_step,
)
from pipeline.run_files.reading import CONFIG_FILE, read_config_values

SHARED_FILE = "shared.json"
FORMAT = 1
KEPT_OF_META = ("step", "dataset", "attempt", "world_size", "num_threads", "plugins")
"""The keys of a checkpoint's meta.json that stay true for copied weights."""


def is_shared(folder: Path) -> bool:
    """Whether this is a shared folder, and not a run directory."""
    return (folder / SHARED_FILE).is_file()


def checkpoints_of(folder: Path) -> CheckpointStore:
    """The checkpoints of a run directory, or the one checkpoint of a shared folder."""
    return SharedWeights(folder) if is_shared(folder) else CheckpointStore(folder / "checkpoints")


class SharedWeights(CheckpointStore):
    """The one checkpoint of a shared folder, read-only, with the methods of `CheckpointStore`."""

    def path(self, step: int) -> Path:
        """The folder of the weights."""
        return self.folder

    def steps(self) -> list[int]:
        """The one step."""
        return [self._read()["step"]]

    def resolve(self, name: str) -> int:
        """The one step, for `best`, `last` and its number. Raises FileNotFoundError for any
        other."""
        step: int = self._read()["step"]
        number = parse_integer(name)
        if number is None and name not in ("best", "last"):
            raise ValueError(f"checkpoint={name} is not allowed; allowed: best, last, a step")
        if number is not None and number != step:
            raise FileNotFoundError(f"{self.folder} holds only the weights of step {step}")
        return step

    def load(self, step: int) -> Checkpoint:
        """The weights, checked against their checksum in shared.json.

        Raises FileNotFoundError if they are missing, ValueError if they differ from the shared
        ones.
        """
        meta, file = self._read(), self.folder / MODEL_FILE
        stated = meta["files"][MODEL_FILE]
        content = file.read_bytes()
        found = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        if found != {name: stated[name] for name in found}:
            raise DamagedCheckpointError(f"{file} is not the file that {SHARED_FILE} describes")
        try:
            weights = load_safetensors(content)
        except (ValueError, SafetensorError) as error:
            raise ValueError(f"{file} cannot be read: {error}") from None
        return Checkpoint(meta["step"], weights, {}, meta)

    def _read(self) -> dict[str, Any]:
        file = self.folder / SHARED_FILE
        try:
            meta = parse_json(file.read_bytes())
            if meta["format"] != FORMAT:
                raise ValueError(f"its format is {meta['format']}, this version reads {FORMAT}")
            as_step(meta["step"])
            stated = meta["files"][MODEL_FILE]
            if not isinstance(meta["dataset"], str) or not {"size", "sha256"} <= stated.keys():
                raise ValueError("it lacks required keys")
            if as_step(meta.get("world_size", 1)) == 0:
                raise ValueError("no world has 0 ranks")
        except FileNotFoundError:
            raise FileNotFoundError(f"no shared model at {self.folder}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{file} cannot be read: {error}") from None
        found: dict[str, Any] = meta
        return found


def keep_copy(run_dir: Path, checkpoint: str, folder: Path) -> None:
    """Make `folder` a shared folder of a run's checkpoint, completely or not at all: only weights
    and configuration, for a run that starts from them. An existing shared folder stays unchanged.

    Raises FileNotFoundError or ValueError if the run or its checkpoint cannot be read, ValueError
    if something else is at `folder`.
    """
    if is_shared(folder):
        return
    if folder.exists():
        raise ValueError(f"{folder} is not the copy of a run that belongs there: move it away")
    read_config_values(run_dir)
    store = checkpoints_of(run_dir)
    step = store.resolve(checkpoint)
    meta = store.load(step).meta
    with replacing_folder(folder) as draft:
        write_bytes(draft / MODEL_FILE, (store.path(step) / MODEL_FILE).read_bytes())
        write_bytes(draft / CONFIG_FILE, (run_dir / CONFIG_FILE).read_bytes())
        kept = {key: meta[key] for key in KEPT_OF_META if key in meta}
        files = {MODEL_FILE: meta["files"][MODEL_FILE]}
        write_json(draft / SHARED_FILE, {"format": FORMAT, **kept, "files": files})
