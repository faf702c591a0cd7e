"""Means over the orbit of an image: networks that are symmetric whatever their weights.

    z(x) = mean over all g of  g^-1 E(g x)     then  z(h x) = h z(x)
    f(x) = mean over all g of  F(g x)          then  f(h x) = f(x)

for every element h of a finite group that acts on whole frames, because g h runs through the group
as g does (the Reynolds operator). Values agree up to the rounding of a sum in another order.
"""

from collections.abc import Callable

import torch
from torch import nn

from orbit.core.groups import Group


def orbit_mean(
    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    elements: torch.Tensor,
    group: Group,
) -> torch.Tensor:
    """The mean over elements of `function(g x, g)`, for images x (N, C, ...) and g N times."""
    total = torch.zeros(())
    for number in range(len(elements)):
        g = elements[number : number + 1].expand(len(images), *elements.shape[1:])
        value = function(group.act_on_image(images, g), g)
        total = total + value if number else value
    return total / len(elements)


class OrbitAverage(nn.Module):
    """An encoder's latents, averaged over the orbit so that they turn with the image.

    Raises ValueError for a continuous group, whose orbits have no end.
    """

    elements: torch.Tensor

    def __init__(self, encoder: nn.Module, group: Group) -> None:
        super().__init__()
        if group.num_elements is None:
            raise ValueError(
                f"task.orbit_average=true needs a finite group, and {group.name} is continuous"
            )
        self.encoder, self.group = encoder, group
        self.register_buffer("elements", group.elements(), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return orbit_mean(self._turned_back, images, self.elements, self.group)

    def _turned_back(self, moved: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        latent: torch.Tensor = self.encoder(moved)
        return self.group.act_on_latent(latent, self.group.inverse(g))
