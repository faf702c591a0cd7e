"""Which programs a run's model becomes, by its task."""

from collections.abc import Callable, Mapping

from pipeline.exporting.latent_action import latent_action_programs
from pipeline.exporting.program import Program
from pipeline.runs import Run, latent_action_model

BY_TASK: Mapping[str, Callable[[Run], list[Program]]] = {
    "latent_action": lambda run: latent_action_programs(latent_action_model(run)),
}
"""A further task joins here: nothing else in this folder looks into a model."""


def programs_of(run: Run) -> list[Program]:
    """The programs of a run's model; ValueError for a task that has none yet."""
    task: str = run.config.task.name
    if task not in BY_TASK:
        raise ValueError(f"task.name={task} cannot be exported yet; allowed: {', '.join(BY_TASK)}")
    return BY_TASK[task](run)
