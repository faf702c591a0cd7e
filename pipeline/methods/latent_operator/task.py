"""The latent operator task: views of one image must agree, and be classified, in pose e.

    u = P^-k z(g x)                     g = a^k; the source x is in pose e
    alignment  |u - z(x)|^2 / D
    class      cross-entropy of u
    order      |P^n - 1|^2 / D^2        of a learned P

Without an operator u is z(g x). Validation, and so the choice of a checkpoint, counts losses of
elements that training saw: nothing about the others is known then.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from orbit.core.groups import make_group
from orbit.core.store.manifest import Manifest
from orbit.core.store.origin import Orbits, Table
from pipeline.data.packing import Batch
from pipeline.methods.interface import PlainTask
from pipeline.methods.latent_operator.model import LatentOperatorModel
from pipeline.methods.latent_operator.settings import LatentOperatorConfig


def class_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each record (N,); a label that is none of the classes raises ValueError on a
    CPU and gives NaN on a GPU, which is not waited for."""
    num_classes = logits.shape[1]
    is_known = (labels >= 0) & (labels < num_classes)
    if labels.device.type == "cpu" and not is_known.all():
        raise ValueError(
            f"task.num_classes={num_classes}, but the dataset has the label"
            f" {int(labels[~is_known][0])}: labels must be from 0 to below num_classes"
        )
    losses = cross_entropy(logits.float(), labels.clamp(0, num_classes - 1), reduction="none")
    return losses.masked_fill(~is_known, torch.nan)


def pair_losses(
    model: LatentOperatorModel,
    source: torch.Tensor,
    target: torch.Tensor,
    g: torch.Tensor,
    labels: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Alignment and class loss of pairs of stored frames, (N,) each, and logits (N, K)."""
    moved, still = model.latent(torch.cat((target, source))).chunk(2)
    moved = model.at_rest(moved, g)
    logits = model.classifier(moved)
    return (moved - still).float().square().mean(1), class_losses(logits, labels), logits


class LatentOperatorObjective(nn.Module):
    """The sum of the losses above, the alignment with its weight."""

    def __init__(self, model: LatentOperatorModel) -> None:
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
        model = self.model
        losses = pair_losses(model, source, target, model.group.decode(action), label)
        terms = [losses[0].mean(), losses[1].mean(), *model.order_terms()]
        total = sum(terms[1:], model.config.alignment * terms[0])
        return total, torch.stack([total, *terms]).detach()


class LatentOperatorEvaluation:
    """Losses over elements that training saw, accuracy of the class in known poses.

    Float64 sums; see `pipeline.methods.interface.Evaluation`.
    """

    def __init__(self, model: LatentOperatorModel) -> None:
        self.model = model
        # For each bin: records, hits, alignment, class loss.
        sums = torch.zeros(4, len(model.group.bin_names), dtype=torch.float64)
        self._sums = sums.to(next(model.parameters()).device)

    @torch.no_grad()
    def update(self, batch: Batch) -> None:
        g = self.model.group.decode(batch.action)
        *losses, logits = pair_losses(self.model, batch.source, batch.target, g, batch.label)
        parts = [torch.ones_like(batch.valid), logits.argmax(1) == batch.label, *losses]
        rows = torch.stack([part.double() for part in parts]) * batch.valid.double()
        self._sums.index_add_(1, self.model.group.bin_index(g), rows)

    def sums(self) -> torch.Tensor:
        return self._sums.flatten()

    @torch.no_grad()
    def metrics(self, sums: torch.Tensor) -> dict[str, float]:
        table = sums.view_as(self._sums).cpu()
        count, _, *losses = table[:, are_seen(self.model)].sum(1).tolist()
        terms = [loss / max(1, count) for loss in losses] + [*map(float, self.model.order_terms())]
        total = self.model.config.alignment * terms[0] + sum(terms[1:])
        accuracy = shares("class_accuracy", table[:2], self.model)
        return {**dict(zip(TERM_NAMES, (total, *terms), strict=False)), **accuracy}


def are_seen(model: LatentOperatorModel) -> torch.Tensor:
    """Whether training saw the elements of each bin, (bins,) bool."""
    seen = model.seen_bins
    return torch.tensor([seen is None or name in seen for name in model.group.bin_names])


def shares(name: str, table: torch.Tensor, model: LatentOperatorModel) -> dict[str, float]:
    """The share of hits, from the numbers of records and of hits in each bin, (2, bins).

    NAME is that of all records, NAME/BIN that of a bin, NAME/seen_elements and /unseen_elements
    those of the elements that training saw and of the others. Of nothing there is no share.
    """
    is_seen, names = are_seen(model), model.group.bin_names
    sets = {name: torch.ones_like(is_seen)}
    for chosen, each in zip(torch.eye(len(names)).bool(), names, strict=True):
        sets[f"{name}/{each}"] = chosen
    if model.seen_bins is not None:
        sets |= {f"{name}/seen_elements": is_seen, f"{name}/unseen_elements": ~is_seen}
    sums = {title: table[:, chosen].sum(1).tolist() for title, chosen in sets.items()}
    return {title: hits / num for title, (num, hits) in sums.items() if num}


TERM_NAMES = ("loss/total", "loss/alignment", "loss/class", "loss/order")


class LatentOperatorTask(PlainTask):
    """See `pipeline.methods.interface.Task`. Raises ValueError unless sources are in pose e."""

    mixes_batch = False
    selection_metric = "loss/class"

    def __init__(
        self, config: LatentOperatorConfig, manifest: Manifest, device: torch.device
    ) -> None:
        name, origin = manifest.name, manifest.origin
        if not isinstance(origin, Orbits | Table):
            raise ValueError(
                f"task.name=latent_operator classifies views of images; {name} holds {origin.kind}"
            )
        if isinstance(origin, Orbits) and "all_pairs" in origin.pairs.values():
            raise ValueError(
                f"task.name=latent_operator takes sources for images in pose e, but those of {name}"
                " are in all poses (all_pairs); allowed: pairs of orbit, drawn or sources"
            )
        seen = origin.train_bins if isinstance(origin, Orbits) else None
        group = make_group(manifest.group)
        self.model = LatentOperatorModel(config, group, manifest.frames, seen).to(device)
        self.objective = LatentOperatorObjective(self.model)
        self.term_names = TERM_NAMES if config.operator == "learned" else TERM_NAMES[:-1]

    def evaluation(self, model: nn.Module) -> LatentOperatorEvaluation:
        assert isinstance(model, LatentOperatorModel)
        return LatentOperatorEvaluation(model)
