"""Latents that are fields over the elements of a group, and how the group acts on one of them."""

import torch

from pipeline.analysis.worlds.acting import acted
from pipeline.groups import Group
from pipeline.groups.decomposition import Copy, copies_of_irreps
from pipeline.world_models.world_model import WorldModel


def latent_field(latents: torch.Tensor, group: Group) -> int | None:
    """Of latents (N, fields, elements) the field that varies most; None for any other latents."""
    if latents.ndim != 3 or latents.shape[2] != group.num_elements:
        return None
    return int(latents.double().var(0).sum(1).argmax())


@torch.no_grad()
def field_copies(
    model: WorldModel, shape: torch.Size, field: int, device: torch.device
) -> list[Copy] | None:
    """The copies of irreps that one field (K,) of latents (fields, K) holds, None if the model
    has no action on latents or the group's irreps are not of real type."""
    elements = model.group.elements()
    num = shape[1]
    basis = torch.zeros(num, *shape, device=device)
    basis[:, field] = torch.eye(num, device=device)
    every = elements.repeat_interleave(num, 0)
    moved = acted(model.act_on_latent, basis.repeat(len(elements), 1, 1), every)
    if moved is None:
        return None
    # Column j of a matrix is what becomes of the j-th basis vector.
    matrices = moved[:, field].view(len(elements), num, num).transpose(1, 2).cpu()
    try:
        return copies_of_irreps(model.group.irreps(1), elements, matrices)
    except ValueError:
        return None
