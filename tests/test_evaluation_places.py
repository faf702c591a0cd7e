"""How many records go through a model at a time, and that no metric depends on it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_contrastive_loss import make_batch, make_model

from pipeline.data.packing import (
    MOST_PLACES,
    PASS_VALUES,
    Batch,
    global_places,
    local_batch_of,
    parts_of_pass,
    places_at_once,
)
from pipeline.global_batch import normal_numbers
from pipeline.methods.world_model.contrastive import GROUP_SIZE, Groups
from pipeline.methods.world_model.final import ContrastiveEvaluation
from pipeline.methods.world_model.settings import ContrastiveConfig
from pipeline.metrics.similarity import Room, _in_precision, compare

SIDES = st.integers(1, 300)


@given(st.integers(1, 4), SIDES, SIDES, st.integers(1, 600), st.integers(1, 9))
def test_large_frames_go_as_many_at_a_time_as_in_training(
    channels: int, height: int, width: int, local_batch: int, world_size: int
) -> None:
    """Never none, never more than 256 in all, more than in training only where frames are small."""
    places = places_at_once((channels, height, width), local_batch, world_size)
    assert 1 <= places <= -(-MOST_PLACES // world_size)
    assert places <= 4 * local_batch
    if places > local_batch:
        assert places * channels * height * width * 4 <= 2**20
    elif places < local_batch:
        assert places == -(-MOST_PLACES // world_size)


def test_places_of_known_datasets() -> None:
    """Digits keep the 256 they always had; views and volumes have the batch of training."""
    assert places_at_once((1, 28, 28), 64) == 256
    assert places_at_once((1, 28, 28), 32, world_size=2) == 128
    assert places_at_once((3, 256, 256), 16) == 16
    assert places_at_once((1, 104, 104, 104), 4) == 4
    assert local_batch_of(64, accumulation=4, world_size=2) == 8
    assert local_batch_of(1, accumulation=1, world_size=2) == 1


@given(st.integers(1, 5000), st.integers(1, 256), st.integers(1, 9))
def test_few_places_are_left_over(num_records: int, places: int, world_size: int) -> None:
    """As few steps as the places allow, none without a record, and every rank has as many."""
    size = global_places(num_records, places, world_size)
    assert size % world_size == 0
    assert size <= places * world_size
    num_steps = -(-num_records // size)
    assert num_steps <= -(-num_records // (places * world_size))
    assert 0 <= num_steps * size - num_records < num_steps * world_size


@given(st.integers(1, 600), SIDES, SIDES)
def test_a_pass_takes_each_record_once_and_no_crumbs(num: int, height: int, width: int) -> None:
    """In order; a last part of one record would cost as much as a whole one."""
    frames = torch.zeros(1).expand(num, 1, height, width)
    parts = list(parts_of_pass(frames))
    sizes = [part.stop - part.start for part in parts]
    assert [place for part in parts for place in range(num)[part]] == list(range(num))
    assert max(sizes) * height * width <= max(PASS_VALUES, height * width)
    assert sizes[-1] > max(sizes) - len(sizes)


def parts_of(batch: Batch, size: int) -> list[Batch]:
    """The same records, `size` at a time; the last ones filled up with invalid places."""
    num = len(batch.valid)
    places = torch.arange(-(-num // size) * size)
    padded = Batch(*(x[places.clamp(max=num - 1)] for x in batch))
    padded = padded._replace(valid=padded.valid * (places < num))
    return [Batch(*(x[first : first + size] for x in padded)) for first in range(0, num, size)]


def world_model_sums(size: int) -> torch.Tensor:
    evaluation = ContrastiveEvaluation(make_model(), ContrastiveConfig(num_negatives=3))
    for part in parts_of(make_batch(600), size):
        evaluation.update(part)
    return evaluation.sums()


def test_world_models_are_compared_within_groups_that_do_not_depend_on_batches() -> None:
    """Batches of 256, which are the groups themselves, against others."""
    wanted = world_model_sums(GROUP_SIZE)
    assert wanted[0] == 600
    for size in (7, 100, 600):
        torch.testing.assert_close(world_model_sums(size), wanted, rtol=1e-6, atol=1e-6)


@given(st.lists(st.integers(1, 700), min_size=1, max_size=6))
def test_groups_hold_all_rows_in_order(sizes: list[int]) -> None:
    groups, rows, found = Groups(), torch.arange(sum(sizes)), []
    for part in rows.split(sizes):
        found += [group for (group,) in groups.add(part)]
    found += [group for (group,) in groups.rest()]
    assert torch.equal(torch.cat(found), rows)
    assert all(len(group) == GROUP_SIZE for group in found[:-1])
    assert list(groups.rest()) == []


def test_noise_of_a_validation_is_that_of_a_record_s_place() -> None:
    """Drawn a group at a time, as when a batch was one."""
    from pipeline.methods.world_model.task import VariationalEvaluation

    evaluation = VariationalEvaluation(torch.nn.Linear(1, 1), 1.0)  # type: ignore[arg-type]
    noise = []
    for num in (100, 300, 112):
        noise.append(evaluation._noise(torch.zeros(num, 1)))
        evaluation._num_seen += num
    wanted = [normal_numbers(0, group, GROUP_SIZE, 3, torch.device("cpu")) for group in (0, 1)]
    assert torch.equal(torch.cat(noise), torch.cat(wanted))


@pytest.mark.parametrize("shape", [(2, 70, 66), (1, 8, 40, 12)])
@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_float32_is_used_only_where_it_does_not_show(
    shape: tuple[int, ...], value_range: tuple[float, float]
) -> None:
    """Flat frames of black and white, where variances are all rounding, and ordinary ones."""
    low, high = value_range
    generator = torch.Generator().manual_seed(0)
    ordinary = torch.rand(3, *shape, generator=generator)
    flat = (torch.arange(shape[-1]) >= shape[-1] // 2).float().expand(3, *shape)
    noise = 0.02 * torch.randn(3, *shape, generator=generator)
    for wanted in (ordinary, flat, torch.ones_like(flat)):
        pair = [low + (high - low) * x for x in ((wanted + noise).clamp(0, 1), wanted)]
        exact = [
            _in_precision(x, y, value_range, torch.float64, Room())[:2]
            for x, y in zip(*pair, strict=True)
        ]
        found = torch.stack(compare(*pair, value_range))
        torch.testing.assert_close(
            found, torch.stack(exact, 1).mean(2), rtol=1e-6, atol=1e-6, check_stride=False
        )
