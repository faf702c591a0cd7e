"""The point groups of square and cubic lattices: elements, codes, names, exact matrices, irreps.

A symmetry of the square or cubic lattice is a signed permutation matrix on columns
(x, y) or (x, y, z). The first matrix of a group is the identity.

An element is its position in `matrices`; position 0 is the identity.

Multiplication tables and the matrices of irreducible representations stay on the device, because a
copy from the host in every step would make the host wait for the device. For `torch.compile` a
table is a constant, identified by names that it can compare.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch

from orbit.core.groups import quaternions
from orbit.core.groups.interface import ActionComponent, Irrep, constant_to_compiler


def quarter_turn_matrices() -> torch.Tensor:
    """Counter-clockwise turns by 0, 90, 180 and 270 degrees, (4, 2, 2) int64."""
    turn = torch.tensor([[0, -1], [1, 0]])
    return torch.stack([torch.linalg.matrix_power(turn, num) for num in range(4)])


def square_matrices() -> torch.Tensor:
    """The four turns, then each turn after the mirror x -> -x, (8, 2, 2) int64."""
    turns = quarter_turn_matrices()
    return torch.cat((turns, turns @ torch.tensor([[-1, 0], [0, 1]])))


def cube_rotation_matrices() -> torch.Tensor:
    """The 24 rotations of the cube by increasing angle, (24, 3, 3) int64."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = torch.zeros(3, 3, dtype=torch.int64)
            for row, (column, sign) in enumerate(zip(order, signs, strict=True)):
                matrix[row, column] = sign
            if determinants(matrix[None]).item() == 1:
                found.append(matrix)
    codes = cube_quaternions(torch.stack(found)).tolist()
    by_angle = sorted(range(24), key=lambda index: [-value for value in codes[index]])
    return torch.stack([found[index] for index in by_angle])


def cube_quaternions(matrices: torch.Tensor) -> torch.Tensor:
    """Canonical unit quaternions (K, 4) float64 of rotations of the cube (K, 3, 3) int64.

    Their squares are multiples of 1/4, to which they are rounded, because the order of elements
    depends on them.
    """
    q = quaternions.from_matrix(matrices.to(torch.float64))
    return q.sign() * (4 * q.square()).round().sqrt() / 2


def determinants(matrices: torch.Tensor) -> torch.Tensor:
    """The determinant, +1 or -1, of each signed permutation matrix, (K,) int64, in integer
    arithmetic.

    It is the product of the signs times the parity of the permutation: the number of pairs of rows
    whose columns are in reversed order.
    """
    column = matrices.abs().argmax(-1)
    later = torch.triu(column[:, :, None] > column[:, None, :], 1)
    return matrices.sum(-1).prod(-1) * (1 - 2 * (later.flatten(1).sum(1) % 2))


def products(matrices: torch.Tensor) -> torch.Tensor:
    """The position of each product of two matrices in the list, (K, K) int64."""
    together = matrices[:, None] @ matrices
    is_same = (together[:, :, None] == matrices).flatten(-2).all(-1)
    return is_same.to(torch.int64).argmax(-1)


def inverses(matrices: torch.Tensor) -> torch.Tensor:
    """The position of the inverse of each matrix in the list, (K,) int64."""
    return (products(matrices) == 0).to(torch.int64).argmax(-1)


def angles(matrices: torch.Tensor) -> torch.Tensor:
    """Angles of rotation in radians, 0 to pi, (K,) float32.

    A symmetry of the plane is extended to a rotation of space; a mirror image is then a half turn
    about an axis of the plane. A line has only the identity here.
    """
    traces = matrices.diagonal(dim1=-2, dim2=-1).sum(-1)
    if matrices.shape[-1] == 1:
        traces = traces + 2
    if matrices.shape[-1] == 2:
        traces = traces + determinants(matrices)
    by_trace = [math.pi, 2 * math.pi / 3, math.pi / 2, math.pi / 3, 0.0]
    return torch.tensor(by_trace)[traces + 1]


def sources(matrices: torch.Tensor) -> torch.Tensor:
    """For each axis of a turned array, the axis that it was before, and its direction.

    (K, k, 2) int64: [..., 0] is the axis of the array, [..., 1] is +1 if values keep their
    order along it and -1 if they are reversed. Array axes are (z,) y downwards, x.
    """
    num_axes = matrices.shape[-1]
    downwards = torch.ones(num_axes, dtype=torch.int64)
    downwards[num_axes - 2] = -1
    on_arrays = matrices.flip(-1, -2) * downwards[:, None] * downwards
    return torch.stack((on_arrays.abs().argmax(-1), on_arrays.sum(-1)), -1)


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
        """Each kind once, in the order of the elements."""
        return tuple(dict.fromkeys(self.kinds[1:]))

    def tables(self) -> dict[str, torch.Tensor]:
        """All tables that are indexed by element; see `table_look_up`."""
        kinds = [0] + [1 + self.kind_names.index(kind) for kind in self.kinds[1:]]
        return {
            "matrices": self.matrices,
            "codes": self.codes,
            "products": products(self.matrices),
            "inverses": inverses(self.matrices),
            "angles": angles(self.matrices),
            "sources": sources(self.matrices),
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
    matrices = quarter_turn_matrices()
    codes = torch.arange(4.0)[:, None]
    kinds = ("", "90", "180", "90")
    return PointGroup("c4", matrices, codes, (QUARTER_TURNS,), TURN_NAMES, kinds, (0, 1, 2, 3))


def _dihedral() -> PointGroup:
    matrices = square_matrices()
    codes = torch.stack((torch.arange(8) % 4, torch.arange(8) // 4), 1).to(torch.float32)
    names = (*TURN_NAMES, *(f"{turn} mirrored" for turn in TURN_NAMES))
    kinds = ("", "90", "180", "90", *("mirrored",) * 4)
    components = (QUARTER_TURNS, MIRRORED)
    return PointGroup("d4", matrices, codes, components, names, kinds, tuple(range(8)))


def _octahedral() -> PointGroup:
    matrices = cube_rotation_matrices()
    codes = cube_quaternions(matrices)
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

    The last three have the names of the groups of shifts to which they belong.
    """
    if name.startswith("wrap"):
        return _trivial(name, int(name[4]))
    return {"c4": _cyclic, "d4": _dihedral, "octahedral": _octahedral}[name]()


def irrep_tables(group: str, matrices: torch.Tensor) -> dict[str, torch.Tensor]:
    """Orthogonal matrices (K, size, size) float32 by name, trivial first.

    `matrices` (K, k, k) int64 are the group's elements. Empty for a group other than
    `c4`, `d4` and `octahedral`.
    """
    tables = {"c4": _cyclic_irreps, "d4": _dihedral_irreps, "octahedral": _octahedral_irreps}.get(
        group
    )
    return tables(matrices) if tables else {}


def _cyclic_irreps(matrices: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "trivial": torch.ones(4, 1, 1),
        "sign": _swaps_axes(matrices),
        "rotation": matrices.to(torch.float32),
    }


def _dihedral_irreps(matrices: torch.Tensor) -> dict[str, torch.Tensor]:
    """B1 is +1 for mirrors along the axes of the lattice, B2 for those along its diagonals."""
    mirror = _one_dimensional(determinants(matrices))
    swap = _swaps_axes(matrices)
    return {
        "A1": torch.ones(8, 1, 1),
        "A2": mirror,
        "B1": swap,
        "B2": swap * mirror,
        "E": matrices.to(torch.float32),
    }


def _octahedral_irreps(matrices: torch.Tensor) -> dict[str, torch.Tensor]:
    """A2 is the parity of the permutation of the axes, E is this permutation on the plane x+y+z =
    0."""
    permutations = matrices.abs()
    parity = _one_dimensional(determinants(permutations))
    # Integers up to the lengths of these axes: the same bits on every machine.
    plane = torch.tensor([[1, -1, 0], [1, 1, -2]])
    between = math.sqrt(2 * 6)
    lengths = torch.tensor([[2.0, between], [between, 6.0]], dtype=torch.float64)
    turned = (plane @ permutations @ plane.T) / lengths
    return {
        "A1": torch.ones(24, 1, 1),
        "A2": parity,
        "E": turned.to(torch.float32),
        "T1": matrices.to(torch.float32),
        "T2": matrices * parity,
    }


def _swaps_axes(matrices: torch.Tensor) -> torch.Tensor:
    """-1 if x and y are exchanged, else +1."""
    return _one_dimensional(1 - 2 * matrices[:, 0, 1].abs())


def _one_dimensional(values: torch.Tensor) -> torch.Tensor:
    return values.to(torch.float32)[:, None, None]


TableLookUp = Callable[[str, torch.device], torch.Tensor]


def table_look_up(table: str) -> TableLookUp:
    """A table of `PointGroup.tables` or, as "irrep NAME", the matrices of a representation:
    (group, device) to tensor, a constant to the compiler.

    The compiler names a constant after the function that made it, and refuses two constants of one
    name in a graph, so each table has a function with its own name.
    """

    def look_up(group: str, device: torch.device) -> torch.Tensor:
        return _on_device(group, table, device)

    name = f"look_up_{table.replace(' ', '_')}"
    look_up.__code__ = look_up.__code__.replace(co_name=name, co_qualname=name)
    return constant_to_compiler(look_up)


@cache
def _on_device(group: str, table: str, device: torch.device) -> torch.Tensor:
    # A tensor born in inference mode could later not take part in training.
    with torch.inference_mode(False):
        return _tables(group)[table].to(device, copy=True)


@cache
def _tables(group: str) -> dict[str, torch.Tensor]:
    irreps = irrep_tables(group, point_group(group).matrices)
    return point_group(group).tables() | {f"irrep {name}": irreps[name] for name in irreps}


def point_irreps(group: str) -> tuple[Irrep, ...]:
    """The irreducible representations of `c4`, `d4` or `octahedral`, trivial first."""
    tables = irrep_tables(group, point_group(group).matrices)
    return tuple(
        Irrep(name, table.shape[-1], partial(_matrices, table_look_up(f"irrep {name}"), group))
        for name, table in tables.items()
    )


def _matrices(look_up: TableLookUp, group: str, g: torch.Tensor) -> torch.Tensor:
    return look_up(group, g.device)[g]
