"""Which programs a run's model becomes, by its task."""

from collections.abc import Callable, Mapping

from data_prep.store.manifest import Manifest
from pipeline.exporting.latent_action import latent_action_programs
from pipeline.exporting.program import Program
from pipeline.exporting.world_model import world_model_programs
from pipeline.runs import Run, latent_action_model
from pipeline.world_models.world_model import WorldModel


def _of_world_model(run: Run, manifest: Manifest) -> list[Program]:
    assert isinstance(run.model, WorldModel)
    return world_model_programs(run.model, manifest.action)


BY_TASK: Mapping[str, Callable[[Run, Manifest], list[Program]]] = {
    "latent_action": lambda run, manifest: latent_action_programs(latent_action_model(run)),
    "world_model": _of_world_model,
}
"""A further task joins here: nothing else in this folder looks into a model."""


def programs_of(run: Run, manifest: Manifest) -> list[Program]:
    """The programs of a run's model; ValueError for a task that has none yet."""
    task: str = run.config.task.name
    if task not in BY_TASK:
        raise ValueError(f"task.name={task} cannot be exported yet; allowed: {', '.join(BY_TASK)}")
    return BY_TASK[task](run, manifest)
