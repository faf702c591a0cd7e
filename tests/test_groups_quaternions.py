"""Protects the arithmetic of quaternions, held against scipy's rotations."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from orbit.core.groups import quaternions


def as_scipy(q: torch.Tensor) -> Rotation:
    return Rotation.from_quat(np.roll(q.numpy(), -1, axis=-1))


def test_quaternions_agree_with_scipy() -> None:
    p, q = (torch.from_numpy(np.random.default_rng(seed).normal(size=(200, 4))) for seed in (0, 1))
    p, q = p / p.norm(dim=1, keepdim=True), q / q.norm(dim=1, keepdim=True)
    product = as_scipy(p) * as_scipy(q)
    for found, expected in (
        (quaternions.to_matrix(quaternions.multiply(p, q)), product.as_matrix()),
        (quaternions.rotation_vector(q), as_scipy(q).as_rotvec()),
        (quaternions.rotation_vector(-q), as_scipy(q).as_rotvec()),
        (quaternions.to_matrix(quaternions.conjugate(q)), as_scipy(q).inv().as_matrix()),
        (quaternions.angle(q), as_scipy(q).magnitude()),
    ):
        assert np.allclose(found.numpy(), expected, rtol=0, atol=1e-12)
    half_turns = torch.eye(4, dtype=torch.float64)
    for rotation in (q, half_turns):
        back = quaternions.from_matrix(quaternions.to_matrix(rotation))
        assert torch.allclose(back, quaternions.canonical(rotation), rtol=0, atol=1e-12)
    axis_and_angle = quaternions.from_axis((1, 2, -2), 75)
    expected = Rotation.from_rotvec(np.radians(75) * np.array([1, 2, -2]) / 3).as_matrix()
    assert np.allclose(quaternions.to_matrix(axis_and_angle).numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-12, 1e-7, 2e-6, 1e-3])
def test_rotation_vectors_of_tiny_turns_lose_no_digits(size: float) -> None:
    vector = np.array([[0.6, 0.0, -0.8]]) * size
    sine = math.sin(size / 2)
    q = torch.tensor([[math.cos(size / 2), 0.6 * sine, 0.0, -0.8 * sine]], dtype=torch.float64)
    found = quaternions.rotation_vector(q)
    assert np.allclose(found.numpy(), vector, rtol=1e-11, atol=0)
