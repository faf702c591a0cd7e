"""Which weight of an equivariant layer stands where: tables of small groups."""

from functools import cache

import torch

from pipeline.groups import make_group
from pipeline.groups.point_groups import point_group


def order(group: str) -> int:
    """Number of elements of `c4` or `d4`."""
    return point_group(group).num_elements


@cache
def fibre_places(group: str) -> torch.Tensor:
    """(G, G) int64: place h of a fibre after g is what was at [g, h] = h g."""
    return point_group(group).tables()["products"].T.contiguous()


@cache
def weight_places(group: str) -> torch.Tensor:
    """(G, G) int64: output place a takes input place b by weight [a, b] = b a^-1.

    This is all that commutes with the action on fibres: w(b g, a g) = w(b, a).
    """
    tables = point_group(group).tables()
    products, inverses = tables["products"], tables["inverses"]
    return products[:, inverses].T.contiguous()


@cache
def kernel_basis(group: str, kernel: int, num_in: int, num_out: int) -> torch.Tensor:
    """Kernels between two fields for each free weight, (P, out, in, k, k) float32.

    `num_in`, `num_out` are 1 for trivial fields (maps that only turn) and G for regular ones.
    Commuting with g means K_(a g, b g) = g^-1 K_(a, b). Each filter is a combination of the
    smooth ones of `smooth_filters`; all elements have the same norm.
    """
    filters = smooth_filters(kernel)
    size = order(group)
    inverses = point_group(group).tables()["inverses"]
    action = make_group(group)
    # turned[a] = a^-1 filter
    turned = torch.stack(
        [
            action.act_on_latent(filters[:, None], inverses[a].expand(len(filters)))[:, 0]
            for a in range(size)
        ]
    )
    if num_in == 1 or num_out == 1:
        # From trivial fields K_a = a^-1 K, to trivial ones K_b = b^-1 K.
        basis = turned.transpose(0, 1).contiguous()
        return basis[:, :, None] if num_in == 1 else basis[:, None]
    basis = filters.new_zeros(size, len(filters), size, size, kernel, kernel)
    places = weight_places(group)
    for a in range(size):
        for b in range(size):
            basis[places[a, b], :, a, b] = turned[a]
    return basis.flatten(0, 1)


def smooth_filters(kernel: int) -> torch.Tensor:
    """Orthonormal filters (F, k, k): all for 1x1 kernels, six of the nine for 3x3 ones.

    Of 3x3 filters those that e2cnn keeps, which the released code uses: the centre, and the
    ring about it with angular frequencies 0, 1 and 2, which are smooth under rotation.
    """
    if kernel != 3:
        return torch.eye(kernel * kernel).view(-1, kernel, kernel)
    y, x = torch.meshgrid(torch.tensor([1.0, 0, -1]), torch.tensor([-1.0, 0, 1]), indexing="ij")
    radius, angle = (x**2 + y**2).sqrt(), torch.atan2(y, x)
    ring = torch.exp(-0.5 * ((radius - 1) / RING_WIDTH) ** 2) * (radius > 0)
    filters = [(radius == 0).float(), ring]
    for frequency in (1, 2):
        filters += [ring * (frequency * angle).cos(), ring * (frequency * angle).sin()]
    stacked = torch.stack(filters)
    return stacked / stacked.flatten(1).norm(dim=1)[:, None, None]


RING_WIDTH = 0.4
