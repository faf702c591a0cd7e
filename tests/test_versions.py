"""Every artefact says by which version of Orbit it was made.

Protects that a file that somebody was handed can be traced, and that CHANGELOG.md knows the version
that is installed.
"""

import json
from pathlib import Path

import pytest
import yaml
from helpers.programs import REPOSITORY

from launch.cluster.settings import InlineConfig
from launch.sweeps.plan import SweepDirectory
from launch.sweeps.settings import PointsSearch, SweepConfig
from orbit import __version__


@pytest.mark.parametrize(
    "file", ["result.json", "environment.json", "checkpoints/step_*/meta.json"]
)
def test_a_run_says_it(file: str, digits_run: Path) -> None:
    (found, *_) = sorted(digits_run.glob(file))
    assert json.loads(found.read_text())["orbit"] == __version__


def test_a_dataset_says_it(digits_dir: Path) -> None:
    assert __version__ in (digits_dir / "manifest.json").read_text()


def test_a_sweep_says_it(tmp_path: Path) -> None:
    sweep = SweepConfig(PointsSearch("points", ({},)))
    SweepDirectory(tmp_path).write_request(["a=b"], sweep, InlineConfig("inline"))
    assert yaml.safe_load((tmp_path / "sweep.yaml").read_text())["orbit"] == __version__


def test_the_changes_know_it() -> None:
    assert f"\n## {__version__}" in (REPOSITORY / "CHANGELOG.md").read_text()
