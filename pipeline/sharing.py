"""A run as a folder to hand on: one checkpoint with its configuration, metrics and pictures, and no
private data of the sharer.

`pipeline/run_files/shared.py` lists the files in it. Only the last name of each path is kept, only
the processor is named of the computer, and the names of the dataset's files are left out.
"""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

from orbit import __version__
from orbit.core.config.compose import TASK_RUN, group_options
from orbit.core.config.program import COMMAND
from orbit.core.config.yaml_files import yaml_text
from orbit.core.files.atomic import replacing_folder, write_json, write_text
from orbit.core.files.listing import list_folder
from orbit.core.store.manifest import Manifest, as_plain
from pipeline.arithmetic import use_threads
from pipeline.description.facts import describe_loaded
from pipeline.description.words import NO_LICENSE, Card, card_text
from pipeline.run_files.checkpoint import MODEL_FILE
from pipeline.run_files.reading import CONFIG_FILE, DATASET_FILE, read_config_values
from pipeline.run_files.shared import FORMAT, KEPT_OF_META, SHARED_FILE, is_shared, keep_copy
from pipeline.runs import Run, evaluation_of, load_run
from pipeline.settings import ShareConfig, evaluation_file
from pipeline.training.run_directory import RunDirectory

CARD_FILE = "README.md"
COPIED = ("metrics.jsonl", "result.json")


def share_run(config: ShareConfig) -> list[str]:
    """Make the folder `config.out`, completely or not at all; returns the files in it.

    Raises FileNotFoundError or ValueError if something cannot be read, or if `config.out` exists.
    """
    out = Path(config.out).absolute()
    _check_place(out, config.overwrite)
    use_threads(config.num_threads)
    run = load_run(config.run_dir, str(config.checkpoint))
    data = Path(config.data) if config.data is not None else None
    facts = describe_loaded(run, str(config.checkpoint), data)
    name = config.name or run.path.absolute().name
    with replacing_folder(out) as draft:
        _fill(draft, run, name, facts, config)
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def nameless(value: Any) -> Any:
    """Plain values with each absolute path replaced by its last name."""
    if isinstance(value, dict):
        return {key: nameless(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [nameless(item) for item in value]
    if isinstance(value, str) and os.path.isabs(value):
        return Path(value).name
    return value


def _fill(folder: Path, run: Run, name: str, facts: dict[str, Any], config: ShareConfig) -> None:
    directory = RunDirectory(run.path)
    weights = run.weights_file.read_bytes()
    (folder / MODEL_FILE).write_bytes(weights)
    values = nameless(json.loads(json.dumps(dataclasses.asdict(run.config))))
    write_text(folder / CONFIG_FILE, yaml_text({**values, "run_dir": name}))
    write_json(folder / DATASET_FILE, _without_files(run.manifest))
    for each in COPIED:
        if (run.path / each).is_file():
            shutil.copyfile(run.path / each, folder / each)
    learned_from = getattr(run.config.task, "run", None)
    if learned_from is not None:
        # Runs of earlier versions have no copy of it.
        own, checkpoint = run.path / TASK_RUN, str(getattr(run.config.task, "checkpoint", "best"))
        keep_copy(own if is_shared(own) else Path(learned_from), checkpoint, folder / TASK_RUN)
        values = nameless(read_config_values(folder / TASK_RUN))
        write_text(folder / TASK_RUN / CONFIG_FILE, yaml_text(values))
    measured = _copy_evaluations(run, folder)
    pictures = _copy_pictures(run.path, folder) if config.pictures else []
    trained = _trained(directory, run)
    facts["run_dir"], facts["dataset"]["path"] = name, None
    write_text(
        folder / CARD_FILE,
        card_text(
            Card(
                name,
                config.license or NO_LICENSE,
                facts,
                measured,
                trained,
                nameless(run.manifest.origin.flat()),
                run.checkpoint.meta["dataset"],
                _dataset_command(run.manifest),
                pictures,
            )
        ),
    )
    meta = run.checkpoint.meta
    kept = {key: meta[key] for key in KEPT_OF_META if key in meta}
    files = {MODEL_FILE: meta["files"][MODEL_FILE]}
    write_json(
        folder / SHARED_FILE,
        {"format": FORMAT, "name": name, **kept, "files": files, "trained": trained},
    )


def _without_files(manifest: Manifest) -> dict[str, Any]:
    """The manifest as plain values, without the names of the files that the dataset was made
    from."""
    values = nameless(as_plain(dataclasses.replace(manifest, source_checksums={})))
    assert isinstance(values, dict)
    return values


def _copy_evaluations(run: Run, folder: Path) -> dict[str, Any] | None:
    """Copy the evaluations of this step on its own dataset; returns that of the test split, None
    without one."""
    found: dict[str, Any] = {}
    for split in ("val", "test"):
        written = evaluation_of(run, split)
        if written is not None:
            (folder / "evaluations").mkdir(exist_ok=True)
            write_json(folder / "evaluations" / evaluation_file(run.step, split), written)
            found = written
    return found or None


def _copy_pictures(run_dir: Path, folder: Path) -> list[str]:
    """Copy orbits.png and the files in pictures/, but not the frames of sliders in its
    subfolders."""
    found = [run_dir / "orbits.png", *list_folder(run_dir / "pictures", "*.png")]
    names = []
    for file in found:
        if file.is_file():
            target = folder / file.relative_to(run_dir)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, target)
            names.append(file.relative_to(run_dir).as_posix())
    return names


def _trained(directory: RunDirectory, run: Run) -> dict[str, Any]:
    """How the model was trained: command, versions, ranks, processor. For a shared folder, as
    recorded there."""
    if is_shared(directory.path):
        trained = directory.read_json(SHARED_FILE).get("trained")
        if not isinstance(trained, dict) or not {"versions", "num_ranks"} <= trained.keys():
            raise ValueError(f"{directory.path / SHARED_FILE} does not say how it was trained")
        return trained
    known = directory.read_json("environment.json") or {}
    versions = {
        "orbit": known.get("orbit", __version__),
        "python": known.get("python"),
        **(known.get("packages") or {}),
    }
    command = [_short_word(word) for word in known.get("command") or []]
    if command and command[0].endswith(".py"):
        command[:1] = [COMMAND, command[0].removesuffix(".py")]
    return {
        "command": command,
        "versions": {name: version for name, version in versions.items() if version},
        "num_ranks": run.checkpoint.meta.get("world_size", 1),
        "processor": known.get("gpu") or known.get("processor"),
    }


def _short_word(word: str) -> str:
    """An argument of a command; a path in it is replaced by its last name."""
    key, separator, value = word.partition("=")
    return f"{key}={nameless(value)}" if separator else str(nameless(word))


def _dataset_command(manifest: Manifest) -> str | None:
    if manifest.name not in group_options("dataset"):
        return None
    return f"orbit prepare dataset={manifest.name} out=DATASET"


def _check_place(out: Path, overwrite: bool) -> None:
    """Raise ValueError unless the folder is missing, or is a shared folder that may be replaced."""
    if not out.exists():
        return
    if not overwrite:
        raise ValueError(f"{out} exists: choose another out, or set overwrite=true")
    if not is_shared(out):
        raise ValueError(f"{out} is not a shared folder: overwrite=true does not replace it")
