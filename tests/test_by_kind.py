"""`by_kind` in a file: a value that goes with the key `kind` beside it.

Protects that one word changes a model with all its sizes, wherever the word is said, and that it
never hides a mistake behind the resolver's own words.
"""

from pathlib import Path

import pytest
from helpers.programs import call
from helpers.training import PATH_KEYS

from launch.sweeps.expansion import GridSearch, Resolver, expand, with_seeds
from orbit.core.config.compose import compose
from orbit.core.config.schema import build
from pipeline.training.settings import TrainConfig
from pipeline.world_models.settings import GridModelConfig

SIZES = {"ours": (32, 256), "full": (16, 256), "none": (32, 512)}
"""Channels and hidden units of 3D Blocks by kind."""


def composed(*words: str) -> TrainConfig:
    return build(TrainConfig, compose("train", [*words, "data=x", "run_dir=y"], PATH_KEYS))


def sizes(config: TrainConfig) -> tuple[str, tuple[int, int]]:
    model = config.task.model
    assert isinstance(model, GridModelConfig)
    return model.kind, (model.channels, model.hidden)


def test_sizes_go_with_the_kind_and_what_a_user_says_wins() -> None:
    assert sizes(composed("experiment=blocks_3d")) == ("ours", SIZES["ours"])
    for kind, both in SIZES.items():
        words = ("experiment=blocks_3d", f"task.model.kind={kind}")
        assert sizes(composed(*words)) == sizes(composed(*reversed(words))) == (kind, both)
        own = composed(*words, "task.model.channels=8")
        assert sizes(own) == (kind, (8, both[1]))


@pytest.mark.parametrize("kind", ["zap", "3", "null", "[ours]", "{ours: 1}"])
def test_an_unknown_kind_is_an_error_of_the_schema(kind: str) -> None:
    words = ("experiment=blocks_3d", f"task.model.kind={kind}", "data=x", "run_dir=y")
    line = call("pipeline/train.py", *words).error_line
    assert line.startswith("train.py: task.model.kind=")
    assert line.endswith(" is not allowed; allowed: none, full, ours")


def test_what_is_printed_is_the_value_and_the_file_it_came_from() -> None:
    words = ("experiment=blocks_3d", "task.model.kind=none", "data=x", "run_dir=y")
    lines = call("pipeline/train.py", *words, "print_config=true").out.splitlines()
    found = {line.split(":")[0].strip(): line.split(":", 1)[1].split() for line in lines}
    assert found["hidden"] == ["512", "#", "configs/experiment/blocks_3d.yaml"]
    assert found["kind"] == ["none", "#", "command", "line"]


def test_a_sweep_over_kinds_trains_each_with_its_sizes(digits_dir: Path, tmp_path: Path) -> None:
    grid = GridSearch("grid", {"task.model.kind": list(SIZES)})
    resolver = Resolver(["experiment=blocks_3d", f"data={digits_dir}"], tmp_path)
    runs = resolver.resolve(with_seeds(expand(grid), [0, 1]))
    assert len(runs) == 6
    assert {sizes(run.config) for run in runs} == set(SIZES.items())
    given = Resolver(
        ["experiment=blocks_3d", "task.model.kind=full", f"data={digits_dir}"], tmp_path
    )
    (run,) = given.resolve([{"task.model.kind": "none", "task.model.hidden": 8}])
    assert sizes(run.config) == ("none", (32, 8))
    with pytest.raises(ValueError, match=r"point .*zap.*task.model.kind=zap is not allowed; allow"):
        given.resolve([{"task.model.kind": "zap"}])


def test_files_of_others_may_use_it(tmp_path: Path) -> None:
    file = tmp_path / "lab" / "experiment" / "mine.yaml"
    file.parent.mkdir(parents=True)
    text = '# @package _global_\ndefaults: [blocks_3d]\ntask: {{model: {{hidden: "{}"}}}}\n'
    file.write_text(text.format("${by_kind:{ours: 7, none: 9}}"))
    words = (f"configs={file.parents[1]}", "experiment=mine", "data=x", "run_dir=y")

    def line(*more: str) -> str:
        outcome = call("pipeline/train.py", *words, *more, "print_config=true")
        return outcome.error_line if outcome.code else outcome.out

    assert "    hidden: 7 " in line()
    assert "    hidden: 9 " in line("task.model.kind=none")
    assert "task.model.hidden takes an integer, not null" in line("task.model.kind=full")
    for wrong in ("${by_kind:7}", "${by_kind:[7,9]}"):
        file.write_text(text.format(wrong))
        assert "by_kind takes {A: VALUE, B: VALUE}, beside a key `kind`" in line()
    file.write_text('# @package _global_\nepochs: "${by_kind:{ours: 7}}"\n')
    assert "by_kind takes {A: VALUE, B: VALUE}, beside a key `kind`" in line()
