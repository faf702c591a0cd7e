"""Configurations and refused sweeps, for the tests of sweeps."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from helpers.programs import call
from helpers.training import PATH_KEYS
from orbit.core.config.compose import compose, set_dotted
from orbit.core.config.schema import build
from pipeline.training.settings import TrainConfig

KEYS = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=3).map(".".join)


@functools.cache
def base_text() -> str:
    """The values of the default training configuration, as JSON."""
    return json.dumps(compose("train", ["data=/data", "run_dir=/run"], PATH_KEYS))


def config_with(values: Mapping[str, Any]) -> TrainConfig:
    """The default configuration with other values at dotted keys."""
    composed = json.loads(base_text())
    for key, value in values.items():
        set_dotted(composed, key, value)
    return build(TrainConfig, composed)


def sweep(*words: str, data: Path, sweep_dir: Path) -> str:
    """The one line with which launch/sweep.py refuses."""
    given_words = (f"data={data}", f"sweep_dir={sweep_dir}", "cluster=inline", *words)
    line = call("launch/sweep.py", *given_words).error_line
    assert not sweep_dir.exists()
    return line
