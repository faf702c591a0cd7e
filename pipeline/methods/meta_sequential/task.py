"""Meta-sequential prediction: its model, and objective and evaluation for the trainer.

The latents of an autoencoder of pictures are matrices, and another matrix moves them on.

    H_t = E(x_t),    M = argmin |H_0 M - H_1|^2,    x_2 is predicted as D(H_1 M)

H has more rows than columns, and M acts on columns alone: all rows are moved alike (Miyato, Koyama,
Fukumizu, "Unsupervised Learning of Equivariant Structure from Sequences", 2022, Section 3).

A record has a source (x_0, x_1) and a target (x_1, x_2). With M from `transition`, the loss is, in
squared errors on [0, 1] summed over values:

    prediction      |D(H_1 M) - x_2|^2, M of H_0 and H_1
    neural          the same, but a network makes M of x_0 and x_1
    reconstruction  mean of |D(H_0 M) - x_1|^2 and |D(H_0 M^2) - x_2|^2, M of all three
    autoencoder     mean over t of |D(H_t) - x_t|^2

Actions are never read.
"""

import math

import torch
from torch import nn

from orbit.core.store.manifest import FrameSpec, Manifest
from orbit.core.store.origin import Episodes
from pipeline.data.packing import Batch, parts_of_pass
from pipeline.methods.interface import PlainTask
from pipeline.methods.meta_sequential.settings import MetaSequentialConfig
from pipeline.models.checkpointing import checkpoint_activations
from pipeline.models.networks import as_channels_last, make_network

GUESS_SCALE = 0.01
"""A network's first M is small, as in the authors' release."""


def transition(latents: torch.Tensor, ridge: float = 0.0) -> torch.Tensor:
    """The M (N, m, m) nearest to moving each H to the next, of latents (N, T, a, m).

    M = (A'A + ridge)^-1 A'B, where A has the rows of all H but the last, and B of all but the
    first. Gradients go through the solution. Not finite where A'A + ridge cannot be inverted.
    """
    with torch.autocast(latents.device.type, enabled=False):
        exact = latents.to(torch.promote_types(latents.dtype, torch.float32))
        before, after = exact[:, :-1].flatten(1, 2), exact[:, 1:].flatten(1, 2)
        square = before.mT @ before
        if ridge:
            square = square + ridge * torch.eye(square.shape[-1]).to(square)
        # Unlike `solve`, this does not wait for a GPU to say whether it went well.
        solution: torch.Tensor = torch.linalg.solve_ex(square, before.mT @ after).result
        return solution


class MetaSequentialModel(nn.Module):
    """`encoder` maps pictures (N, C, H, W) on [0, 1] to num_rows x num_columns numbers, `decoder`
    maps these to values before a sigmoid. A frame stacks two pictures.

    ValueError if the network's layers do not divide the picture.
    """

    def __init__(self, config: MetaSequentialConfig, frames: FrameSpec) -> None:
        super().__init__()
        self.config, self.frames = config, frames
        self.num_channels = frames.shape[0] // 2
        self.size = (config.num_rows, config.num_columns)
        made = make_network(config.model, (self.num_channels, *frames.shape[1:]))
        self.network, num = made.settings, math.prod(self.size)
        flat = math.prod(made.latent_shape)
        self.encoder = nn.Sequential(made.encoder, nn.Flatten(), nn.Linear(flat, num))
        unfold = nn.Unflatten(1, made.latent_shape)
        self.decoder = nn.Sequential(nn.Linear(num, flat), unfold, made.decoder)
        self.guess: nn.Module | None = None
        if config.objective == "neural":
            stack = make_network(config.model, (2 * self.num_channels, *frames.shape[1:]))
            last = nn.Linear(math.prod(stack.latent_shape), config.num_columns**2)
            self.guess = nn.Sequential(stack.encoder, nn.Flatten(), last)
        if getattr(config.model, "activation_checkpointing", False):
            checkpoint_activations(self)
        if getattr(config.model, "memory_format", "contiguous") == "channels_last":
            as_channels_last(self, len(frames.shape) - 1)

    def pictures(self, frames: torch.Tensor) -> torch.Tensor:
        """The pictures (N, T + 1, C, H, W) on [0, 1] of frames in a row (N, T, 2 C, H, W) as
        stored, each of which begins with the last picture of the one before."""
        low, high = self.frames.stored_range
        first = frames[:, :1, : self.num_channels]
        every = torch.cat([first, frames[:, :, self.num_channels :]], 1)
        return (every.float() - low) / (high - low)

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """H (N, T, a, m) of pictures (N, T, C, H, W) on [0, 1]."""
        flat = self.encoder(pictures.flatten(0, 1))
        latents: torch.Tensor = flat.view(*pictures.shape[:2], *self.size)
        return latents

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Pictures (N, T, C, H, W) on [0, 1] of H (N, T, a, m)."""
        flat = self.decoder(latents.flatten(2).flatten(0, 1)).sigmoid()
        pictures: torch.Tensor = flat.unflatten(0, latents.shape[:2])
        return pictures

    def transition(self, pictures: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """M (N, m, m) of pictures (N, 2, C, H, W) and their H (N, 2, a, m)."""
        if self.guess is None:
            return transition(latents, self.config.ridge)
        found = GUESS_SCALE * self.guess(pictures.flatten(1, 2))
        matrices: torch.Tensor = found.unflatten(1, (self.size[1], self.size[1]))
        return matrices.to(torch.promote_types(found.dtype, torch.float32))


def moved(latent: torch.Tensor, matrix: torch.Tensor, num_steps: int) -> torch.Tensor:
    """H M, H M^2, ... (N, num_steps, a, m), of H (N, a, m) and M (N, m, m)."""
    with torch.autocast(latent.device.type, enabled=False):
        found = [latent.to(matrix)]
        for _ in range(num_steps):
            found.append(found[-1] @ matrix)
        return torch.stack(found[1:], 1)


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
