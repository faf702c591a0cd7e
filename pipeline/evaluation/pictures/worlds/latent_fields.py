"""Regular fibres in latents, and how the group acts on one of them."""

import torch

from pipeline.analysis.worlds.acting import acted
from pipeline.groups import Group
from pipeline.groups.decomposition import Copy, copies_of_irreps
from pipeline.world_models.world_model import WorldModel

Place = tuple[int | slice, ...]
"""An index into one latent that yields the |G| numbers of a fibre."""


def fibre_places(latents: torch.Tensor, group: Group, num_objects: int) -> list[Place]:
    """For each object the fibre that varies most.

    Latents are (N, fields, |G|), or (N, objects, |G|, copies); without such fibres the list is
    empty.
    """
    spread = latents.double().var(0)
    if num_objects == 1 and latents.ndim == 3 and latents.shape[2] == group.num_elements:
        return [(int(spread.sum(1).argmax()), slice(None))]
    if latents.ndim == 4 and latents.shape[1:3] == (num_objects, group.num_elements):
        best = spread.sum(1).argmax(1).tolist()
        return [(number, slice(None), copy) for number, copy in enumerate(best)]
    return []


@torch.no_grad()
def fibre_copies(
    model: WorldModel, shape: torch.Size, place: Place, device: torch.device
) -> list[Copy] | None:
    """The copies of irreps that a fibre (K,) of latents of this shape holds, None if the model
    has no action on latents."""
    elements = model.group.elements()
    num = len(elements)
    basis = torch.zeros(num, *shape, device=device)
    basis[(slice(None), *place)] = torch.eye(num, device=device)
    every = elements.repeat_interleave(num, 0)
    moved = acted(model.act_on_latent, basis.repeat(num, *(1 for _ in shape)), every)
    if moved is None:
        return None
    # Column j of a matrix is what becomes of the j-th basis vector.
    matrices = moved[(slice(None), *place)].view(num, num, num).transpose(1, 2).cpu()
    return copies_of_irreps(model.group.irreps(0), elements, matrices)
