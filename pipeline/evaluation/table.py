"""From a task's name to its final evaluation."""

from pipeline.evaluation import decoder, latent_action, sequence_labelling, world_model
from pipeline.evaluation.final import FinalEvaluation

FINAL: dict[str, FinalEvaluation] = {
    "decoder": decoder,
    "latent_action": latent_action,
    "sequence_labelling": sequence_labelling,
    "world_model": world_model,
}
