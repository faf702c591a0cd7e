"""Sinusoids on a circle of points, and where their maxima are."""

import numpy as np


def sinusoids(
    amplitude: np.ndarray, phase: np.ndarray, num_points: int, num_periods: int
) -> np.ndarray:
    """amplitude * sin(t + phase) at evenly spaced t, float64 (N, num_points).

    The last point is followed by the first: shifting a sequence by one point shifts its phase.
    """
    turns = np.arange(num_points) * num_periods / num_points
    angle = 2 * np.pi * turns + np.asarray(phase, np.float64)[:, None]
    values: np.ndarray = np.asarray(amplitude, np.float64)[:, None] * np.sin(angle)
    return values


def first_maximum(phase: np.ndarray, num_points: int, num_periods: int) -> np.ndarray:
    """The point nearest to the first maximum, int64 (N,) within the first period."""
    period = num_points // num_periods
    place = (0.25 - np.asarray(phase, np.float64) / (2 * np.pi)) * period
    return np.floor(place + 0.5).astype(np.int64) % period


def labels_of_maxima(first: np.ndarray, num_points: int, num_periods: int) -> np.ndarray:
    """1 at the maxima, one a period, and 0 elsewhere, float64 (N, num_points)."""
    period = num_points // num_periods
    return np.asarray(np.arange(num_points) % period == first[:, None], np.float64)
