"""Protects the planar arm: its equations of motion, its symmetry bit for bit, and its pictures."""

import math

import numpy as np
import pytest
import torch

from data_prep.worlds import planar_arm as planar_dynamics
from data_prep.worlds import planar_arm as planar_pictures
from data_prep.worlds.planar_arm import (
    ARMATURE,
    DAMPING,
    FOREARM,
    GEAR,
    HALF_VIEW,
    LINK,
    LINK_LENGTH,
    MAX_BEND,
    Body,
    Motion,
    PlanarArm,
    advance,
    arm_bodies,
    paint,
    paint_arm,
)
from data_prep.worlds.reacher import MAX_ANGLE, act_on_states, act_on_torques, sine_cosine
from orbit.core.groups import make_group
from orbit.core.groups.point_groups import determinants, square_matrices

MATRICES = square_matrices().numpy().astype(float)
SIGNS = determinants(square_matrices()).numpy()


def some_motion(num: int, seed: int = 0) -> tuple[Motion, np.ndarray]:
    """Motions and torques, some of them at the stops."""
    rng = np.random.default_rng(seed)
    bend = np.clip(rng.uniform(-3.4, 3.4, num), -MAX_BEND, MAX_BEND)
    return Motion(bend, *rng.uniform(-30, 30, (2, num))), rng.uniform(-1, 1, (num, 2))


def some_arms(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directions, bends and goals."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-np.pi, np.pi, num)
    direction = np.stack([np.cos(angle), np.sin(angle)], -1)
    return direction, rng.uniform(-MAX_BEND, MAX_BEND, num), rng.uniform(-0.25, 0.25, (num, 2))


def test_sine_and_cosine_are_those_of_the_library_and_odd_and_even_bit_for_bit() -> None:
    angle = np.linspace(-MAX_ANGLE, MAX_ANGLE, 20_001)
    sine, cosine = sine_cosine(angle)
    assert np.abs(sine - np.sin(angle)).max() < 1e-14
    assert np.abs(cosine - np.cos(angle)).max() < 1e-14
    back = sine_cosine(-angle)
    assert np.array_equal(back[0], -sine)
    assert np.array_equal(back[1], cosine)
    assert sine_cosine(np.zeros(1)) == (0, 1)


def energy(bend: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Kinetic energy from the places of the links' centres; the first link lies along x."""
    near = LINK.moment * first**2 + LINK.mass * (LINK.distance * first) ** 2
    turn = first + second
    x = -FOREARM.distance * np.sin(bend) * turn
    y = LINK_LENGTH * first + FOREARM.distance * np.cos(bend) * turn
    far = FOREARM.moment * turn**2 + FOREARM.mass * (x**2 + y**2)
    return np.asarray((ARMATURE * (first**2 + second**2) + near + far) / 2)


def test_torques_and_damping_alone_change_the_energy() -> None:
    """The power of the equations of motion; a wrong Coriolis term would make or lose energy."""
    motion, torques = some_motion(200)
    torques = GEAR * torques
    accelerations = planar_dynamics._accelerations(motion, torques)
    rates = (motion.second_speed, *accelerations)
    power, step = np.zeros(200), 1e-5
    for place, rate in enumerate(rates):
        ahead, back = (
            motion._replace(**{motion._fields[place]: motion[place] + sign * step})
            for sign in (1, -1)
        )
        power += rate * (energy(*ahead) - energy(*back)) / (2 * step)
    speeds = np.stack([motion.first_speed, motion.second_speed], -1)
    given = ((torques - DAMPING * speeds) * speeds).sum(1)
    assert np.allclose(power, given, rtol=1e-6, atol=1e-4)
    # The coupling of the joints is weak, as armature outweighs the links, but it is there.
    alone = planar_dynamics._accelerations(motion, torques * (1, 0))[1]
    assert np.abs(alone + DAMPING * motion.second_speed / ARMATURE).max() > 1e-3


def test_the_integrator_is_of_fourth_order(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    motion = Motion(rng.uniform(-1, 1, 50), *rng.uniform(-30, 30, (2, 50)))
    torques = rng.uniform(-1, 1, (50, 2))

    def bend_in_steps(num: int) -> np.ndarray:
        monkeypatch.setattr(planar_dynamics, "STEP_S", 0.04 / num)
        monkeypatch.setattr(planar_dynamics, "NUM_STEPS_AN_ACTION", num)
        return advance(motion, torques)[1].bend

    finest = bend_in_steps(64)
    errors = [np.abs(bend_in_steps(num) - finest).max() for num in (1, 2)]
    assert 12 < errors[0] / errors[1] < 20


def test_an_action_lasts_two_hundredths_of_a_second() -> None:
    """A joint that spins freely turns by its velocity, less what damping takes."""
    speed = 10.0
    motion = Motion(np.zeros(1), np.zeros(1), np.array([speed]))
    after = advance(motion, np.zeros((1, 2)))[1]
    assert after.bend[0] == pytest.approx(speed * (1 - math.exp(-0.02)), rel=2e-3)
    assert after.second_speed[0] == pytest.approx(speed * math.exp(-0.02), rel=2e-3)
    driven = advance(motion._replace(second_speed=np.zeros(1)), np.array([[0.0, 1.0]]))[1]
    assert driven.second_speed[0] == pytest.approx(200 * (1 - math.exp(-0.02)), rel=2e-3)


def test_the_second_joint_stops_at_three_radians_and_may_leave() -> None:
    motion, torques = some_motion(500)
    after = advance(motion, torques)[1]
    at_stop = np.abs(after.bend) == MAX_BEND
    assert np.abs(after.bend).max() == MAX_BEND
    assert 20 < at_stop.sum() < 480
    assert (after.bend * after.second_speed)[at_stop].max() <= 0
    leaving = Motion(np.array([MAX_BEND]), np.zeros(1), np.array([-5.0]))
    assert advance(leaving, np.zeros((1, 2)))[1].bend[0] < MAX_BEND - 0.09


@pytest.mark.parametrize("element", range(8))
def test_turns_and_mirrors_commute_with_the_dynamics_bit_for_bit(element: int) -> None:
    """Also in float64, before states are rounded, and at the stops."""
    num = 400
    motion, torques = some_motion(num)
    direction, _, goal = some_arms(num)
    states = np.concatenate([direction, np.stack(motion, -1), goal, np.zeros((num, 3))], 1)
    g = torch.full((num,), element)

    def after(states: np.ndarray, torques: np.ndarray) -> np.ndarray:
        moved = states.copy()
        moved[:, :5] = PlanarArm().advance(states[:, :7], torques)
        return moved

    turned_first = after(act_on_states(states, g), act_on_torques(torques, g))
    assert np.array_equal(turned_first, act_on_states(after(states, torques), g))
    assert np.abs(np.linalg.norm(turned_first[:, :2], axis=1) - 1).max() < 1e-15


@pytest.mark.parametrize("size", [16, 33, 64, 65, 129])
def test_the_picture_of_a_turned_arm_is_the_turned_picture(size: int) -> None:
    direction, bend, goal = some_arms(12)
    pictures = paint_arm(direction, bend, goal, size)
    group = make_group("d4")
    for element, matrix in enumerate(MATRICES):
        turned = paint_arm(direction @ matrix.T, SIGNS[element] * bend, goal @ matrix.T, size)
        g = torch.full((12,), element)
        assert np.array_equal(turned, group.act_on_image(torch.from_numpy(pictures), g).numpy())


def pixel(x: float, y: float, before: float, body: tuple, scale: float, channel: int) -> float:
    """One channel of one pixel after one body, by plain arithmetic."""
    start, end, radius, colour = body
    along = end - start
    share = 0.0
    if along @ along > 0:
        share = min(
            1.0, max(0.0, float((np.array([x, y]) / scale - start) @ along / (along @ along)))
        )
    distance = math.dist((x, y), (start + share * along) * scale)
    covered = min(1.0, max(0.0, radius * scale + 0.5 - distance))
    rim = min(1.0, distance / (radius * scale))
    light = planar_pictures.RIM_LIGHT
    shade = light + (1 - light) * math.sqrt(1 - rim * rim)
    return round(before + covered * (colour[channel] * shade - before))


def test_pictures_are_those_of_a_painter_who_knows_one_pixel_at_a_time() -> None:
    size = 40
    direction, bend, goal = some_arms(2, seed=3)
    pictures = paint_arm(direction, bend, goal, size)
    scale, middle = size / (2 * HALF_VIEW), (size - 1) / 2
    for row in range(size):
        for column in range(size):
            x, y = column - middle, middle - row
            expected = planar_pictures._arena(size)[:, row, column].astype(float)
            for body in arm_bodies(direction, bend, goal):
                one = (body.start[1], body.end[1], body.radius, body.colour)
                expected = [pixel(x, y, expected[c], one, scale, c) for c in range(3)]
            assert np.abs(pictures[1, :, row, column] - expected).max() <= 1
    assert len(np.unique(pictures[1].reshape(3, -1), axis=1).T) > 30


def test_outlines_cover_pixels_by_their_area() -> None:
    """A disc is as bright as its shade is on its area, wherever it lies between pixels."""
    rng = np.random.default_rng(0)
    size, radius, light = 64, 0.05, planar_pictures.RIM_LIGHT
    centre = rng.uniform(-0.2, 0.2, (50, 2))
    pictures = np.zeros((50, 3, size, size), np.uint8)
    paint(pictures, Body(centre, centre, radius, (255, 255, 255)))
    area = np.pi * (radius * size / (2 * HALF_VIEW)) ** 2
    total = pictures[:, 0].sum((1, 2)) / 255
    # The mean of sqrt(1 - r^2) over the unit disc is 2/3.
    assert total.mean() == pytest.approx(area * (light + (1 - light) * 2 / 3), rel=0.03)
    assert total.std() < 0.01 * total.mean()


def test_bodies_beyond_the_frame_are_cut_off() -> None:
    size = 32
    start = np.array([[-0.5, 0.1], [0.33, 0.33], [0.0, 0.6]])
    end = np.array([[0.5, 0.2], [0.4, 0.3], [0.0, 0.7]])
    pictures = np.zeros((3, 3, size, size), np.uint8)
    paint(pictures, Body(start, end, 0.03, (200, 100, 50)))
    scale, middle = size / (2 * HALF_VIEW), (size - 1) / 2
    for view in range(3):
        body = (start[view], end[view], 0.03, (200, 100, 50))
        for row in range(0, size, 3):
            for column in range(size):
                x, y = column - middle, middle - row
                expected = pixel(x, y, 0.0, body, scale, 0)
                assert abs(pictures[view, 0, row, column] - expected) <= 1
    assert pictures[0].any()
    assert not pictures[2].any()


def test_a_picture_does_not_depend_on_those_beside_it() -> None:
    direction, bend, goal = some_arms(20)
    together = paint_arm(direction, bend, goal, 48)
    for row in (0, 7, 19):
        part = slice(row, row + 1)
        alone = paint_arm(direction[part], bend[part], goal[part], 48)
        assert np.array_equal(alone[0], together[row])
    assert len(paint_arm(direction[:0], bend[:0], goal[:0], 48)) == 0
