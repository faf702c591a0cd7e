"""Manifests of version 1 are read as what preparation would write today, or refused in one line.

Protects datasets that exist: their fingerprint, what evaluation knows of their world, and that
preparing the same again finds them complete.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from helpers.preparing import prepare, recipe_of
from helpers.recipes import VolumeRecipe
from hypothesis import given
from hypothesis import strategies as st

from data_prep.building.builder import build_dataset, is_complete, start_build
from data_prep.building.clearing import PLAN
from data_prep.worlds.make import world_of
from orbit.core.store.earlier import origin_of, upgraded
from orbit.core.store.manifest import SPLITS, read_manifest
from orbit.core.store.origin import Episodes, Named, Orbits, Origin, Sequences, Table

STORED = Path(__file__).parent / "golden" / "manifest_version_1.json"


def plain(origin: Origin) -> dict[str, Any]:
    """As a manifest holds it."""
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(origin)))
    return values


def as_version_1(values: dict[str, Any], origin: Origin) -> dict[str, Any]:
    """A manifest, or what an unfinished dataset says of itself, as version 1 wrote it."""
    earlier = {**values, "generator": json.loads(json.dumps(origin.flat()))}
    del earlier["origin"]
    return {**earlier, "schema_version": 1} if "schema_version" in values else earlier


def test_a_stored_manifest_keeps_its_fingerprint(tmp_path: Path) -> None:
    text = STORED.read_text()
    (tmp_path / "manifest.json").write_text(text)
    manifest = read_manifest(tmp_path)
    assert manifest.fingerprint == json.loads(text)["fingerprint"]
    origin = manifest.origin
    assert isinstance(origin, Episodes)
    assert origin.world == Named("shapes_2d", {"shapes": ["circle", "triangle", "square"]})
    assert (origin.num_elements["test"], origin.episode_length["train"]) == (4, 100)
    assert manifest.facts == world_of(manifest).facts
    assert manifest.facts.directions == "absolute"
    changed = text.replace('"group": "c4"', '"group": "d4"')
    (tmp_path / "manifest.json").write_text(changed)
    with pytest.raises(ValueError, match="was changed after it was written"):
        read_manifest(tmp_path)


TEAPOT = "dataset=teapot"
PREPARATIONS = {
    "digits": ("dataset=rotated_digits",),
    "drawn bins": (
        *("dataset=rotated_digits", "dataset.train_bins=['0','90']", "dataset.train_pairs=orbit"),
    ),
    "sequences": ("dataset=sequence_labelling",),
    "shapes": ("dataset=shapes_2d",),
    "one direction": ("dataset=shapes_2d_up",),
    "backdrops": ("dataset=shapes_2d_up_backdrop",),
    "combinations": ("dataset=blocks_3d_combinations",),
    "blocks": ("dataset=blocks_3d",),
    "arrows": ("dataset=rush_hour", "dataset.actions=[forward,3 left]"),
    "arm": ("dataset=reacher_planar",),
    "limited arm": ("dataset=reacher_planar_positive",),
    "solid": (TEAPOT,),
    "small turns": ("dataset=teapot_small",),
    "limited turns": (TEAPOT, "dataset.actions=small"),
    "all turns": (TEAPOT, "dataset.actions=haar"),
    "held out": (TEAPOT, "dataset.world.held_out={degrees:30,axis:[1,0,0]}"),
}


@pytest.mark.parametrize("words", PREPARATIONS.values(), ids=PREPARATIONS)
def test_what_version_1_recorded_becomes_what_is_recorded_now(words: tuple[str, ...]) -> None:
    """What a world declares today is what stood in no manifest then."""
    origin = recipe_of("out=x", *words).origin()
    assert plain(origin_of(json.loads(json.dumps(origin.flat())))) == plain(origin)


fractions = st.none() | st.floats(0.01, 0.4)
sizes = st.floats(0.1, 100)
common = {
    "shard_mib": sizes,
    "num_samples": st.none() | st.integers(1, 9),
    "val_fraction": fractions,
    "test_fraction": fractions,
}
settings = st.dictionaries(
    st.sampled_from(["size", "nan", "percentiles", "colour"]),
    st.none() | st.integers(0, 9) | st.text(max_size=3) | st.lists(st.floats(0, 100), max_size=2),
)
counts = st.fixed_dictionaries({split: st.integers(1, 9) for split in SPLITS})
pairs = st.fixed_dictionaries(
    {split: st.sampled_from(["orbit", "drawn", "all_pairs", "sources"]) for split in SPLITS}
)
orbits = st.builds(
    Orbits,
    kind=st.just("orbits"),
    source=st.builds(Named, st.sampled_from(["mnist", "images", "mine"]), settings),
    pairs=pairs,
    num_drawn=st.integers(1, 4),
    train_bins=st.none() | st.just(("0", "90")),
    **common,
)
scenes = st.sampled_from([("plain", None), ("blocked", 7), ("composite", None), ("views", None)])
origins = st.one_of(
    st.builds(
        lambda made, scene: dataclasses.replace(made, scene=scene[0], block_side=scene[1]),
        orbits,
        scenes,
    ),
    st.builds(Table, kind=st.just("table"), targets_are_exact=st.booleans(), **common),
    st.builds(
        Sequences,
        kind=st.just("sequences"),
        num_points=st.integers(4, 99),
        num_periods=st.integers(1, 3),
        amplitude=st.tuples(sizes, sizes),
        num_samples=counts,
        shard_mib=sizes,
    ),
    st.builds(
        Episodes,
        kind=st.just("episodes"),
        world=st.builds(Named, st.just("a_world_of_mine"), settings),
        num_episodes=counts,
        episode_length=counts,
        num_elements=counts,
        shard_mib=sizes,
        actions=st.none() | st.just(("left", "right")),
    ),
)


@given(origins)
def test_flat_settings_hold_all_of_an_origin(origin: Origin) -> None:
    assert plain(origin_of(json.loads(json.dumps(origin.flat())))) == plain(origin)


def test_a_dataset_of_version_1_is_complete_and_means_the_same(tmp_path: Path) -> None:
    words = ("dataset=teapot", "dataset.actions=small", "num_episodes=3", "dataset.world.size=16")
    store = prepare(tmp_path / "data", *words, "dataset.num_test_episodes=1")
    file = store.root / "manifest.json"
    now = store.manifest
    file.write_text(json.dumps(as_version_1(json.loads(file.read_text()), now.origin)))
    assert read_manifest(store.root) == now
    recipe = recipe_of(f"out={store.root}", *words, "dataset.num_test_episodes=1")
    assert is_complete(recipe, store.root)


def test_what_version_1_began_is_continued(tmp_path: Path) -> None:
    assert start_build(VolumeRecipe(), tmp_path, overwrite=False)
    plan = tmp_path / PLAN
    begun = as_version_1(json.loads(plan.read_text()), VolumeRecipe().origin())
    plan.write_text(json.dumps(begun))
    build_dataset(VolumeRecipe(), tmp_path)
    assert is_complete(VolumeRecipe(), tmp_path)


@pytest.mark.parametrize(
    ("generator", "reason"),
    [
        ({"world": "teapot"}, "'settings' is missing"),
        ({"source": "mnist", "shard_mib": 1.0}, "missing key origin.pairs"),
        ({"source": "table", "pairs": {}}, "origin.pairs"),
        ({"num_samples": 3}, "'source' is missing"),
        ("nothing", ""),
    ],
)
def test_settings_that_no_version_wrote_are_refused_in_one_line(
    generator: Any, reason: str, tmp_path: Path
) -> None:
    values = {**json.loads(STORED.read_text()), "generator": generator}
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(
        ValueError, match=r"cannot be converted .*prepare the dataset again"
    ) as error:
        read_manifest(tmp_path)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="prepare the dataset again"):
        upgraded(values)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"cells": [[0, 10]]}, "number 10 of states of 10 numbers"),
        ({"fixed_part": -1}, "number -1 of states"),
        ({"angles": {"what": "", "right": [0], "up": [1, 2]}}, "not of as many objects"),
        ({"seen_actions": {"kind": "listed", "vectors": [[1]]}}, "but actions have 2 components"),
        ({"solid": {"size": 9, "colour": "red"}}, "origin.facts.solid.colour"),
    ],
)
def test_facts_that_do_not_fit_the_dataset_are_refused(
    facts: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    values = upgraded(json.loads(STORED.read_text()))
    values["origin"]["facts"] |= facts
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match="cannot be read") as error:
        read_manifest(tmp_path)
    assert reason in str(error.value)
