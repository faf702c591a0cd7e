"""From a task's name to its final evaluation."""

from pipeline.evaluation import latent_action
from pipeline.evaluation.final import FinalEvaluation

FINAL: dict[str, FinalEvaluation] = {"latent_action": latent_action}
