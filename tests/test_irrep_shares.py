"""Protects shares of variance by irrep: closed forms, sums, and that the group leaves them be."""

from pathlib import Path

import pytest
import torch
from helpers.tiny_world import ExactModel, TinyWorld, make_store

from orbit.core.groups import Group, make_group
from pipeline.equivariant import act_on_fibre
from pipeline.methods.world_model.measures.encoding import read_episodes
from pipeline.methods.world_model.measures.measure import irrep_metrics, measure_episodes

NAMES = {"c4": ["trivial", "sign", "rotation"], "d4": ["A1", "A2", "B1", "B2", "E"]}


class Latents:
    """All that the shares ask of a model: regular fibres (N, fields, |G|), or another action."""

    def __init__(self, spec: str) -> None:
        self.group: Group = make_group(spec)

    def act_on_latent(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return act_on_fibre(latent, g, self.group.name, dim=2)


def shares_of(model: Latents, latents: torch.Tensor) -> dict[str, float]:
    found = irrep_metrics(model, latents)  # type: ignore[arg-type]
    return {name.removeprefix("irreps/"): share for name, share in found.items()}


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def orbit(model: Latents, latents: torch.Tensor) -> torch.Tensor:
    """Latents with all their transforms."""
    moved = [model.act_on_latent(latents, g.expand(len(latents))) for g in model.group.elements()]
    return torch.cat(moved)


@pytest.mark.parametrize("spec", NAMES)
def test_noise_has_shares_as_the_dimensions_of_the_parts(spec: str) -> None:
    """All copies of an irrep have as many dimensions as its size squared, of c4's turns two."""
    model = Latents(spec)
    found = shares_of(model, noise(20_000, 3, len(model.group.elements())))
    whole = len(model.group.elements())
    squares = {"c4": {"rotation": 2}, "d4": {"E": 4}}[spec]
    for name, share in found.items():
        assert share == pytest.approx(squares.get(name, 1) / whole, abs=0.01)
    assert list(found) == NAMES[spec]


@pytest.mark.parametrize("spec", NAMES)
def test_shares_sum_to_one_and_do_not_change_when_the_group_acts(spec: str) -> None:
    model = Latents(spec)
    latents = noise(50, 4, len(model.group.elements())) @ torch.diag(
        torch.arange(1.0, len(model.group.elements()) + 1)
    )
    latents = latents + 3 * noise(4, len(model.group.elements()), seed=1)
    found = shares_of(model, latents)
    assert sum(found.values()) == pytest.approx(1, abs=1e-6)
    assert min(found.values()) > 0
    for g in model.group.elements():
        moved = shares_of(model, model.act_on_latent(latents, g.expand(50)))
        assert moved == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize("spec", NAMES)
def test_what_the_group_leaves_alone_is_trivial_alone(spec: str) -> None:
    model = Latents(spec)
    still = noise(30, 2, 1).expand(-1, -1, len(model.group.elements())).contiguous()
    first, *others = shares_of(model, still).values()
    assert first == pytest.approx(1)
    assert others == pytest.approx([0] * len(others), abs=1e-6)


def test_one_dimensional_parts_are_found_by_their_signs() -> None:
    """x(h) = s(h) moves by the sign s: each of d4's four in turn, and in sums by their squares."""
    model = Latents("d4")
    elements = model.group.elements()
    signs = {irrep.name: irrep.matrix(elements)[:, 0, 0] for irrep in model.group.irreps(0)[:4]}
    for name, sign in signs.items():
        found = shares_of(model, orbit(model, noise(40, 1, 1) * sign))
        assert found == pytest.approx({each: float(each == name) for each in NAMES["d4"]}, abs=1e-6)
    mixed = orbit(model, (3 * signs["A2"] + 4 * signs["B1"]).expand(1, 1, 8))
    found = shares_of(model, mixed)
    assert found == pytest.approx({"A1": 0, "A2": 0.36, "B1": 0.64, "B2": 0, "E": 0}, abs=1e-6)


def test_a_direction_of_the_plane_is_two_dimensional_alone() -> None:
    """x(h) = the first coordinate of h^-1 v, for the direction v of an arm."""
    model = Latents("d4")
    elements = model.group.elements()
    matrices = {irrep.name: irrep for irrep in model.group.irreps(0)}["E"].matrix(elements)
    angles = torch.linspace(0, 6, 25)
    arms = torch.stack([angles.cos(), angles.sin()], 1)
    for latents in (arms @ matrices[:, :, 0].T, arms @ matrices[:, 0].T):
        found = shares_of(model, orbit(model, latents[:, None]))
        name = max(found, key=lambda each: found[each])
        assert (name, found[name]) == ("E", pytest.approx(1))


def test_nothing_is_measured_without_variance_or_action() -> None:
    model = Latents("d4")
    assert shares_of(model, torch.ones(5, 2, 8)) == {}
    for spec in ("so2", "so3"):
        other = Latents(spec)
        assert shares_of(other, noise(5, 3, 3)) == {}

    class NoAction(Latents):
        def act_on_latent(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
            raise ValueError("the group has no action on the latent of this model")

    assert shares_of(NoAction("d4"), noise(5, 8)) == {}


def test_places_on_a_board_turn_and_nothing_else(tmp_path: Path) -> None:
    """Seen from all four sides, the place of a piece from the middle is the turning part alone."""
    store = make_store(tmp_path / "data", TinyWorld())
    episodes = read_episodes(store.manifest, store.split("test"), "test", make_group("c4"), None)
    metrics, _ = measure_episodes(ExactModel(), episodes, store.manifest, 16, torch.device("cpu"))
    names = {name: value for name, value in metrics.items() if name.startswith("irreps/")}
    wanted = {"irreps/trivial": 0, "irreps/sign": 0, "irreps/rotation": 1}
    assert names == pytest.approx(wanted, abs=1e-6)
