"""A linear latent on which a cyclic group acts by the powers of one operator, and a classifier.

    z(g x) = P^k z(x)    for g = a^k, a the group's generator

`fixed` shifts each block of n numbers cyclically, n being the order of the group: (P z)_i =
z_(i + 1). `learned` is any matrix; the loss brings P^n to the identity, and P^-k is P^(n - k).
"""

import math

import torch
from torch import nn

from orbit.core.groups import Group
from orbit.core.store.manifest import FrameSpec
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
