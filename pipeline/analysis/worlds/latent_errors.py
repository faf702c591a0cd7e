"""Equivariance and distance invariance of latents and of rollouts, from the kept latents.

With f = E S, p_h the rollout over h steps from f(s) and p_h^g that from f(g s) by moved actions:

    latent          | rho_Z(g) f(s) - f(g s) |
    transition      | rho_Z(g) T(z, a) - T(rho_Z(g) z, g a) |     at the start
    model           | rho_Z(g) p_h - p_h^g |
    distances       | |f(s) - f(s')| - |f(g s) - f(g s')| |
                    | |p_h - t'_h| - |p_h^g - t'_h^g| |

all by the mean norm of f(s). s' and t'_h are of another episode, see `pairing.py`.
"""

import torch

from pipeline.analysis.worlds.acting import acted
from pipeline.analysis.worlds.face import WorldModel
from pipeline.analysis.worlds.following import Followed
from pipeline.analysis.worlds.pairing import partners
from pipeline.metrics.by_element import ErrorsByElement
from pipeline.metrics.differences import change_of_distance, distances, lengths

Errors = dict[str, ErrorsByElement]


@torch.no_grad()
def equivariance_errors(
    model: WorldModel, followed: Followed, batch: int, device: torch.device
) -> Errors:
    """`latent`, `transition` and `model/horizon_H`; empty where the group has no action on
    latents. `batch` episodes at a time."""
    errors: Errors = {}
    norm = lengths(followed.start[0])
    for twin, g in enumerate(followed.elements[1:], 1):
        for first in range(0, len(g), batch):
            places = slice(first, first + batch)
            pairs = _equivariance_pairs(model, followed, twin, places, device)
            for name, (wanted, actual) in pairs.items():
                errors.setdefault(name, ErrorsByElement(model.group))
                errors[name].add(g[places], distances(wanted, actual).cpu(), norm[places])
    return errors


def _equivariance_pairs(
    model: WorldModel, followed: Followed, twin: int, places: slice, device: torch.device
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """What should be and what is, of some episodes; nothing without an action on latents."""
    g = followed.elements[twin][places]
    start, moved_start = (followed.start[which, places].to(device) for which in (0, twin))
    action, moved_action = (followed.actions[which, places, 0].to(device) for which in (0, twin))
    turned = acted(model.act_on_latent, start, g)
    if turned is None:
        return {}
    pairs = {"latent": (turned, moved_start)}
    plain = {"transition": model.predict(start, action).float()}
    moved = {"transition": model.predict(turned, moved_action).float()}
    for horizon, predicted in followed.predicted.items():
        plain[f"model/horizon_{horizon}"] = predicted[0, places].to(device)
        moved[f"model/horizon_{horizon}"] = predicted[twin, places].to(device)
    for name, latent in plain.items():
        wanted = acted(model.act_on_latent, latent, g)
        assert wanted is not None
        pairs[name] = (wanted, moved[name])
    return pairs


def distance_errors(model: WorldModel, followed: Followed) -> Errors:
    """`latent` and `model/horizon_H`; empty where no element moved two episodes."""
    errors: Errors = {}
    pairs = {"latent": (followed.start, followed.start)}
    for horizon, predicted in followed.predicted.items():
        pairs[f"model/horizon_{horizon}"] = (predicted, followed.true[horizon])
    norm = lengths(followed.start[0])
    for twin, g in enumerate(followed.elements[1:], 1):
        first, second = partners(g)
        for name, (one, other) in pairs.items():
            plain = one[0, first], other[0, second]
            moved = one[twin, first], other[twin, second]
            errors.setdefault(name, ErrorsByElement(model.group))
            errors[name].add(g[first], change_of_distance(*plain, *moved), norm[first])
    return errors
