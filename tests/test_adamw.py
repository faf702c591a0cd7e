"""Protects the numbers of training and the checkpoints there are: AdamW is torch's, bit for bit."""

import copy

import pytest
import torch
from torch import nn

from pipeline.training.optimisation import FusedAdamW

SETTINGS = {"lr": 3e-3, "betas": (0.8, 0.95), "weight_decay": 0.02}


def make_model() -> nn.Module:
    """Parameters of several shapes and layouts, one of which never gets a gradient."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 4, 1))
    model.register_parameter("idle", nn.Parameter(torch.ones(3)))
    return model.to(memory_format=torch.channels_last)


def loss_of(model: nn.Module, step: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(step)
    return model(torch.randn(2, 3, 8, 8, generator=generator)).square().mean()


def bits(model: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_steps_are_torchs_and_so_is_the_state() -> None:
    models = [make_model(), make_model()]
    ours = FusedAdamW(list(models[0].parameters()), **SETTINGS)
    theirs = torch.optim.AdamW(models[1].parameters(), fused=True, **SETTINGS)
    for step in range(6):
        for model, optimizer in zip(models, (ours, theirs), strict=True):
            optimizer.param_groups[0]["lr"] = 1e-3 * (step + 1)
            loss_of(model, step).backward()
            optimizer.step()
            optimizer.zero_grad()
        assert same(bits(models[0]), bits(models[1]))
    assert not same(bits(models[0]), bits(make_model()))
    state, expected = ours.state_dict()["state"], theirs.state_dict()["state"]
    assert state.keys() == expected.keys()
    for number, of in expected.items():
        assert all(torch.equal(state[number][name], value) for name, value in of.items())


@pytest.mark.parametrize("writer", ["ours", "torch's"])
def test_it_goes_on_from_its_own_state_and_from_torchs(writer: str) -> None:
    model = make_model()
    whole = (
        FusedAdamW(list(model.parameters()), **SETTINGS)
        if writer == "ours"
        else torch.optim.AdamW(model.parameters(), fused=True, **SETTINGS)
    )
    for step in range(3):
        loss_of(model, step).backward()
        whole.step()
        whole.zero_grad()
    other = copy.deepcopy(model)
    resumed = FusedAdamW(list(other.parameters()), **SETTINGS)
    resumed.load_state_dict(whole.state_dict())
    for step in range(3, 6):
        for each, optimizer in ((model, whole), (other, resumed)):
            loss_of(each, step).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert same(bits(model), bits(other)), "and the loaded state is a copy"
    few = FusedAdamW(list(make_model().parameters())[:2], **SETTINGS)
    with pytest.raises(ValueError, match="of 7 parameters, this model has 2"):
        few.load_state_dict(whole.state_dict())


def test_a_gradient_scaler_leaves_out_the_steps_that_are_not_finite() -> None:
    models = [make_model(), make_model()]
    optimizers = (
        FusedAdamW(list(models[0].parameters()), **SETTINGS),
        torch.optim.AdamW(models[1].parameters(), fused=True, **SETTINGS),
    )
    scalers = [torch.amp.GradScaler("cpu", init_scale=1024.0) for _ in models]
    before = bits(models[0])
    for step in range(4):
        for model, optimizer, scaler in zip(models, optimizers, scalers, strict=True):
            factor = float("inf") if step == 0 else 1.0
            scaler.scale(loss_of(model, step) * factor).backward()
            if step == 2:
                scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        assert same(bits(models[0]), bits(models[1]))
        assert same(bits(models[0]), before) is (step == 0)
