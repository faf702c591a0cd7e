"""Protects the command line: keys, values, paths taken literally, and errors of one line.

Also the rules for the files behind it: every configuration composes into its dataclass,
entry programs are short and shadow no module.
"""

import dataclasses
import functools
import importlib.metadata
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import pytest
from helpers.programs import ENTRY_FOLDERS, REPOSITORY, call, entry_programs, run
from helpers.waiting import PATIENCE_S
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.settings import PrepareConfig
from launch.evaluation.evaluator import EvaluateRequest
from launch.preparation.directory import PreparationRequest
from launch.reproduction.command import read_request as read_reproduction
from launch.reproduction.plan import make_plan
from launch.reproduction.settings import Preset, ReproductionSettings
from launch.sweeps.request import SweepRequest
from orbit.core.config.compose import (
    CONFIG_ROOT,
    compose,
    group_options,
    parse_value,
    split_override,
)
from orbit.core.config.former import FORMER_EXPERIMENTS
from orbit.core.config.schema import build, dotted_keys, read_json_as, words_of
from orbit.core.store.reader import PairStore
from pipeline.settings import (
    ApplyConfig,
    ClassifyConfig,
    EvaluateConfig,
    ExportConfig,
    ShareConfig,
)
from pipeline.training.settings import TrainConfig

PREPARE = "data_prep/prepare.py"


def prepare_config(*words: str) -> PrepareConfig:
    path_keys = frozenset({"out", "source.root"})
    return build(PrepareConfig, compose("prepare", words, path_keys, {"source": "dataset"}))


@functools.cache
def experiment_config(experiment: str) -> TrainConfig:
    words = [f"experiment={experiment}", "data=x", "run_dir=y"]
    words += ["task.run=z"] if experiment.startswith("decoder/") else []
    return build(TrainConfig, compose("train", words, frozenset({"data", "run_dir", "init_from"})))


# Paths


@pytest.mark.parametrize(
    ("program", "key", "words"),
    [
        ("pipeline/train.py", "run_dir", ["experiment=rotated_digits", "data=DATA"]),
        ("pipeline/train.py", "data", ["experiment=rotated_digits", "run_dir=OUT"]),
        ("pipeline/export.py", "out", ["run_dir=DATA"]),
        ("pipeline/apply.py", "out", ["run_dir=DATA", "images=DATA", "element=90"]),
        (PREPARE, "out", ["dataset=orbit", "source=digits"]),
        ("launch/sweep.py", "sweep_dir", ["experiment=rotated_digits", "data=DATA"]),
        ("launch/evaluate.py", "jobs_dir", ["runs=DATA"]),
        ("launch/reproduce.py", "work", ["paper2"]),
    ],
)
@pytest.mark.parametrize("is_below", [False, True])
def test_a_path_that_no_record_can_hold_is_refused_by_its_key(
    is_below: bool,
    program: str,
    key: str,
    words: list[str],
    digits_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that is not UTF-8, of the path itself or of the folder one is in; nothing is left."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    monkeypatch.chdir(folder if is_below else tmp_path)
    path = "mine" if is_below else os.fsdecode(b"caf\xe9/mine")
    given = [word.replace("DATA", str(digits_dir)).replace("OUT", "/out") for word in words]
    named = [*given[:1], f"{key}={path}", *given[1:]]
    outcome = call(program, *named)
    assert (outcome.code, outcome.out) == (1, "")
    assert f"{key}=" in outcome.error_line
    assert r"caf\xe9" in outcome.error_line
    assert "is not UTF-8" in outcome.error_line
    assert list(tmp_path.iterdir()) == [folder]
    assert not list(folder.iterdir())


# Strict construction


@dataclass(frozen=True)
class Inner:
    rate: float = 1.0
    mode: Literal["slow", "fast"] = "slow"


@dataclass(frozen=True)
class Round:
    name: Literal["round"]
    radius: float


@dataclass(frozen=True)
class Square:
    name: Literal["square"]
    side: int = 1


@dataclass(frozen=True)
class Outer:
    count: int
    label: str = ""
    is_on: bool = False
    limit: int | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    sizes: tuple[int, ...] = ()
    inner: Inner = Inner()
    shape: Round | Square = Square("square")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"count": "3"}, "count takes an integer, not 3"),
        ({"count": 3.0}, "count takes an integer, not 3.0"),
        ({"count": True}, "count takes an integer, not true"),
        ({"count": None}, "count takes an integer, not null"),
        ({}, "missing key count: give count=VALUE"),
        ({"count": 1, "label": 3}, "label takes text, not 3"),
        ({"count": 1, "is_on": 1}, "is_on takes true or false, not 1"),
        ({"count": 1, "limit": 1.5}, "limit takes an integer or null, not 1.5"),
        ({"count": 1, "betas": 0.9}, "betas takes a list, not 0.9"),
        ({"count": 1, "betas": [0.9]}, "betas takes 2 values, not 1"),
        ({"count": 1, "sizes": [1, "x"]}, "sizes[1] takes an integer, not x"),
        ({"count": 1, "inner": 3}, "inner takes keys (rate, mode), not the value 3"),
        ({"count": 1, "inner": {"rate": "x"}}, "inner.rate takes a number, not x"),
        (
            {"count": 1, "inner": {"mode": "medium"}},
            "inner.mode=medium is not allowed; allowed: sl",
        ),
        ({"count": 1, "shape": {"name": "oval"}}, "shape.name=oval is not allowed; allowed: round"),
        ({"count": 1, "shape": {"name": "round"}}, "missing key shape.radius"),
        ({"coutn": 1}, "unknown key 'coutn'; did you mean 'count'?"),
        ({"count": 1, "inner": {"rat": 1}}, "unknown key 'inner.rat'; did you mean 'inner.rate'?"),
        ({"count": 1, "rate": 1}, "unknown key 'rate'; did you mean 'inner.rate'?"),
        ({"count": 1, "zzzzzz": 1}, "unknown key 'zzzzzz'; allowed: betas, count, inner"),
    ],
)
def test_wrong_values_are_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as error:
        build(Outer, values)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested too deep"),
        ('{"count": 1, "count": 2}', "given twice"),
        ("[1]", "it takes keys"),
    ],
)
def test_a_json_file_is_read_strictly(text: str, words: str, tmp_path: Path) -> None:
    """A file that a launcher finds is one line of complaint, never a traceback."""
    file = tmp_path / "order.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=rf"order\.json cannot be read: .*{words}"):
        read_json_as(Outer, file)


def test_right_values_are_taken() -> None:
    built = build(
        Outer,
        {"count": 2, "betas": [0, 1], "sizes": [1, 2], "limit": None, "shape": {"name": "square"}},
    )
    assert built == Outer(2, betas=(0.0, 1.0), sizes=(1, 2))
    assert isinstance(built.betas[0], float)
    shape = build(Outer, {"count": 2, "shape": {"name": "round", "radius": 2}}).shape
    assert shape == Round("round", 2.0)


# Words


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-2", -2),
        ("1e-3", 1e-3),
        ("true", True),
        ("null", None),
        ("abc", "abc"),
        ("[1,2.5]", [1, 2.5]),
        ("'3'", "3"),
        ('"a, b"', "a, b"),
        ("{a:1}", {"a": 1}),
    ],
)
def test_values_follow_hydra_grammar(text: str, value: Any) -> None:
    parsed = parse_value("key", text)
    assert parsed == value
    assert type(parsed) is type(value)


@given(text=st.text(st.characters(exclude_characters="\0"), max_size=30))
def test_any_text_is_a_value_or_a_line(text: str) -> None:
    message = "seed"
    try:
        parse_value("seed", text)
    except ValueError as error:
        message = str(error)
    assert "seed" in message


@given(key=st.text("ab.x-_", min_size=1, max_size=8), value=st.text(max_size=20))
def test_words_split_at_the_first_equals_sign(key: str, value: str) -> None:
    assert split_override(f"{key}={value}") == (key, value)


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("sed=1", "unknown key 'sed'; did you mean 'seed'?"),
        ("dataset.shard=1", "did you mean 'dataset.shard_mib'?"),
        ("shard_mib=1", "did you mean 'dataset.shard_mib'?"),
        ("source.roof=x", "did you mean 'source.root'?"),
        ("seed=abc", "seed takes an integer, not abc"),
        ("seed=1.5", "seed takes an integer, not 1.5"),
        ("seed=-1", "seed=-1 must not be negative"),
        ("seed=", "seed takes an integer"),
        ("seed=1,2", "lists several values"),
        ("seed=[1", "cannot read the value of seed=[1"),
        ("seed=${nowhere}", "nowhere"),
        ("seed.x=1", "seed"),
        ("overwrite=yes", "overwrite takes true or false, not yes"),
        ("num_workers=0", "num_workers=0 must be at least 1"),
        ("num_samples=2", "num_samples=2 must be at least 3"),
        ("dataset.train_pairs=all", "dataset.train_pairs=all is not allowed; allowed: "),
        ("dataset.val_fraction=1.5", "must leave images for training"),
        ("dataset.shard_mib=0", "shard_mib=0"),
        ("dataset.group=c5", "unknown group 'c5'; known groups: "),
        (
            "dataset=rotated_digit",
            "unknown dataset=rotated_digit; nearest of ",
        ),
        ("dataset=", "unknown dataset=; nearest of "),
        ("source=torchvision", "unknown source=torchvision; known: sklearn"),
        ("source=../rotated_mnist/torchvision", "unknown source="),
        ("experiment=rotated_digits", "unknown key 'experiment'"),
        ("cluster=local", "unknown key 'cluster'"),
        ("+seed=1", "without '+'"),
        ("++seed=1", "without '+'"),
        ("~seed", "key=value"),
        ("~seed=1", "without '~'"),
        ("seed", "cannot read 'seed': arguments have the form key=value"),
        ("--seed", "cannot read '--seed'"),
        ("=1", "cannot read '=1'"),
        (".=1", "."),
        ("a..b=1", "a..b"),
        ("seed[0]=1", "seed[0]"),
        ("a b=1", "a b"),
        ("hydra.run.dir=x", "hydra"),
        ("dataset@x=rotated_digits", "dataset@x"),
        ("source.root.x=1", "source.root"),
        ("out.x=1", "unknown key 'out.x'"),
        ("out=", "out= is empty: give a path"),
    ],
)
def test_mistakes_are_one_line(word: str, words: str, tmp_path: Path) -> None:
    line = call(PREPARE, f"out={tmp_path}/out", word).error_line
    assert line.startswith("prepare.py: ")
    assert words in line
    assert not list(tmp_path.iterdir())


def test_missing_path_is_one_line() -> None:
    assert "missing key out: give out=VALUE" in call(PREPARE).error_line


def test_unusable_places_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    assert "file" in call(PREPARE, f"out={tmp_path}/file").error_line
    assert "file" in call(PREPARE, f"out={tmp_path}/file/below").error_line
    assert (tmp_path / "file").read_text() == "precious"


def test_group_choices_follow_their_owner(tmp_path: Path) -> None:
    words = ("dataset=rotated_mnist", "source=torchvision", f"source.root={tmp_path}", "out=x")
    config = prepare_config(*words)
    assert config.source.root == str(tmp_path)
    assert prepare_config(*reversed(words)) == config
    assert prepare_config("source=sklearn", "out=x").source.name == "sklearn"
    line = call(PREPARE, "dataset=rotated_mnist", "source=sklearn", f"out={tmp_path}").error_line
    assert "unknown source=sklearn; known: torchvision" in line


@pytest.mark.parametrize("name", list(FORMER_EXPERIMENTS))
def test_an_experiment_that_is_gone_names_the_words_that_say_the_same(name: str) -> None:
    assert name not in group_options("experiment")
    words = f"experiment={FORMER_EXPERIMENTS[name]}"
    with pytest.raises(ValueError, match=f"={name} no longer exists: use {words}$"):
        compose("train", [f"experiment={name}"], frozenset())
    build(TrainConfig, compose("train", [*words.split(), "data=x", "run_dir=y"], frozenset()))


def test_later_words_win() -> None:
    assert prepare_config("seed=1", "out=a", "seed=2", "out=b").seed == 2
    assert prepare_config("seed=1", "out=a", "seed=2", "out=b").out == "b"


# Paths

STRANGE_PATHS = [
    "two words",
    "a=b",
    "one,two",
    "[brackets]{braces}(parens)",
    "~home",
    "Übung 数字 é",
    "${x}",
    "quote'\"s",
    "back\\slash",
    "#hash:colon;",
    "null",
    "1e3",
    " leading and trailing ",
    "-dash",
    "+plus",
]


@settings(max_examples=20)
@given(text=st.text(min_size=1, max_size=40))
def test_any_path_is_taken_literally(text: str) -> None:
    config = prepare_config("dataset=rotated_mnist", f"out={text}", f"source.root=x{text}")
    assert config.out == text
    assert config.source.root == f"x{text}"


@pytest.mark.parametrize("name", STRANGE_PATHS)
def test_a_dataset_is_prepared_at_a_strange_path(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("num_samples=3", "num_workers=1")
    outcome = call(PREPARE, f"out={name}", *words)
    assert outcome.code == 0, outcome.err
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert PairStore(tmp_path / name).split("train").num_records
    assert call("data_prep/verify.py", name).code == 0
    assert "is complete in" in call(PREPARE, f"out={name}", *words).out


def test_a_strange_path_survives_a_real_command_line(tmp_path: Path) -> None:
    name = "".join(STRANGE_PATHS[:7])
    outcome = run(PREPARE, f"out={name}", "num_samples=3", "num_workers=1", cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    assert [path.name for path in tmp_path.iterdir()] == [name]


# Programs


@pytest.mark.parametrize("program", entry_programs(), ids=lambda path: path.name)
def test_help_and_version_need_no_heavy_import(program: Path) -> None:
    code = """
import contextlib, io, runpy, sys
out = io.StringIO()
for word in ("--version", "--help"):
    sys.argv = [sys.argv[0], word]
    sys.path[0] = sys.argv[0].rpartition("/")[0]
    try:
        with contextlib.redirect_stdout(out):
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as error:
        assert error.code == 0, error.code
heavy = {"torch", "h5py", "hydra", "nvidia", "matplotlib", "sklearn"} & set(sys.modules)
assert not heavy, heavy
print(out.getvalue())
"""
    done = subprocess.run(
        [sys.executable, "-c", code.replace("sys.argv[0]", repr(str(program)))],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
    version, *help_lines = done.stdout.splitlines()
    assert version.split()[1][0].isdigit()
    help_text = "\n".join(help_lines)
    assert "xample" in help_text
    assert f"{program.parent.name}/{program.name}" in help_text
    for group in ("dataset", "source", "experiment", "task"):
        if f"{group}=" in help_text and (CONFIG_ROOT / group).is_dir():
            for option in group_options(group):
                assert option in help_text or group in ("experiment", "dataset")


def test_help_lists_the_groups() -> None:
    text = call(PREPARE, "--help").out
    for group in ("dataset", "source"):
        for option in group_options(group):
            assert option.split("/")[-1] in text
    text = call("pipeline/train.py", "--help").out
    for group in ("experiment", "task"):
        for option in group_options(group):
            assert option in text


def test_entry_programs_are_short() -> None:
    programs = entry_programs()
    assert {"prepare.py", "verify.py", "show.py", "train.py", "evaluate.py", "classify.py"} <= {
        program.name for program in programs
    }
    for program in programs:
        assert len(program.read_text().splitlines()) < 60, program


def test_no_module_beside_an_entry_program_shadows_another() -> None:
    own = {*ENTRY_FOLDERS, "tests", "benchmarks", "slurm", "configs"}
    installed = set(importlib.metadata.packages_distributions()) - own
    known = set(sys.stdlib_module_names) | installed
    assert {"json", "torch", "hydra"} <= known
    folders = {program.parent for program in entry_programs()}
    assert len(folders) >= 2
    for folder in folders:
        names = {path.stem for path in folder.glob("*.py")}
        names |= {path.name for path in folder.iterdir() if path.is_dir()}
        names -= {"__pycache__", "__init__"}
        assert names
        assert not names & known, f"{folder.name}: {names & known}"


# Configuration files


def test_no_config_group_hides_a_plain_key() -> None:
    """`data` and the other plain top-level keys must not be names of folders."""
    folders = {path.name for path in CONFIG_ROOT.iterdir() if path.is_dir()}
    assert "data" not in folders
    schemas: tuple[type, ...] = (PrepareConfig, TrainConfig, EvaluateConfig, ClassifyConfig)
    schemas += (ApplyConfig, ExportConfig, ShareConfig)
    for schema in (*schemas, SweepRequest, EvaluateRequest, PreparationRequest):
        plain = {key for key in dotted_keys(schema) if "." not in key}
        nested = {key.split(".")[0] for key in dotted_keys(schema) if "." in key}
        assert not (plain - nested) & folders


SOURCE_FOLDERS = {"brain_mri_so3": "brain_mri", "teapot_small": "teapot"}
"""Datasets that can take their images from what another one can."""
NEEDED_BY_TASK = {
    "decoder": ("task.run=z",),
    "sequence_labelling": ("experiment=sequence_labelling",),
    "world_model": ("experiment=shapes_2d",),
}
"""Words without which a task has nothing to train."""
NEEDED_BY_CONTROL = {"masked_latent": ("experiment=shapes_2d",)}
"""The experiment of a control that is not for images and their latent action."""


def test_every_config_file_composes_into_its_dataclass() -> None:
    names = ("prepare", "train", "evaluate", "classify", "apply", "export", "share")
    used = {CONFIG_ROOT / f"{name}.yaml" for name in names}
    for dataset in group_options("dataset"):
        used.add(CONFIG_ROOT / f"dataset/{dataset}.yaml")
        config = prepare_config(f"dataset={dataset}", "out=x")
        assert config.dataset.name == dataset
        folder = SOURCE_FOLDERS.get(dataset, dataset)
        own = [] if config.source.name == "none" else [config.source.name]
        for source in group_options(f"source/{folder}") or own:
            used |= set(CONFIG_ROOT.glob(f"source/{folder}/{source}.yaml"))
            config = prepare_config(f"dataset={dataset}", f"source={source}", "out=x")
            assert config.source.name == source
    paths = frozenset({"data", "run_dir", "init_from"})
    for task in group_options("task"):
        used.add(CONFIG_ROOT / f"task/{task}.yaml")
        words = [f"task={task}", "data=x", "run_dir=y", *NEEDED_BY_TASK.get(task, ())]
        build(TrainConfig, compose("train", words, paths))
    for experiment in group_options("experiment"):
        used.add(CONFIG_ROOT / f"experiment/{experiment}.yaml")
        model = getattr(experiment_config(experiment).task, "model", None)
        hints = get_type_hints(type(model)) if dataclasses.is_dataclass(model) else {}
        for kind in words_of(hints.get("kind")):
            words = [f"experiment={experiment}", f"task.model.kind={kind}", "data=x", "run_dir=y"]
            build(TrainConfig, compose("train", words, paths))
    for group in ("control", "debug"):
        for name in group_options(group):
            used.add(CONFIG_ROOT / f"{group}/{name}.yaml")
            words = [f"{group}={name}", "data=x", "run_dir=y", *NEEDED_BY_CONTROL.get(name, ())]
            build(TrainConfig, compose("train", words, paths))
    build(EvaluateConfig, compose("evaluate", ["run_dir=y"], frozenset({"run_dir", "data"})))
    build(ClassifyConfig, compose("classify", ["run_dir=y"], frozenset({"run_dir", "data"})))
    words = ["run_dir=y", "images=x", "element=90", "out=z"]
    build(ApplyConfig, compose("apply", words, frozenset({"run_dir", "element"})))
    build(ExportConfig, compose("export", ["run_dir=y", "out=z"], frozenset({"run_dir", "out"})))
    build(ShareConfig, compose("share", ["run_dir=y", "out=z"], frozenset({"run_dir", "out"})))
    for name in ("sweep", "launch_evaluate", "launch_prepare", "reproduce"):
        used.add(CONFIG_ROOT / f"{name}.yaml")
    for cluster in group_options("cluster"):
        used.add(CONFIG_ROOT / f"cluster/{cluster}.yaml")
        word = f"cluster={cluster}"
        build(EvaluateRequest, compose("launch_evaluate", [word, "runs=x"], frozenset({"runs"})))
        build(PreparationRequest, compose("launch_prepare", [word], frozenset()))
    for sweep in group_options("sweep"):
        used.add(CONFIG_ROOT / f"sweep/{sweep}.yaml")
        words = [f"sweep={sweep}", "sweep_dir=x"]
        build(SweepRequest, compose("sweep", words, frozenset({"sweep_dir"})))
    for reproduction in group_options("reproduction"):
        used.add(CONFIG_ROOT / f"reproduction/{reproduction}.yaml")
        assert read_reproduction([reproduction, "work=x"]).reproduction.name == reproduction
    assert used == set(CONFIG_ROOT.rglob("*.yaml"))


def test_reproductions_follow_no_machine_in_their_arithmetic() -> None:
    """What a paper is reproduced with is said by its words or its experiment, never by `auto`."""
    for reproduction in group_options("reproduction"):
        settings = read_reproduction([reproduction, "work=x"]).reproduction
        variants = set()
        for preset in presets_with_runs(settings):
            for planned in make_plan(settings, preset):
                variants.add(planned.variant)
                said = dict(word.split("=", 1) for word in planned.train)
                precision = said.get("precision", experiment_config(said["experiment"]).precision)
                assert precision != "auto", planned.name
        assert variants == set(settings.variants), "each has a run"
    assert experiment_config("image_folder").precision == "auto"
    assert not any(
        experiment_config(experiment).compile is True for experiment in group_options("experiment")
    ), "on a CPU it is a matter of the model and the processor whether that pays"


def presets_with_runs(settings: ReproductionSettings) -> list[Preset]:
    presets: tuple[Preset, ...] = get_args(Preset)
    return [
        preset
        for preset in presets
        if any(settings.presets_of(dataset, [preset]) for dataset in settings.datasets)
    ]


@pytest.mark.parametrize("preset", get_args(Preset))
def test_the_programs_understand_the_words_of_every_reproduction(preset: Preset) -> None:
    paths = frozenset({"data", "run_dir"})
    programs: dict[str, tuple[type, list[str]]] = {
        "train": (TrainConfig, ["data=x", "run_dir=y"]),
        "evaluate": (EvaluateConfig, ["run_dir=y"]),
        "classify": (ClassifyConfig, ["run_dir=y"]),
    }
    for reproduction in group_options("reproduction"):
        settings = read_reproduction([reproduction, "work=x"]).reproduction
        if preset not in presets_with_runs(settings):
            continue
        plan = make_plan(settings, preset, seeds=[3])
        some = {each.dataset: each for each in reversed(plan)}
        plan = list({**some, **{each.variant: each for each in reversed(plan)}}.values())
        datasets = {name for name in settings.datasets if settings.presets_of(name, [preset])}
        assert {each.dataset for each in plan} == datasets
        for words in {words for each in plan for words in each.datasets}:
            prepare_config(*words, "out=x")
        for name, (schema, places) in programs.items():
            for words in {getattr(each, name) for each in plan} - {()}:
                config = build(schema, compose(name, [*words, *places], paths))
                named = [each for each in words if each.startswith("num_threads=")]
                assert named, "it would follow the machine, and so results"
                assert name != "train" or config.seed == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time: 4:00:00  # hours\n", 'write "4:00:00" with its quotes'),
        ("a: {time: 30:00}\n", 'write "30:00" with its quotes'),
        ("time: [\n", "not YAML"),
        ('time: "4:00:00"  # not 4:00:00\n', None),
    ],
)
def test_a_time_that_yaml_would_read_as_a_number_is_refused(
    text: str, words: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To YAML 4:00:00 is 14400, which would be ten days in minutes."""
    for module in ("compose", "roots"):
        monkeypatch.setattr(f"orbit.core.config.{module}.CONFIG_ROOT", tmp_path)
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "mine.yaml").write_text(text)
    (tmp_path / "top.yaml").write_text("defaults: [{cluster: mine}]\n")
    if words is None:
        composed = compose("top", ["cluster=mine"], frozenset())
        assert composed["cluster"]["time"] == "4:00:00"
    else:
        with pytest.raises(ValueError) as error:
            compose("top", ["cluster=mine"], frozenset())
        assert words in str(error.value)
        assert "\n" not in str(error.value)


def test_command_line_beats_the_experiment() -> None:
    paths = frozenset({"data", "run_dir"})
    words = ["epochs=3", "data=x", "experiment=rotated_mnist", "run_dir=y", "pairs=stored"]
    config = build(TrainConfig, compose("train", words, paths))
    assert (config.epochs, config.pairs) == (3, "stored")


@pytest.mark.parametrize("word", ["-m", "--multirun", "optimizer.learning_rate=1e-3,1e-4"])
@pytest.mark.parametrize("program", ["launch/sweep.py", "pipeline/train.py"])
def test_hydras_ways_to_write_a_sweep_are_answered_with_ours(
    word: str, program: str, tmp_path: Path
) -> None:
    words = ["experiment=rotated_digits", "data=x"]
    words += [f"sweep_dir={tmp_path}/s"] if "sweep" in program else [f"run_dir={tmp_path}/r"]
    line = call(program, *words, word).error_line
    assert "launch/sweep.py sweep.search.grid." in line
    assert "optimizer.learning_rate=[A,B]" in line or word.startswith("-")


def test_several_choices_of_a_group_are_answered_too(tmp_path: Path) -> None:
    words = ["experiment=rotated_digits,rotated_mnist", "data=x", f"sweep_dir={tmp_path}/s"]
    line = call("launch/sweep.py", *words).error_line
    assert "sweep.search.grid.experiment=[A,B]" in line
