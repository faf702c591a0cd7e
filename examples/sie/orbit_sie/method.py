"""SIE: a representation that is split into an invariant and an equivariant half.

Garrido, Najman, LeCun, *Self-supervised learning of split invariant equivariant representations*
(ICML 2023). There is no decoder. A network maps an image to h = [h_i; h_v]; two projectors give
embeddings e_i and e_v; a linear map W(g), itself linear in a feature of g, predicts e_v of g x:

    loss = 10 mse(e_i(x), e_i(gx)) + 4.5 mse(W(g) e_v(x), e_v(gx))
         + 10 V + 10 V(W(g) e_v(x)) + C

V is half the mean hinge of 1 minus the standard deviation of each number over the global batch,
which keeps embeddings from collapsing; C is the sum of squared covariances of different numbers, by
their number. Both are taken of [e_i; e_v] of both images and added, so that the halves hold
different things.

The original gives W the quaternion of g, and W(-q) = -W(q) although q and -q are one rotation.
Here W is linear in the entries of the irreducible representations of g up to `max_frequency`, the
trivial one among them, which also lets it hold what does not move.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn.functional import mse_loss, relu

from orbit.api import (
    Batch,
    Column,
    Count,
    Findings,
    GlobalBatchNorm,
    Group,
    Latents,
    Manifest,
    Method,
    Metric,
    NetworkConfig,
    NotNegative,
    Open,
    PlainTask,
    Subject,
    gather_rows,
    limited,
    make_group,
    make_network,
    save_figure,
)

TERMS = (
    "loss/total",
    "loss/invariance",
    "loss/prediction",
    "loss/variance",
    "loss/predicted_variance",
    "loss/covariance",
)
EPSILON = 1e-4
"""Added to variances before their root is taken."""


@dataclass(frozen=True)
@limited
class Weights:
    """Weights of the terms of the loss; `variance` counts for both of its terms."""

    invariance: NotNegative = 10.0
    prediction: NotNegative = 4.5
    variance: NotNegative = 10.0
    covariance: NotNegative = 1.0

    def of_terms(self) -> tuple[float, ...]:
        """In the order of the terms behind the total."""
        both = (self.variance, self.variance)
        return (self.invariance, self.prediction, *both, self.covariance)


@dataclass(frozen=True)
@limited
class SieConfig:
    """A network whose latent is a vector; half of it is invariant, half equivariant.

    Projectors have `num_hidden` units in two hidden layers, embeddings `embedding_size` numbers for
    each half.
    """

    name: Literal["sie"]
    model: Annotated[NetworkConfig, Open("networks")]
    num_hidden: Count = 256
    embedding_size: Count = 128
    max_frequency: Count = 1
    weights: Weights = field(default_factory=Weights)

    def __post_init__(self) -> None:
        size = getattr(self.model, "vector_size", None)
        if size is None or size % 2:
            raise ValueError(f"task.model.vector_size={size} must be even: it is split in halves")


class Projector(nn.Sequential):
    """(N, D) to embeddings (N, E): two hidden layers with batch norm, a last one without bias."""

    def __init__(self, num_input: int, num_hidden: int, num_output: int) -> None:
        layers: list[nn.Module] = []
        for before in (num_input, num_hidden):
            layers += [nn.Linear(before, num_hidden), GlobalBatchNorm(num_hidden), nn.ReLU()]
        super().__init__(*layers, nn.Linear(num_hidden, num_output, bias=False))


class Embeddings(nn.Module):
    """The network, its projectors and the predictor W."""

    def __init__(self, config: SieConfig, manifest: Manifest) -> None:
        super().__init__()
        self.encoder = make_network(config.model, manifest.frames.shape).encoder
        half = int(getattr(config.model, "vector_size", 0)) // 2
        sizes = (half, config.num_hidden, config.embedding_size)
        self.invariant, self.equivariant = Projector(*sizes), Projector(*sizes)
        self.group: Group = make_group(manifest.group)
        self.irreps = self.group.irreps(config.max_frequency)
        num = sum(irrep.size**2 for irrep in self.irreps)
        self.predictor = nn.Linear(num, config.embedding_size**2, bias=False)
        self._scale, self._shift = manifest.frames.loading()

    def represent(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Stored frames (N, C, ...) to the halves h_i and h_v of their representations."""
        loaded = frames.to(torch.float32) * self._scale + self._shift
        first, second = self.encoder(loaded).flatten(1).chunk(2, 1)
        return first, second

    def embed(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Stored frames to e_i and e_v, (N, E) each."""
        invariant, equivariant = self.represent(frames)
        return self.invariant(invariant), self.equivariant(equivariant)

    def predict(self, embedded: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """W(g) e_v for embeddings (N, E) and elements, one each."""
        features = [irrep.matrix(g).flatten(1) for irrep in self.irreps]
        matrices = self.predictor(torch.cat(features, 1).to(embedded.dtype))
        return torch.einsum("nij,nj->ni", matrices.view(len(g), *2 * embedded.shape[1:]), embedded)

    def forward(
        self, source: torch.Tensor, target: torch.Tensor, action: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """[e_i; e_v] of both frames, and W(g) e_v of the first."""
        (i1, v1), (i2, v2) = self.embed(source), self.embed(target)
        return i1, v1, i2, v2, self.predict(v1, self.group.decode(action))


def spread_terms(
    covariances: tuple[torch.Tensor, torch.Tensor], predicted_variance: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """V, V of predictions, and C, of the (D, D) covariances of both views' embeddings."""
    hinges = [relu(1 - (each.diagonal() + EPSILON).sqrt()).mean() / 2 for each in covariances]
    predicted = relu(1 - (predicted_variance + EPSILON).sqrt()).mean() / 2
    redundancies = [
        (each.square().sum() - each.diagonal().square().sum()) / len(each) for each in covariances
    ]
    return torch.stack(hinges).sum(), predicted, torch.stack(redundancies).sum()


def covariance(rows: torch.Tensor) -> torch.Tensor:
    """The unbiased covariance (D, D) of rows (N, D)."""
    centred = rows - rows.mean(0)
    return centred.T @ centred / (len(rows) - 1)


class SieObjective(nn.Module):
    """The loss over the global batch."""

    def __init__(self, model: Embeddings, weights: Weights) -> None:
        super().__init__()
        self.model, self.weights = model, weights.of_terms()

    def forward(
        self, source: Any, target: Any, action: Any, label: Any, valid: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        parts = [part.float() for part in self.model(source, target, action)]
        i1, v1, i2, v2, predicted = parts
        views = [gather_rows(torch.cat(each, 1)) for each in ((i1, v1), (i2, v2))]
        terms = [
            mse_loss(i1, i2),
            mse_loss(predicted, v2),
            *spread_terms(
                (covariance(views[0]), covariance(views[1])), gather_rows(predicted).var(0)
            ),
        ]
        total = sum(w * term for w, term in zip(self.weights, terms, strict=True))
        assert isinstance(total, torch.Tensor)
        return total, torch.stack([total, *terms]).detach()


class SieEvaluation:
    """The same terms with the variances and covariances of a whole split, from float64 sums: the
    number of records, two errors, and moments of both views and of predictions."""

    def __init__(self, model: Embeddings, config: SieConfig) -> None:
        self.model, self.weights = model, config.weights.of_terms()
        self.size = size = 2 * config.embedding_size
        device = model.predictor.weight.device
        num = 3 + 2 * (size + size**2) + size
        self._sums = torch.zeros(num, dtype=torch.float64, device=device)

    @torch.no_grad()
    def update(self, batch: Batch) -> None:
        i1, v1, i2, v2, predicted = (
            part.double() for part in self.model(batch.source, batch.target, batch.action)
        )
        weight = batch.valid.double()
        errors = [((a - b).square().mean(1) * weight).sum() for a, b in ((i1, i2), (predicted, v2))]
        parts = [weight.sum()[None], torch.stack(errors)]
        for rows in (torch.cat([i1, v1], 1), torch.cat([i2, v2], 1)):
            kept = rows * weight[:, None]
            parts += [kept.sum(0), (kept.T @ rows).flatten()]
        kept = predicted * weight[:, None]
        parts += [kept.sum(0), (kept * predicted).sum(0)]
        self._sums += torch.cat(parts)

    def sums(self) -> torch.Tensor:
        return self._sums

    def metrics(self, sums: torch.Tensor) -> dict[str, float]:
        size = self.size
        one = size + size**2
        head, first, second, last = sums.split([3, one, one, size])
        num = head[0]

        def spread(sum_of: torch.Tensor, second_moment: torch.Tensor) -> torch.Tensor:
            mean = sum_of / num
            return (second_moment / num - mean.outer(mean)) * num / (num - 1).clamp(min=1)

        covariances = [
            spread(each[:size], each[size:].view(size, size)) for each in (first, second)
        ]
        mean, square = (each / num for each in last.chunk(2))
        variance = (square - mean.square()).clamp(min=0) * num / (num - 1).clamp(min=1)
        terms = [*(head[1:] / num), *spread_terms((covariances[0], covariances[1]), variance)]
        total = sum(w * term for w, term in zip(self.weights, terms, strict=True))
        return {name: float(each) for name, each in zip(TERMS, (total, *terms), strict=True)}


class SieTask(PlainTask):
    """See `orbit.api.Task`."""

    term_names, mixes_batch, selection_metric = TERMS, True, "loss/total"

    def __init__(self, config: SieConfig, manifest: Manifest, device: torch.device) -> None:
        self._config = config
        self.model = Embeddings(config, manifest).to(device)
        self.objective = SieObjective(self.model, config.weights)

    def evaluation(self, model: nn.Module) -> SieEvaluation:
        assert isinstance(model, Embeddings)
        return SieEvaluation(model, self._config)


def offered(model: nn.Module, manifest: Manifest) -> Latents:
    """z_v is e_v, on which W acts, z_i is e_i, and h the representation that probes read."""
    assert isinstance(model, Embeddings)

    def encode(frames: torch.Tensor) -> Mapping[str, torch.Tensor]:
        invariant, equivariant = model.represent(frames)
        return {
            "z_v": model.equivariant(equivariant),
            "z_i": model.invariant(invariant),
            "h_v": equivariant,
            "h_i": invariant,
        }

    return Latents(encode, "z_v", model.predict)


def _measure(subject: Subject) -> Findings:
    return Findings({})  # no metrics beyond those of validation and the shared ones


@torch.no_grad()
def _draw(subject: Subject) -> None:
    """spectrum.png: the singular values of both embeddings; a collapsed one has few."""
    import matplotlib.pyplot as plt

    num = min(512, subject.reader.num_records)
    model = subject.run.model
    assert isinstance(model, Embeddings)
    frames = torch.from_numpy(subject.reader.read(np.arange(num)).source)
    embedded = model.embed(frames.to(model.predictor.weight.device))
    figure, axis = plt.subplots(figsize=(5, 3.2))
    for name, rows in zip(("$e_i$, invariant", "$e_v$, equivariant"), embedded, strict=True):
        values = torch.linalg.svdvals((rows - rows.mean(0)).double()) / max(1, num - 1) ** 0.5
        axis.semilogy(np.arange(1, len(values) + 1), values.cpu().clamp(min=1e-8), label=name)
    axis.set_xlabel("singular value")
    axis.set_ylabel("standard deviation")
    axis.legend()
    save_figure(figure, subject.run_dir / "spectrum.png")


METHOD = Method(
    "sie",
    SieConfig,
    SieTask,
    _measure,
    _draw,
    latents=offered,
    describe=lambda run, manifest: {"SIE": "splits a representation; it has no decoder"},
    metrics=(
        Metric("loss/total", "The loss of training over a whole split.", "lower"),
        Metric(
            "loss/prediction",
            "Mean squared error of the predicted embedding of g x.",
            "lower",
            is_headline=True,
            column=Column("prediction", 4),
        ),
        Metric("loss/invariance", "Mean squared difference of invariant embeddings.", "lower"),
        Metric("loss/variance", "Mean hinge of 1 minus the standard deviations.", "lower"),
        Metric("loss/predicted_variance", "The same of predicted embeddings.", "lower"),
        Metric("loss/covariance", "Squared covariances of different numbers.", "lower"),
    ),
)
