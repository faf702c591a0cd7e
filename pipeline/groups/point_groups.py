"""The point groups of square and cubic lattices: their elements, codes and names.

An element is its position in `matrices`; position 0 is the identity.
"""

from dataclasses import dataclass
from functools import cache

import torch

from pipeline.groups import point_matrices, quaternions
from pipeline.groups.interface import ActionComponent


@dataclass(frozen=True)
class PointGroup:
    """A finite group of signed permutation matrices.

    `matrices` (K, k, k) int64 act on columns (x, y) or (x, y, z). `codes` (K, c) float32
    are the action vectors, described by `components`; with `codes_have_sign` false, a code
    and its negative are the same element. `kinds` name the kind of each element but the
    identity by its angle in degrees, `examples` are elements for pictures.
    """

    name: str
    matrices: torch.Tensor
    codes: torch.Tensor
    components: tuple[ActionComponent, ...]
    element_names: tuple[str, ...]
    kinds: tuple[str, ...]
    examples: tuple[int, ...]
    codes_have_sign: bool = True

    @property
    def num_elements(self) -> int:
        return len(self.matrices)

    @property
    def num_axes(self) -> int:
        return self.matrices.shape[-1]

    @property
    def kind_names(self) -> tuple[str, ...]:
        """Every kind once, in the order of the elements."""
        return tuple(dict.fromkeys(self.kinds[1:]))

    def tables(self) -> dict[str, torch.Tensor]:
        """Everything that is looked up by element; see `point_tables`."""
        kinds = [0] + [1 + self.kind_names.index(kind) for kind in self.kinds[1:]]
        return {
            "matrices": self.matrices,
            "codes": self.codes,
            "products": point_matrices.products(self.matrices),
            "inverses": point_matrices.inverses(self.matrices),
            "angles": point_matrices.angles(self.matrices),
            "sources": point_matrices.sources(self.matrices),
            "kinds": torch.tensor(kinds),
        }


QUARTER_TURNS = ActionComponent(
    "quarter_turns", "counter-clockwise rotation", "quarter turn", 0.0, 3.0
)
MIRRORED = ActionComponent(
    "mirrored", "1 if left and right change places before the rotation", "1", 0.0, 1.0
)
QUATERNION = tuple(
    ActionComponent(f"quaternion_{part}", f"{part} of the unit quaternion", "1", -1.0, 1.0)
    for part in "wxyz"
)
TURN_NAMES = ("0", "90", "180", "270")


def _trivial(name: str, num_axes: int) -> PointGroup:
    matrices = torch.eye(num_axes, dtype=torch.int64)[None]
    return PointGroup(name, matrices, torch.zeros(1, 0), (), ("0",), ("",), (0,))


def _cyclic() -> PointGroup:
    matrices = point_matrices.quarter_turn_matrices()
    codes = torch.arange(4.0)[:, None]
    kinds = ("", "90", "180", "90")
    return PointGroup("c4", matrices, codes, (QUARTER_TURNS,), TURN_NAMES, kinds, (0, 1, 2, 3))


def _dihedral() -> PointGroup:
    matrices = point_matrices.square_matrices()
    codes = torch.stack((torch.arange(8) % 4, torch.arange(8) // 4), 1).to(torch.float32)
    names = (*TURN_NAMES, *(f"{turn} mirrored" for turn in TURN_NAMES))
    kinds = ("", "90", "180", "90", *("mirrored",) * 4)
    components = (QUARTER_TURNS, MIRRORED)
    return PointGroup("d4", matrices, codes, components, names, kinds, tuple(range(8)))


def _octahedral() -> PointGroup:
    matrices = point_matrices.cube_rotation_matrices()
    codes = point_matrices.cube_quaternions(matrices)
    names = tuple(quaternions.name(code) for code in codes)
    telling = ("0", "90 x", "90 y", "90 z", "120 [1 1 1]", "180 x", "180 z", "180 [1 1 0]")
    return PointGroup(
        "octahedral",
        matrices,
        codes.to(torch.float32),
        QUATERNION,
        names,
        tuple(name.split()[0] for name in names),
        tuple(names.index(name) for name in telling),
        codes_have_sign=False,
    )


@cache
def point_group(name: str) -> PointGroup:
    """`c4`, `d4`, `octahedral`, or the trivial group of a line, the plane or space: `wrap1d`,
    `wrap2d`, `wrap3d`.

    The last three are named after the groups of shifts whose point part they are.
    """
    if name.startswith("wrap"):
        return _trivial(name, int(name[4]))
    return {"c4": _cyclic, "d4": _dihedral, "octahedral": _octahedral}[name]()
