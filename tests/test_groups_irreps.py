"""Protects the representations: orthogonal homomorphisms, irreducible, none missing."""

import numpy as np
import pytest
import torch

from orbit.core.groups import Irrep, irreps, make_group, quaternions
from orbit.core.groups.irreps import rotation_generators

FINITE = ("c4", "d4", "octahedral")
CONTINUOUS = ("so2", "so3")
COMPLEX_TYPE = {("c4", "rotation")}
"""Real representations that two complex ones make up: their characters have norm 2."""


def all_irreps(specs: tuple[str, ...]) -> list[tuple[str, Irrep]]:
    return [(spec, irrep) for spec in specs for irrep in make_group(spec).irreps(4)]


def label(value: object) -> str:
    return value.name if isinstance(value, Irrep) else str(value)


@pytest.mark.parametrize(("spec", "irrep"), all_irreps(FINITE), ids=label)
def test_finite_homomorphism(spec: str, irrep: Irrep) -> None:
    group = make_group(spec)
    elements = group.elements()
    count = len(elements)
    g, h = elements.repeat_interleave(count), elements.repeat(count)
    matrices = irrep.matrix(elements)
    assert matrices.shape == (count, irrep.size, irrep.size)
    assert matrices.dtype == torch.float32
    product = irrep.matrix(g) @ irrep.matrix(h)
    assert torch.allclose(irrep.matrix(group.compose(g, h)), product, atol=1e-6)
    unit = torch.eye(irrep.size)
    assert torch.equal(irrep.matrix(group.identity(1))[0], unit)
    assert torch.allclose(matrices @ matrices.mT, unit, atol=1e-6)


@pytest.mark.parametrize(("spec", "irrep"), all_irreps(CONTINUOUS), ids=label)
def test_continuous_homomorphism(spec: str, irrep: Irrep) -> None:
    group = make_group(spec)
    g, h = (group.sample(np.random.default_rng(seed), 100).double() for seed in (0, 1))
    if spec == "so3":
        g, h = (q / q.norm(dim=1, keepdim=True) for q in (g, h))
    matrices = irrep.matrix(g)
    assert matrices.dtype == torch.float64
    assert matrices.shape == (100, irrep.size, irrep.size)
    product = matrices @ irrep.matrix(h)
    assert (irrep.matrix(group.compose(g, h)) - product).abs().max() < 1e-10
    unit = torch.eye(irrep.size, dtype=torch.float64)
    assert (irrep.matrix(group.identity(1).double())[0] - unit).abs().max() < 1e-14
    assert (matrices @ matrices.mT - unit).abs().max() < 1e-10
    if spec == "so3":
        assert (irrep.matrix(-g) - matrices).abs().max() < 1e-10
    single = irrep.matrix(g.float())
    assert single.dtype == torch.float32
    assert (single - matrices).abs().max() < 1e-4


@pytest.mark.parametrize("spec", FINITE)
def test_finite_representations_are_irreducible_different_and_complete(spec: str) -> None:
    group = make_group(spec)
    irreps = group.irreps(0)
    traces = [irrep.matrix(group.elements()).diagonal(dim1=1, dim2=2).sum(1) for irrep in irreps]
    characters = torch.stack(traces)
    norms = [2.0 if (spec, irrep.name) in COMPLEX_TYPE else 1.0 for irrep in irreps]
    products = characters @ characters.T / group.num_elements
    assert torch.allclose(products, torch.diag(torch.tensor(norms)), atol=1e-5)
    pairs = zip(irreps, norms, strict=True)
    assert sum(irrep.size**2 / norm for irrep, norm in pairs) == group.num_elements
    assert torch.equal(characters[0], torch.ones(group.num_elements))


def test_space_representations_are_irreducible_and_different() -> None:
    group = make_group("so3")
    q = group.sample(np.random.default_rng(0), 40_000)
    # Characters sum cosines of multiples of the angle: computed here from scratch.
    angle = quaternions.angle(q)
    for degree, irrep in enumerate(group.irreps(3)):
        trace = irrep.matrix(q[:500]).diagonal(dim1=1, dim2=2).sum(1)
        expected = sum((m * angle[:500]).cos() for m in range(-degree, degree + 1))
        assert torch.allclose(trace, expected + torch.zeros(500), atol=1e-4)


def test_names_and_sizes() -> None:
    def listed(spec: str, bound: int) -> dict[str, int]:
        return {irrep.name: irrep.size for irrep in make_group(spec).irreps(bound)}

    assert listed("c4", 9) == {"trivial": 1, "sign": 1, "rotation": 2}
    assert listed("d4", 0) == {"A1": 1, "A2": 1, "B1": 1, "B2": 1, "E": 2}
    assert listed("octahedral", 1) == {"A1": 1, "A2": 1, "E": 2, "T1": 3, "T2": 3}
    assert listed("so2", 2) == {"trivial": 1, "frequency 1": 2, "frequency 2": 2}
    assert listed("so3", 2) == {"trivial": 1, "degree 1": 3, "degree 2": 5}
    assert listed("so2", 0) == listed("so3", 0) == {"trivial": 1}


def test_b1_holds_the_mirrors_along_the_axes() -> None:
    group = make_group("d4")
    by_name = {irrep.name: irrep for irrep in group.irreps(0)}
    mirrors = group.decode(torch.tensor([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0]]))
    assert by_name["B1"].matrix(mirrors).flatten().tolist() == [1, -1, 1, -1]
    assert by_name["B2"].matrix(mirrors).flatten().tolist() == [-1, 1, -1, 1]


def test_vector_representations_are_the_rotation_matrices() -> None:
    q = make_group("so3").sample(np.random.default_rng(0), 50).double()
    q = q / q.norm(dim=1, keepdim=True)
    basis = torch.tensor([1, 2, 0])  # real harmonics of degree 1 are y, z, x
    expected = quaternions.to_matrix(q)[:, basis][:, :, basis]
    assert (make_group("so3").irreps(1)[1].matrix(q) - expected).abs().max() < 1e-12
    octahedral = make_group("octahedral")
    elements = octahedral.elements()
    turns = quaternions.to_matrix(octahedral.encode(elements))
    assert torch.allclose(octahedral.irreps(0)[3].matrix(elements), turns, atol=1e-6)
    angle = torch.tensor([0.3])
    assert make_group("so2").irreps(3)[3].matrix(angle)[0, 1, 0] == pytest.approx(np.sin(0.9))


def test_degree_two_is_the_action_on_traceless_symmetric_matrices() -> None:
    q = make_group("so3").sample(np.random.default_rng(0), 20).double()
    q = q / q.norm(dim=1, keepdim=True)
    rotation = quaternions.to_matrix(q)
    # Quadratic forms of the real harmonics of degree 2: xy, yz, 3z^2 - r^2, xz, x^2 - y^2.
    forms = torch.zeros(5, 3, 3, dtype=torch.float64)
    for index, row, column in ((0, 0, 1), (1, 1, 2), (3, 0, 2)):
        forms[index, row, column] = forms[index, column, row] = 0.5**0.5
    forms[2] = torch.diag(torch.tensor([-1.0, -1.0, 2.0]).double()) / 6**0.5
    forms[4] = torch.diag(torch.tensor([1.0, -1.0, 0.0]).double()) / 2**0.5
    turned = rotation[:, None] @ forms @ rotation.mT[:, None]
    expected = torch.einsum("mij,nkij->nmk", forms, turned)
    assert (make_group("so3").irreps(2)[2].matrix(q) - expected).abs().max() < 1e-12


@pytest.mark.parametrize("degree", [1, 2, 5])
def test_generators_obey_the_commutators_of_rotations(degree: int) -> None:
    x, y, z = rotation_generators(degree)
    for a, b, c in ((x, y, z), (y, z, x), (z, x, y)):
        assert torch.allclose(a @ b - b @ a, c, rtol=0, atol=1e-12)
        assert torch.allclose(a, -a.T, atol=1e-14)
    assert torch.allclose(
        (x @ x + y @ y + z @ z), -degree * (degree + 1) * torch.eye(len(x)).double()
    )


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-9, 1e-6, 3e-6])
def test_tiny_turns_are_finite_and_linear(size: float) -> None:
    q = torch.tensor([[1.0, size / 2, 0.0, 0.0]], dtype=torch.float64).requires_grad_()
    for irrep in make_group("so3").irreps(2)[1:]:
        matrix = irrep.matrix(q)[0]
        linear = torch.eye(irrep.size) + size * rotation_generators(irrep.size // 2)[0]
        assert (matrix - linear).abs().max() < 1e-10
        (gradient,) = torch.autograd.grad(matrix.sum(), q)
        assert gradient.isfinite().all()


def test_generators_first_used_in_inference_serve_training() -> None:
    irreps._generators_on.cache_clear()
    q = torch.tensor([[0.6, 0.0, 0.8, 0.0]], dtype=torch.float64)
    with torch.inference_mode():
        irreps.space_matrix(2, q)
    irreps.space_matrix(2, q.requires_grad_()).sum().backward()
    assert q.grad is not None


def test_mixed_precision_leaves_representations_alone() -> None:
    for spec in (*FINITE, *CONTINUOUS):
        group = make_group(spec)
        g = group.sample(np.random.default_rng(0), 10)
        for irrep in group.irreps(3):
            expected = irrep.matrix(g)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                assert torch.equal(irrep.matrix(g), expected)


@pytest.mark.parametrize(
    "spec", ["wrap2d:8:2", "c4+wrap:8:2", "octahedral+wrap:8:2", "so2+shift:8:1"]
)
def test_groups_with_shifts_offer_none(spec: str) -> None:
    with pytest.raises(ValueError, match=r"offers no representations.*learned action"):
        make_group(spec).irreps(2)


def test_a_bound_below_zero_is_refused() -> None:
    for spec in CONTINUOUS:
        with pytest.raises(ValueError, match="-1"):
            make_group(spec).irreps(-1)
