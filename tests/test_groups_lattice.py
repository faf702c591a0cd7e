"""Protects the finite groups as groups: laws, draws, distances, vectors, bins and names."""

import math

import numpy as np
import pytest
import torch

from orbit.core.groups import Group, make_group, point_groups

POINT_SPECS = ("c4", "d4", "octahedral")
SMALL_SPECS = (*POINT_SPECS, "wrap1d:6:2", "wrap2d:6:2", "wrap3d:4:2", "c4+wrap:6:3", "d4+wrap:4:2")
WRAP_SPECS = (
    "wrap1d:20:2",
    "wrap2d:6:2",
    "wrap3d:6:3",
    "c4+wrap:6:1",
    "d4+wrap:8:2",
    "octahedral+wrap:6:2",
)
ALL_SPECS = (*POINT_SPECS, *WRAP_SPECS)


def draw(group: Group, seed: int, num: int) -> torch.Tensor:
    return group.sample(np.random.default_rng(seed), num)


@pytest.mark.parametrize("spec", SMALL_SPECS)
def test_group_laws(spec: str) -> None:
    group = make_group(spec)
    elements = group.elements()
    count = len(elements)
    assert group.num_elements == count == len(set(group.names(elements)))
    g, h = elements.repeat_interleave(count, 0), elements.repeat(count)
    table = group.element_index(group.compose(g, h)).reshape(count, count)
    # Closure, and every row and column a permutation: the products are a Latin square.
    assert torch.equal(table.sort(0).values, torch.arange(count)[:, None].expand(count, count))
    assert torch.equal(table.sort(1).values, torch.arange(count).expand(count, count))
    identity = group.identity(count)
    assert torch.equal(group.element_index(identity), torch.zeros(count, dtype=torch.int64))
    assert torch.equal(group.compose(identity, elements), elements)
    assert torch.equal(group.compose(elements, identity), elements)
    assert torch.equal(group.compose(elements, group.inverse(elements)), identity)
    assert torch.equal(group.compose(group.inverse(elements), elements), identity)
    left = table[table, :]  # (g h) k
    right = table[:, table]  # g (h k)
    assert torch.equal(left, right)


@pytest.mark.parametrize("spec", ALL_SPECS)
def test_laws_of_drawn_elements(spec: str) -> None:
    group = make_group(spec)
    g, h, k = (draw(group, seed, 300) for seed in range(3))
    left = group.compose(group.compose(g, h), k)
    assert torch.equal(left, group.compose(g, group.compose(h, k)))
    assert torch.equal(group.compose(g, group.inverse(g)), group.identity(300))
    assert int(left.max()) < group.num_elements
    assert int(left.min()) >= 0


def test_turns_come_before_shifts() -> None:
    group = make_group("c4+wrap:6:1")
    turn = group.decode(torch.tensor([[1.0, 0.0, 0.0]]))
    shift = group.decode(torch.tensor([[0.0, 2.0, 0.0]]))
    assert group.encode(group.compose(shift, turn)).tolist() == [[1, 2, 0]]
    assert group.encode(group.compose(turn, shift)).tolist() == [[1, 0, 2]]


@pytest.mark.parametrize("spec", ALL_SPECS)
def test_action_vectors_round_trip(spec: str) -> None:
    group = make_group(spec)
    elements = draw(group, 0, 500)
    action = group.encode(elements)
    assert action.dtype == torch.float32
    assert action.shape == (500, len(group.action_components))
    assert torch.equal(group.decode(action), elements)
    low = torch.tensor([component.minimum for component in group.action_components])
    high = torch.tensor([component.maximum for component in group.action_components])
    assert ((action >= low) & (action <= high)).all()
    noise = torch.from_numpy(np.random.default_rng(1).uniform(-0.05, 0.05, action.shape))
    assert torch.equal(group.decode(action + noise.to(torch.float32)), elements)


def test_a_quaternion_and_its_negative_are_one_turn() -> None:
    group = make_group("octahedral")
    action = group.encode(group.elements())
    assert torch.equal(group.decode(-action), group.elements())
    first = action.gather(1, (action != 0).to(torch.int64).argmax(1, keepdim=True))
    assert (first > 0).all()


@pytest.mark.parametrize("spec", ["d4", "octahedral", "wrap2d:6:2", "octahedral+wrap:4:2"])
def test_samples_are_uniform(spec: str) -> None:
    group = make_group(spec)
    num_cells = group.num_elements
    mean = 500
    uniforms = torch.from_numpy(np.random.default_rng(2).random((mean * num_cells, 1)))
    for drawn in (draw(group, 1, mean * num_cells), group.from_uniforms(uniforms)):
        counts = torch.bincount(drawn, minlength=num_cells)
        assert len(counts) == num_cells
        statistic = float(((counts - mean) ** 2 / mean).sum())
        freedom = num_cells - 1  # the statistic has this mean and twice this variance
        assert abs(statistic - freedom) < 4 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("spec", ALL_SPECS)
def test_distance_is_a_left_invariant_metric(spec: str) -> None:
    group = make_group(spec)
    g, h, k = (draw(group, seed, 400) for seed in range(3))
    distance = group.distance(g, h)
    assert distance.is_floating_point()
    assert torch.allclose(distance, group.distance(h, g), atol=1e-5)
    assert torch.equal(distance == 0, g == h)
    assert (group.distance(g, k) <= distance + group.distance(h, k) + 1e-5).all()
    moved = group.distance(group.compose(k, g), group.compose(k, h))
    assert torch.allclose(moved, distance, atol=1e-5)


def test_distances_are_angles_and_turns_of_the_torus() -> None:
    def from_identity(spec: str, action: list[float]) -> float:
        group = make_group(spec)
        return float(group.distance(group.identity(1), group.decode(torch.tensor([action]))))

    half = math.sqrt(0.5)
    assert from_identity("c4", [3.0]) == pytest.approx(math.pi / 2)
    assert from_identity("d4", [2.0, 0.0]) == pytest.approx(math.pi)
    assert from_identity("octahedral", [half, 0.0, half, 0.0]) == pytest.approx(math.pi / 2)
    assert from_identity("octahedral", [0.5, 0.5, 0.5, 0.5]) == pytest.approx(2 * math.pi / 3)
    assert from_identity("wrap1d:8:1", [6.0]) == pytest.approx(math.pi / 2)
    assert from_identity("wrap2d:8:2", [6.0, 0.0]) == pytest.approx(math.pi / 2)
    both = math.hypot(math.pi / 2, math.pi)
    assert from_identity("c4+wrap:8:2", [1.0, 4.0, 0.0]) == pytest.approx(both)


@pytest.mark.parametrize("spec", [*ALL_SPECS, "wrap2d:4:2", "wrap2d:9:3", "wrap3d:9:3"])
def test_bins_hold_every_element_and_the_identity_alone_in_the_first(spec: str) -> None:
    group = make_group(spec)
    elements = group.elements()
    index = group.bin_index(elements)
    assert index[0] == 0
    assert (index[1:] > 0).all()
    assert torch.equal(index.unique(), torch.arange(len(group.bin_names)))
    assert len(set(group.bin_names)) == len(group.bin_names)


def test_bins_of_large_groups_go_by_angle_and_by_length() -> None:
    octahedral = make_group("octahedral")
    assert octahedral.bin_names == ("identity", "90", "120", "180")
    sizes = torch.bincount(octahedral.bin_index(octahedral.elements()))
    assert sizes.tolist() == [1, 6, 8, 9]
    wrap = make_group("wrap2d:28:7")
    g = wrap.decode(torch.tensor([[0.0, 0], [0, 21], [14, 0], [21, 7], [14, 7]]))
    names = [wrap.bin_names[index] for index in wrap.bin_index(g)]
    assert names == ["identity", "shift 0-7", "shift 7-14", "shift 7-14", "shift over 14"]
    both = make_group("d4+wrap:28:7")
    g = both.decode(torch.tensor([[0.0, 0, 7, 0], [3, 0, 7, 0], [2, 1, 0, 0]]))
    assert [both.bin_names[index] for index in both.bin_index(g)] == ["shift", "90", "mirrored"]


@pytest.mark.parametrize("spec", [*ALL_SPECS, "wrap2d:4:2", "d4+wrap:4:2", "octahedral+wrap:9:3"])
def test_examples_are_few_and_all_different(spec: str) -> None:
    group = make_group(spec)
    examples = group.examples()
    assert examples[0] == 0
    assert min(group.num_elements, 7) <= len(examples) <= 8
    assert len(examples.unique()) == len(examples)
    assert int(examples.max()) < group.num_elements


def test_names_give_turn_and_shift() -> None:
    wrap = make_group("wrap2d:28:7")
    assert wrap.names(wrap.decode(torch.tensor([[7.0, 21.0]]))) == ["(7, 21)"]
    both = make_group("c4+wrap:28:7")
    g = both.decode(torch.tensor([[1.0, 0.0, 0.0], [3.0, 7.0, 14.0]]))
    assert both.names(g) == ["90", "270 + (7, 14)"]


def test_tables_first_used_in_inference_serve_training() -> None:
    group = make_group("octahedral")
    action = group.encode(group.elements())
    point_groups._on_device.cache_clear()
    with torch.inference_mode():
        group.decode(action)
    assert torch.equal(group.decode(action.requires_grad_()), group.elements())


def test_tables_are_constants_to_the_compiler() -> None:
    """They carry the mark that torch itself would set."""
    marked = torch.compiler.assume_constant_result(lambda: None)
    assert vars(marked).items() <= vars(point_groups.table_look_up("codes")).items()
