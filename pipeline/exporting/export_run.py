"""A run's model as a folder of files that need torch or safetensors and nothing else.

out/
  model.safetensors    the weights alone
  NAME.pt2             torch.export programs with their weights, for any batch size
  signature.json       what goes in and comes out; written last
"""

import shutil
import uuid
from pathlib import Path
from typing import Any

from safetensors.torch import save as save_safetensors

from data_prep.store.manifest import read_manifest
from pipeline.exporting.program import greatest_difference, write_program
from pipeline.exporting.programs import programs_of
from pipeline.exporting.settings import ExportConfig
from pipeline.exporting.signature import make_signature
from pipeline.files.atomic import sync_directory, sync_file, write_json
from pipeline.progress import Progress
from pipeline.runs import load_run
from pipeline.threads import use_threads
from pipeline.training.float32 import exact_float32

WEIGHTS, SIGNATURE = "model.safetensors", "signature.json"


@exact_float32()
def export_run(config: ExportConfig) -> dict[str, Any]:
    """Make the folder `config.out_dir`, whole or not at all; returns the signature.

    Raises FileNotFoundError or ValueError for what cannot be read, a task that cannot be
    exported, a folder that is in the way, or programs that do not agree with the model.
    """
    out = config.out_dir
    _check_place(out, config.overwrite)
    use_threads(config.num_threads)
    run = load_run(config.run_dir, str(config.checkpoint), config.data)
    manifest = read_manifest(Path(config.data if config.data is not None else run.config.data))
    programs = programs_of(run, manifest)
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    draft = out.absolute().with_name(f".{out.absolute().name}.{uuid.uuid4().hex[:12]}.tmp")
    draft.mkdir()
    differences: dict[str, float] = {}
    try:
        weights = {name: values.contiguous() for name, values in run.model.state_dict().items()}
        step = {"step": str(run.step), "run": config.run_dir, "task": run.config.task.name}
        (draft / WEIGHTS).write_bytes(save_safetensors(weights, step))
        with Progress(len(programs), "programs", "exporting") as progress:
            for program in programs:
                progress.note(program.name)
                write_program(program, draft / program.file)
                difference = greatest_difference(program, draft / program.file, run.places())
                if not difference <= config.tolerance:
                    raise ValueError(
                        f"{program.file} is off the model by {difference:.3g}, more than"
                        f" tolerance={config.tolerance:g}"
                    )
                differences[program.name] = difference
                progress.advance()
        signature = make_signature(run, manifest, programs, differences)
        for file in draft.iterdir():
            sync_file(file)
        write_json(draft / SIGNATURE, signature)
        if out.exists():
            shutil.rmtree(out)
        draft.rename(out.absolute())
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    sync_directory(out.absolute().parent)
    return signature


def _check_place(out: Path, overwrite: bool) -> None:
    """Only an earlier export may be replaced, never a folder of something else."""
    if not out.exists():
        return
    if not overwrite:
        raise ValueError(f"{out} exists: choose another out, or say overwrite=true")
    if not (out / SIGNATURE).is_file():
        raise ValueError(f"{out} is no earlier export: overwrite=true does not replace it")
