"""How the variance of latents divides among the irreducible parts of the group's action on them."""

import torch

from pipeline.analysis.worlds.acting import acted
from pipeline.analysis.worlds.face import WorldModel
from pipeline.groups.decomposition import isotypic_shares


@torch.no_grad()
def irrep_metrics(model: WorldModel, latents: torch.Tensor) -> dict[str, float]:
    """`irreps/NAME`: shares of the variance of latents (N, ...) about their mean, summing to 1.

    Empty for a group that is not finite or whose irreps are not offered, for latents on which
    the group has no action, and for latents that are all equal.
    """
    group = model.group
    if group.num_elements is None:
        return {}
    try:
        irreps = group.irreps(0)
    except ValueError:
        return {}
    elements = group.elements()
    centred = latents - latents.double().mean(0).to(latents.dtype)
    correlations = []
    for g in elements:
        moved = acted(model.act_on_latent, centred, g.expand(len(centred), *g.shape))
        if moved is None:
            return {}
        correlations.append((centred.double() * moved.double()).flatten(1).sum(1).mean())
    shares = isotypic_shares(irreps, elements, torch.stack(correlations))
    return {f"irreps/{name}": share for name, share in shares.items()}
