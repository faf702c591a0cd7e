"""The task of meta-sequential prediction: objective and evaluation for the trainer.

A record has a source (x_0, x_1) and a target (x_1, x_2). With H_t = E(x_t) and M from
`transition`, the loss is, in squared errors on [0, 1] summed over values:

    prediction      |D(H_1 M) - x_2|^2, M of H_0 and H_1
    neural          the same, but a network makes M of x_0 and x_1
    reconstruction  mean of |D(H_0 M) - x_1|^2 and |D(H_0 M^2) - x_2|^2, M of all three
    autoencoder     mean over t of |D(H_t) - x_t|^2

Actions are never read.
"""

import torch
from torch import nn

from orbit.core.store.manifest import Manifest
from orbit.core.store.origin import Episodes
from pipeline.data.packing import Batch, parts_of_pass
from pipeline.methods.interface import PlainTask
from pipeline.methods.meta_sequential.model import MetaSequentialModel, moved, transition
from pipeline.methods.meta_sequential.settings import MetaSequentialConfig

PREDICTING = ("prediction", "neural")


def squared_errors(predicted: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Sums over the values of each picture, (N, T), of pictures (N, T, C, H, W)."""
    return (predicted.to(wanted.dtype) - wanted).square().flatten(2).sum(2)


def prediction_losses(model: MetaSequentialModel, pictures: torch.Tensor) -> torch.Tensor:
    """The squared error of the predicted third picture, (N,), of pictures (N, 3, C, H, W)."""
    latents = model.encode(pictures[:, :2])
    predicted = model.decode(moved(latents[:, 1], model.transition(pictures[:, :2], latents), 1))
    return squared_errors(predicted, pictures[:, 2:])[:, 0]


def losses_of(model: MetaSequentialModel, pictures: torch.Tensor) -> torch.Tensor:
    """The loss of each record, (N,), of pictures (N, 3, C, H, W) on [0, 1]."""
    if model.config.objective in PREDICTING:
        return prediction_losses(model, pictures)
    latents = model.encode(pictures)
    if model.config.objective == "autoencoder":
        return squared_errors(model.decode(latents), pictures).mean(1)
    again = moved(latents[:, 0], transition(latents, model.config.ridge), 2)
    return squared_errors(model.decode(again), pictures[:, 1:]).mean(1)


class MetaSequentialObjective(nn.Module):
    """The mean of `losses_of`."""

    def __init__(self, model: MetaSequentialModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        source: torch.Tensor,
        target: torch.Tensor,
        action: torch.Tensor,
        label: torch.Tensor,
        valid: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss and the vector of its terms."""
        pictures = self.model.pictures(torch.stack([source, target], 1))
        loss = losses_of(self.model, pictures).mean()
        return loss, loss.detach()[None]


class MetaSequentialEvaluation:
    """The loss and, for the controls, the error of the predicted picture, over all records.

    Float64 sums; see `pipeline.methods.interface.Evaluation`.
    """

    def __init__(self, model: MetaSequentialModel) -> None:
        self.model = model
        device = next(model.parameters()).device
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)

    @torch.no_grad()
    def update(self, batch: Batch) -> None:
        model = self.model
        for part in parts_of_pass(batch.source):
            pictures = model.pictures(torch.stack([batch.source[part], batch.target[part]], 1))
            losses = losses_of(model, pictures)
            is_own = model.config.objective in PREDICTING
            errors = losses if is_own else prediction_losses(model, pictures)
            parts = torch.stack([torch.ones_like(losses), losses, errors]).double()
            self._sums += parts @ batch.valid[part].double()

    def sums(self) -> torch.Tensor:
        return self._sums

    def metrics(self, sums: torch.Tensor) -> dict[str, float]:
        count, loss, error = sums.tolist()
        return {"loss/total": loss / count, "loss/prediction": error / count}


class MetaSequentialTask(PlainTask):
    """See `pipeline.methods.interface.Task`. Raises ValueError unless frames stack two pictures."""

    term_names = ("loss/total",)
    mixes_batch = False
    selection_metric = "loss/total"

    def __init__(
        self, config: MetaSequentialConfig, manifest: Manifest, device: torch.device
    ) -> None:
        origin, shape = manifest.origin, manifest.frames.shape
        if not isinstance(origin, Episodes) or len(shape) != 3 or shape[0] not in (2, 6):
            raise ValueError(
                f"task.name=meta_sequential needs episodes whose frames stack two pictures, grey or"
                f" coloured, one action apart; {manifest.name} holds {origin.kind} with frames of"
                f" {shape}; dataset=coloured_digits has such"
            )
        self.model = MetaSequentialModel(config, manifest.frames).to(device)
        self.objective = MetaSequentialObjective(self.model)

    def evaluation(self, model: nn.Module) -> MetaSequentialEvaluation:
        assert isinstance(model, MetaSequentialModel)
        return MetaSequentialEvaluation(model)
