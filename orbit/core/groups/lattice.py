"""Finite groups that permute the cells of a periodic lattice, and how they act on its frames.

Elements are integers. Bins of a group with few elements are its elements. Otherwise bins are the
kinds of rotations, with pure shifts separate; in groups of shifts alone they are ranges of the
shift's length on the torus.

An element is a point symmetry R about the centre of the lattice followed by a
shift t: p -> R p + t, everything modulo the period. A lattice of one axis is each row of a
picture by itself. Values are moved, never
computed with, so that all laws hold bit for bit.
"""

import itertools
import math
from functools import cache

import numpy as np
import torch

from orbit.core.groups.interface import ActionComponent, Irrep
from orbit.core.groups.interpolation import check_lattice, check_period, no_irreps, shift_name
from orbit.core.groups.point_groups import PointGroup, point_group, point_irreps, table_look_up
from orbit.core.plugins import Kind


def move_cells(
    x: torch.Tensor,
    axis: torch.Tensor,
    direction: torch.Tensor,
    shift: torch.Tensor | None,
) -> torch.Tensor:
    """Turn each sample of `x` (N, ..., S, S) or (N, ..., S, S, S), then shift it cyclically.

    For each of the k axes of the turned array `axis` (N, k) int64 is the axis it was
    before and `direction` (N, k) is -1 where values are reversed along it; `shift` (N, k)
    int64 is the shift afterwards, in cells towards higher indices, or None for none.
    Values are moved by one gather, of any dtype and bit for bit.
    """
    side, num_axes = x.shape[-1], axis.shape[1]
    # The motion moves each axis as a whole, so the source of a value is the sum of one small table
    # for each axis.
    place = torch.arange(side, device=x.device).expand(len(axis), num_axes, side)
    if shift is not None:
        place = place - shift[:, :, None]
    place = torch.where(direction[:, :, None] > 0, place, side - 1 - place)
    if shift is not None:
        place = place.remainder(side)
    strides = torch.zeros_like(axis)
    for before in range(num_axes):
        strides = strides + (axis == before) * side ** (num_axes - 1 - before)
    terms = (place * strides[:, :, None]).unbind(1)
    index = terms[0]
    for term in terms[1:]:
        index = (index[:, :, None] + term[:, None]).flatten(1)
    flat = x.flatten(-num_axes)
    index = index.view(len(axis), *(1,) * (flat.ndim - 2), -1)
    return flat.gather(-1, index.expand(*flat.shape[:-1], -1)).view(x.shape)


MAX_NAMED = 8
"""Groups with at most this number of elements have a bin for each."""


def lattice_bin_names(point: PointGroup, num_steps: int, step: int) -> tuple[str, ...]:
    """Names of the bins of a group of more than `MAX_NAMED` elements, identity first.

    `num_steps` shifts by `step` pixels go once around the torus.
    """
    if num_steps == 1:
        return ("identity", *point.kind_names)
    if point.num_elements > 1:
        return ("identity", "shift", *point.kind_names)
    quarter, half = num_steps * step / 4, num_steps * step / 2
    ranges = (f"shift 0-{quarter:g}", f"shift {quarter:g}-{half:g}", f"shift over {half:g}")
    occupied = _occupied_ranges(num_steps, point.num_axes)
    return ("identity", *(ranges[index] for index in occupied))


def lattice_bin_index(
    point: PointGroup, num_steps: int, kind: torch.Tensor, steps: torch.Tensor
) -> torch.Tensor:
    """Positions in `lattice_bin_names`, (N,) int64.

    `kind` (N,) int64 is 0 for the point identity, else 1 plus the position in
    `point.kind_names`; `steps` (N, k) int64 are the shifts, 0 to num_steps - 1.
    """
    if num_steps == 1:
        return kind
    moves = steps.any(1)
    if point.num_elements > 1:
        return torch.where(kind > 0, kind + 1, moves.to(torch.int64))
    length = torch.minimum(steps, num_steps - steps).square().sum(1)
    first = _occupied_ranges(num_steps, point.num_axes)[0]
    return (_length_range(length, num_steps) + 1 - first).masked_fill(~moves, 0)


def _length_range(squared: torch.Tensor, num_steps: int) -> torch.Tensor:
    """0, 1, 2: up to a quarter of the period, up to half of it, longer; in whole numbers."""
    return (16 * squared > num_steps**2).to(torch.int64) + (4 * squared > num_steps**2)


@cache
def _occupied_ranges(num_steps: int, num_axes: int) -> tuple[int, ...]:
    """The ranges of length that contain at least one shift; they are consecutive."""
    squares = [n * n for n in range(num_steps // 2 + 1)]
    sums = {sum(legs) for legs in itertools.combinations_with_replacement(squares, num_axes)}
    lengths = torch.tensor(sorted(sums - {0}))
    return tuple(sorted(set(_length_range(lengths, num_steps).tolist())))


TABLES = ("matrices", "codes", "products", "inverses", "angles", "sources", "kinds")
LOOK_UPS = {table: table_look_up(table) for table in TABLES}
MEANINGS = ("to the right", "upwards", "along the first axis")


class LatticeGroup:
    """A point group, alone or with the shifts by multiples of `step` pixels.

    An element is int64: the point element plus the number of point elements times the position of
    the shift, x fastest. `step` divides `period`, the side of a frame in pixels; both are None for
    a point group alone. The distance is the root of the sum of squares of the point part's angle
    and of the shifts as angles on the torus, in radians.
    """

    is_exact = True
    margin = 0.0
    num_uniforms = 1

    def __init__(
        self, name: str, point: str, period: int | None = None, step: int | None = None
    ) -> None:
        self.name, self.point_name = name, point
        self.point = point_group(point)
        self.period, self.step = period, step
        self.num_axes = self.point.num_axes
        self.num_steps = 1 if period is None or step is None else period // step
        self.num_elements = self.point.num_elements * self.num_steps**self.num_axes

    @property
    def action_components(self) -> tuple[ActionComponent, ...]:
        if self.period is None or self.step is None:
            return self.point.components
        last = float(self.period - self.step)
        return self.point.components + tuple(
            ActionComponent(f"shift_{axis}", f"cyclic shift {meaning}", "pixel", 0.0, last)
            for axis, meaning in zip("xyz"[: self.num_axes], MEANINGS, strict=False)
        )

    @property
    def bin_names(self) -> tuple[str, ...]:
        if self.num_elements <= MAX_NAMED:
            return tuple(self.names(self.elements()))
        return lattice_bin_names(self.point, self.num_steps, self.step or 0)

    def check_spatial_shape(self, spatial_shape: tuple[int, ...]) -> None:
        """Raise ValueError unless this is a square or cubic lattice, of side `period` if any."""
        if self.period is None:
            check_lattice(self.name, spatial_shape, self.num_axes)
        else:
            check_period(self.name, spatial_shape, self.num_axes, self.period)

    def check_latent_shape(self, spatial_shape: tuple[int, ...]) -> None:
        """Raise ValueError unless every shift is a whole number of latent cells."""
        check_lattice(self.name, spatial_shape, self.num_axes)
        if self.period is None or self.step is None:
            return
        period, step, side = self.period, self.step, spatial_shape[-1]
        if step * side % period == 0:
            return
        fitting = [n for n in range(1, period) if period % n == 0 and n * side % period == 0]
        advice = (
            f"the nearest step that fits is {min(fitting, key=lambda n: (abs(n - step), n))}"
            if fitting
            else "no step fits this side"
        )
        raise ValueError(
            f"group {self.name} shifts by multiples of {step} of {period} pixels, which is not a"
            f" whole number of cells of a latent of side {side}; {advice}"
        )

    def elements(self) -> torch.Tensor:
        return torch.arange(self.num_elements)

    def examples(self) -> torch.Tensor:
        if self.num_elements <= MAX_NAMED:
            return self.elements()
        if self.period is None:
            return torch.tensor(self.point.examples)
        if self.num_axes == 1:
            return torch.arange(0, 8 * self.num_elements, self.num_elements) // 8
        points = torch.tensor(self.point.examples).repeat(8)[:8]
        near = max(1, self.num_steps // 4)
        far = max(near + 1, self.num_steps // 2)
        x = torch.tensor([0, near, 0, far, near, 0, near, far])
        y = torch.tensor([0, 0, near, 0, near, far, far, far])
        z = torch.tensor([0, 0, 0, 0, 0, near, near, far])
        examples = self._join(points, torch.stack((x, y, z), 1)[:, : self.num_axes])
        return torch.tensor(list(dict.fromkeys(examples.tolist())))

    def identity(self, num: int) -> torch.Tensor:
        return torch.zeros(num, dtype=torch.int64)

    def compose(self, g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        (point_g, steps_g), (point_h, steps_h) = self._split(g), self._split(h)
        point = self._table("products", g)[point_g, point_h]
        return self._join(point, steps_g + self._turn(point_g, steps_h))

    def inverse(self, g: torch.Tensor) -> torch.Tensor:
        point, steps = self._split(g)
        back = self._table("inverses", g)[point]
        return self._join(back, -self._turn(back, steps))

    def sample(self, rng: np.random.Generator, num: int) -> torch.Tensor:
        return torch.from_numpy(rng.integers(0, self.num_elements, size=num, dtype=np.int64))

    def from_uniforms(self, uniforms: torch.Tensor) -> torch.Tensor:
        place: torch.Tensor = uniforms[:, 0] * self.num_elements
        return place.to(torch.int64)

    def distance(self, g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        point, steps = self._split(self.compose(self.inverse(g), h))
        angle = self._table("angles", g)[point]
        around = torch.minimum(steps, self.num_steps - steps) * (2 * math.pi / self.num_steps)
        return (angle.square() + around.square().sum(1)).sqrt()

    def encode(self, g: torch.Tensor) -> torch.Tensor:
        point, steps = self._split(g)
        codes = self._table("codes", g)[point]
        if self.step is None:
            return codes
        return torch.cat((codes, steps.to(torch.float32) * self.step), 1)

    def decode(self, action: torch.Tensor) -> torch.Tensor:
        """The element whose code is nearest; shifts go to the nearest multiple of the step."""
        num_codes = len(self.point.components)
        codes = self._table("codes", action)
        nearness = (action[:, None, :num_codes] - codes).square().sum(-1).neg()
        if not self.point.codes_have_sign:
            nearness = (action[:, None, :num_codes] * codes).sum(-1).abs()
        point = nearness.argmax(1)
        if self.step is None:
            return point
        return self._join(point, (action[:, num_codes:] / self.step).round().to(torch.int64))

    def names(self, g: torch.Tensor) -> list[str]:
        points, steps = self._split(g)
        names = [self.point.element_names[point] for point in points.tolist()]
        if self.step is None:
            return names
        shifts = [shift_name(row) for row in (steps * self.step).tolist()]
        if self.point.num_elements == 1:
            return shifts
        pairs = zip(names, shifts, steps.any(1).tolist(), strict=True)
        return [f"{name} + {shift}" if moves else name for name, shift, moves in pairs]

    def element_index(self, g: torch.Tensor) -> torch.Tensor:
        return g

    def bin_index(self, g: torch.Tensor) -> torch.Tensor:
        if self.num_elements <= MAX_NAMED:
            return g
        point, steps = self._split(g)
        kind = self._table("kinds", g)[point]
        return lattice_bin_index(self.point, self.num_steps, kind, steps)

    def act_on_image(self, image: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return self._act(image, g)

    def act_by_vector(self, image: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return self._act(image, self.decode(action))

    def act_on_latent(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return self._act(latent, g)

    def irreps(self, max_frequency: int) -> tuple[Irrep, ...]:
        """All irreducible representations of a point group, whatever the bound."""
        if self.period is not None:
            raise no_irreps(self.name)
        return point_irreps(self.point_name)

    def _act(self, x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        point, steps = self._split(g)
        axis, direction = self._table("sources", g)[point].unbind(-1)
        if self.period is None:
            return move_cells(x, axis, direction, None)
        cells = list((steps * x.shape[-1] // self.num_steps).unbind(1))
        if self.num_axes > 1:
            cells[1] = -cells[1]  # y points upwards, the rows of an array downwards
        return move_cells(x, axis, direction, torch.stack(cells[::-1], 1))

    def _split(self, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Point elements (N,) and shifts in steps (N, k)."""
        num_points, num_steps = self.point.num_elements, self.num_steps
        place = g // num_points
        steps = [place // num_steps**axis % num_steps for axis in range(self.num_axes)]
        return g % num_points, torch.stack(steps, 1)

    def _join(self, point: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        place = torch.zeros_like(point)
        for axis, count in enumerate(steps.remainder(self.num_steps).unbind(1)):
            place = place + count * self.num_steps**axis
        return point + self.point.num_elements * place

    def _turn(self, point: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return (self._table("matrices", point)[point] * steps[:, None]).sum(-1)

    def _table(self, table: str, like: torch.Tensor) -> torch.Tensor:
        return LOOK_UPS[table](self.point_name, like.device)


def _wrapped(name: str, period: int, step: float) -> LatticeGroup:
    return LatticeGroup(name, name.partition(":")[0].partition("+")[0], period, int(step))


D4 = Kind("d4", None, lambda: LatticeGroup("d4", "d4"))
OCTAHEDRAL = Kind("octahedral", None, lambda: LatticeGroup("octahedral", "octahedral"))
WRAPPED = tuple(
    Kind(family, None, _wrapped)
    for family in ("wrap1d", "wrap2d", "wrap3d", "c4+wrap", "d4+wrap", "octahedral+wrap")
)
"""Of these `make` takes the name, the side of a frame and the step in pixels."""
