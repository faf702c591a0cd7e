"""The latent operator: views of one image must agree, and be classified, in pose e.

A cyclic group acts on a linear latent by the powers of one operator, and a classifier reads it.

    z(g x) = P^k z(x)    for g = a^k, a the group's generator

`fixed` shifts each block of n numbers cyclically, n being the order of the group: (P z)_i =
z_(i + 1). `learned` is any matrix; the loss brings P^n to the identity, and P^-k is P^(n - k).

    u = P^-k z(g x)                     g = a^k; the source x is in pose e
    alignment  |u - z(x)|^2 / D
    class      cross-entropy of u
    order      |P^n - 1|^2 / D^2        of a learned P

Without an operator u is z(g x). Validation, and so the choice of a checkpoint, counts losses of
elements that training saw: nothing about the others is known then.
"""

import math

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from orbit.core.groups import Group, make_group
from orbit.core.store.manifest import FrameSpec, Manifest
from orbit.core.store.origin import Orbits, Table
from pipeline.data.packing import Batch
from pipeline.methods.interface import PlainTask
from pipeline.methods.latent_operator.settings import LatentOperatorConfig


def powers_of_generator(group: Group) -> torch.Tensor:
    """For each element, in the group's order, the k for which it is a^k, (n,) int64.

    a is the first element whose powers are the whole group; ValueError if there is none.
    """
    num = group.num_elements
    if num is not None:
        elements, powers = group.elements(), [group.identity(num)]
        for _ in range(num - 1):
            powers.append(group.compose(elements, powers[-1]))
        reached = torch.stack([group.element_index(each) for each in powers], 1)
        for row in reached:  # the powers of one element
            if len(row.unique()) == num:
                place: torch.Tensor = row.argsort()
                return place
    raise ValueError(
        f"task.operator needs a cyclic group, whose elements are the powers of one, not"
        f" {group.name}; allowed: c4, turns:NUM, wrap1d:PERIOD:STEP, or task.operator=none"
    )


class CyclicShift(nn.Module):
    """P^k shifts each block of `num` numbers by k places."""

    def __init__(self, size: int, num: int) -> None:
        super().__init__()
        if size % num:
            raise ValueError(
                f"task.latent_size={size} must be a multiple of the {num} elements of the group"
                " for task.operator=fixed"
            )
        self.num = num

    def forward(self, latent: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
        """P^k z for latents (N, D) and powers k (N,) in 0 to num - 1."""
        blocks = latent.unflatten(1, (-1, self.num))
        place = (torch.arange(self.num, device=power.device) + power[:, None]) % self.num
        moved: torch.Tensor = blocks.gather(2, place[:, None].expand_as(blocks))
        return moved.flatten(1)


class LearnedOperator(nn.Module):
    """P is a matrix, which starts orthogonal."""

    def __init__(self, size: int, num: int) -> None:
        super().__init__()
        self.num = num
        self.matrix = nn.Parameter(torch.linalg.qr(torch.randn(size, size)).Q)

    def forward(self, latent: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
        """P^k z for latents (N, D) and powers k (N,) in 0 to num - 1."""
        with torch.autocast(latent.device.type, enabled=False):
            powers = [torch.eye(len(self.matrix), device=latent.device)]
            for _ in range(self.num - 1):
                powers.append(powers[-1] @ self.matrix)
            every = latent.float() @ torch.cat(powers).T
            moved: torch.Tensor = every.unflatten(1, (self.num, -1))
            place = power[:, None, None].expand(-1, 1, moved.shape[2])
            return moved.gather(1, place).squeeze(1)


class LatentOperatorModel(nn.Module):
    """`encoder` is linear without bias, on all values of a frame scaled to [0, 1]; `operator` is
    None for a model without one; `classifier` has one hidden layer with a sigmoid. Training saw
    the elements of `seen_bins`, or all for None."""

    power: torch.Tensor

    def __init__(
        self,
        config: LatentOperatorConfig,
        group: Group,
        frames: FrameSpec,
        seen_bins: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__()
        self.config, self.group, self.frames, self.seen_bins = config, group, frames, seen_bins
        size, hidden = config.latent_size, config.hidden
        self.encoder = nn.Linear(math.prod(frames.shape), size, bias=False)
        last = nn.Linear(hidden, config.num_classes)
        self.classifier = nn.Sequential(nn.Linear(size, hidden), nn.Sigmoid(), last)
        self.operator: CyclicShift | LearnedOperator | None = None
        if config.operator != "none":
            power = powers_of_generator(group)
            kind = CyclicShift if config.operator == "fixed" else LearnedOperator
            self.operator = kind(size, len(power))
            self.register_buffer("power", power, persistent=False)

    def latent(self, frames: torch.Tensor) -> torch.Tensor:
        """z (N, D) of frames (N, C, ...) as stored."""
        low, high = self.frames.stored_range
        # Scaling the few numbers of z, not all pixels, almost halves the time of a step.
        latent: torch.Tensor = self.encoder(frames.flatten(1).float())
        return (latent - low * self.encoder.weight.sum(1) if low else latent) / (high - low)

    def act(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """Latents (N, D) moved by elements, one each; unchanged if there is no operator."""
        if self.operator is None:
            return latent
        moved: torch.Tensor = self.operator(latent, self.power[self.group.element_index(g)])
        return moved

    def at_rest(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """Latents (N, D) of views in poses g, moved to pose e."""
        return self.act(latent, self.group.inverse(g))

    def order_terms(self) -> list[torch.Tensor]:
        """The mean squared entry of P^n - 1 of a learned operator; nothing of others."""
        if not isinstance(self.operator, LearnedOperator):
            return []
        with torch.autocast(self.operator.matrix.device.type, enabled=False):
            whole = torch.linalg.matrix_power(self.operator.matrix, self.operator.num)
            return [(whole - torch.eye(len(whole), device=whole.device)).square().mean()]


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
