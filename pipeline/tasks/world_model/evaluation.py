"""Metrics of a world model over a split, the same for any rank count.

Within each batch of `validation_batch` records (the last may be smaller):

    loss/...        the training loss but for a mask's term, negatives spread evenly over
                    the batch
    hits_at_1       share of true next latents z'_i to which no prediction is nearer than
                    T(z_i, a_i): ties count as hits, so read it beside `latent_spread`
    latent_spread   mean energy between negatives, without the hinge: 0 if all latents agree
    latent_change   mean energy between a state and its next: far below `latent_spread` if
                    latents hold what no action changes

Records of a split come in the order of time. A negative one place on would be the next
state of the same episode, so negatives here are n / (K + 1) places apart, of n records.
"""

import torch

from pipeline.data.packing import Batch
from pipeline.global_batch import gather_rows
from pipeline.global_batch.ranks import rank_number
from pipeline.tasks.world_model.energy import energy
from pipeline.tasks.world_model.settings import ContrastiveConfig
from pipeline.world_models.world_model import WorldModel


class ContrastiveEvaluation:
    """Float64 sums of one split; see `pipeline.tasks.interface.Evaluation`.

    All ranks update together: a batch's candidates are those of the global batch.
    """

    def __init__(self, model: WorldModel, config: ContrastiveConfig) -> None:
        self.model, self.config = model, config
        device = next(model.parameters()).device
        # Records, positive, hits, records with a negative, negative, spread, change, moved.
        self._sums = torch.zeros(8, dtype=torch.float64, device=device)

    @torch.no_grad()
    def update(self, batch: Batch) -> None:
        model, config = self.model, self.config
        latent, following = model.latent(batch.source), model.latent(batch.target)
        predicted = model.predict(latent, batch.action)
        valid = batch.valid.double()
        positive = energy(predicted, following, model.num_objects, config.sigma)
        latents, is_valid = gather_rows(latent), gather_rows(batch.valid)
        # Valid places come first in the global batch.
        count = is_valid.sum().long()
        own = rank_number() * len(latent) + torch.arange(len(latent), device=latent.device)
        distance = (count // (config.num_negatives + 1)).clamp_min(1)
        apart = torch.stack(
            [
                energy(
                    latent, latents[(own + j * distance) % count], model.num_objects, config.sigma
                )
                for j in range(1, config.num_negatives + 1)
            ]
        )
        has_negative = valid * (count > 1)
        moved = energy(latent, following, model.num_objects, config.sigma)
        parts = [
            valid,
            positive * valid,
            hits(predicted, following, is_valid, own) * valid,
            has_negative,
            (config.hinge - apart).clamp_min(0).mean(0) * has_negative,
            apart.mean(0) * has_negative,
            (config.hinge - moved).clamp_min(0) * valid,
            moved * valid,
        ]
        self._sums += torch.stack(parts).sum(1)

    def sums(self) -> torch.Tensor:
        return self._sums

    def metrics(self, sums: torch.Tensor) -> dict[str, float]:
        count, positive, hits_at_1, num_negative, negative, spread, change, moved = sums.tolist()
        positive, negative = positive / count, negative / max(1.0, num_negative)
        return {
            "loss/total": positive + negative + self.config.change_weight * change / count,
            "loss/positive": positive,
            "loss/negative": negative,
            "hits_at_1": hits_at_1 / count,
            "latent_spread": spread / max(1.0, num_negative),
            "latent_change": moved / count,
        }


def hits(
    predicted: torch.Tensor, following: torch.Tensor, is_valid: torch.Tensor, own: torch.Tensor
) -> torch.Tensor:
    """Whether no other valid prediction of the global batch is nearer to a true latent, (B,).

    `predicted` and `following` are this rank's rows, at the places `own` of the batch.
    """
    candidates = gather_rows(predicted.float()).flatten(1)
    distances = torch.cdist(
        following.float().flatten(1), candidates, compute_mode="donot_use_mm_for_euclid_dist"
    )
    mine = distances.gather(1, own[:, None])
    nearer = (distances < mine) & (is_valid > 0)
    return (~nearer.any(1)).double()
