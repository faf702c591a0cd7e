"""A finite group defined by how it permutes the cells of a frame: the short way to a new group.

An element g is a permutation of the cells: value i of g x is value `places(shape)[g, i]` of x.
Products and inverses follow from the permutations, so the laws hold if the set is closed.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import torch

from orbit.core.actions import ActionComponent
from orbit.core.groups.interface import Irrep, constant_to_compiler
from orbit.core.groups.interpolation import no_irreps

Places = Callable[[tuple[int, ...]], np.ndarray]


class PermutationGroup:
    """See `orbit.core.groups.interface.Group`; an element is its position in `element_names`.

    `places` maps the spatial shape of a frame, (H, W) or (D, H, W), to (K, cells) int64, one row
    for each element and the identity first; it raises ValueError for a lattice on which the group
    cannot act. The product table is taken from the lattice `probe`, on which no two elements may do
    the same. `irreps` holds orthogonal matrices (K, d, d) by name, trivial first. Raises ValueError
    if the rows are not permutations or not closed.
    """

    is_exact = True
    margin = 0.0
    num_uniforms = 1

    def __init__(
        self,
        name: str,
        element_names: Sequence[str],
        places: Places,
        probe: tuple[int, ...],
        irreps: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.name, self.bin_names = name, tuple(element_names)
        self.num_elements = len(self.bin_names)
        self.action_components = (
            ActionComponent(
                "element", "position in the list", "number", 0.0, self.num_elements - 1.0
            ),
        )
        self._places = cache(places)
        _GROUPS[name] = self
        self.products = self._product_table(probe)
        self._irreps = {} if irreps is None else dict(irreps)

    def _product_table(self, probe: tuple[int, ...]) -> np.ndarray:
        rows = self.rows(probe)
        num = self.num_elements
        if rows.shape[0] != num or (np.sort(rows, 1) != np.arange(rows.shape[1])).any():
            raise ValueError(f"group {self.name}: its {num} elements do not permute cells")
        by_row = {row.tobytes(): index for index, row in enumerate(rows)}
        if len(by_row) != num or (rows[0] != np.arange(rows.shape[1])).any():
            raise ValueError(
                f"group {self.name}: on {probe} elements are alike, or the first one moves cells"
            )
        try:
            # h acts, then g: value i is value rows[h, rows[g, i]].
            return np.array(
                [[by_row[rows[h][rows[g]].tobytes()] for h in range(num)] for g in range(num)]
            )
        except KeyError:
            raise ValueError(f"group {self.name}: a product of elements is none of them") from None

    def rows(self, shape: tuple[int, ...]) -> np.ndarray:
        """For each element, the cell that each cell's value comes from, (K, cells) int64."""
        return np.ascontiguousarray(self._places(shape), np.int64)

    def check_spatial_shape(self, spatial_shape: tuple[int, ...]) -> None:
        """Raise what `places` raises."""
        self._places(tuple(spatial_shape))

    def check_latent_shape(self, spatial_shape: tuple[int, ...]) -> None:
        """As for frames."""
        self.check_spatial_shape(spatial_shape)

    def elements(self) -> torch.Tensor:
        return torch.arange(self.num_elements)

    def examples(self) -> torch.Tensor:
        return self.elements()[:8]

    def identity(self, num: int) -> torch.Tensor:
        return torch.zeros(num, dtype=torch.int64)

    def compose(self, g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return _table(self.name, "products", g.device)[g, h]

    def inverse(self, g: torch.Tensor) -> torch.Tensor:
        return _table(self.name, "inverses", g.device)[g]

    def sample(self, rng: np.random.Generator, num: int) -> torch.Tensor:
        return torch.from_numpy(rng.integers(0, self.num_elements, size=num, dtype=np.int64))

    def from_uniforms(self, uniforms: torch.Tensor) -> torch.Tensor:
        place: torch.Tensor = uniforms[:, 0] * self.num_elements
        return place.to(torch.int64)

    def distance(self, g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """0 for equal elements, else 1: no finer distance is known."""
        return (g != h).to(torch.float32)

    def encode(self, g: torch.Tensor) -> torch.Tensor:
        return g.to(torch.float32).unsqueeze(1)

    def decode(self, action: torch.Tensor) -> torch.Tensor:
        return action[:, 0].round().to(torch.int64).clamp(0, self.num_elements - 1)

    def names(self, g: torch.Tensor) -> list[str]:
        return [self.bin_names[element] for element in g.tolist()]

    def element_index(self, g: torch.Tensor) -> torch.Tensor:
        return g

    def bin_index(self, g: torch.Tensor) -> torch.Tensor:
        return g

    def act_on_image(self, image: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        spatial = tuple(image.shape[2:])
        index = _table(self.name, spatial, image.device)[g].unsqueeze(1)
        flat = image.flatten(2)
        return flat.gather(2, index.expand_as(flat)).view(image.shape)

    def act_by_vector(self, image: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return self.act_on_image(image, self.decode(action))

    def act_on_latent(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return self.act_on_image(latent, g)

    def irreps(self, max_frequency: int) -> tuple[Irrep, ...]:
        """The given irreps, whatever the bound; ValueError if none were given."""
        if not self._irreps:
            raise no_irreps(self.name)
        return tuple(
            Irrep(name, values.shape[1], _look_up(torch.from_numpy(np.float32(values))))
            for name, values in self._irreps.items()
        )


_GROUPS: dict[str, PermutationGroup] = {}
"""The groups by name: `torch.compile` keeps a constant for each name."""


@constant_to_compiler
def _table(name: str, what: str | tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Products (K, K), inverses (K,), or where the cells of a lattice come from, (K, cells)."""
    return _made_table(name, what, device)


@cache
def _made_table(name: str, what: str | tuple[int, ...], device: torch.device) -> torch.Tensor:
    group = _GROUPS[name]
    if what == "products":
        table = group.products
    elif what == "inverses":
        table = (group.products == 0).argmax(1)
    else:
        assert not isinstance(what, str)
        table = group.rows(what)
    # A tensor born in inference mode could later not take part in training.
    with torch.inference_mode(False):
        return torch.from_numpy(np.int64(table)).to(device)


def _look_up(table: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda g: table.to(g.device)[g]
