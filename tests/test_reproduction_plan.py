"""Protects the plan of a reproduction: which runs there are, and what their digests stand for.

A digest that missed a word would let a result stand for a run that was never made; one that
held a path would throw results away on the next machine.
"""

import dataclasses
import subprocess
from pathlib import Path
from typing import get_args

import pytest
from helpers.programs import call
from helpers.reproducing import a_result, read_result, request_in, small_settings, stand_ins

from launch.reproduction import command, running
from launch.reproduction.children import Ending
from launch.reproduction.command import read_request
from launch.reproduction.plan import (
    Places,
    PlannedRun,
    Programs,
    make_plan,
    preparation_steps,
    run_steps,
    runs_cell,
    select,
)
from launch.reproduction.results import (
    describe_commit,
    has_changed,
    is_done,
    read_results,
    write_result,
)
from launch.reproduction.settings import (
    PUBLISHED,
    DatasetSettings,
    Preset,
    PresetOverrides,
    Split,
    VariantSettings,
    duration,
    seconds_left,
)
from launch.reproduction.tables import is_current
from orbit.core.config.former import FORMER_EXPERIMENTS
from orbit.core.config.program import EXIT_COLLAPSED
from orbit.core.files.lock import LostLockError

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = small_settings()
CHANGE = "task.loss.change_weight=1.0"
OURS, NONE = "task.model.kind=ours", "task.model.kind=none"
EIGHT = (NONE, "task.model.latent_size=8")
MASKED, FC_ONLY = ("control=masked_latent",), ("task.model.name=fc_only",)


# The plan


def test_a_plan_is_every_variant_of_every_dataset_seed_by_seed() -> None:
    names = [run.name for run in make_plan(SETTINGS, "small")]
    assert len(names) == len(set(names)) == 2 * (3 + 2) + 1
    assert "digits/constant_seed0" in names
    assert "digits/constant_seed1" not in names, "small_seeds"
    assert "digits/constant_seed1" in [run.name for run in make_plan(SETTINGS, "full")]
    assert not any(name.startswith("others/broken") for name in names), "datasets of a variant"
    seeds = [name[-1] for name in names]
    assert seeds == sorted(seeds)


def test_a_plan_can_be_narrowed() -> None:
    runs = make_plan(SETTINGS, "small", ["others"], ["half", "broken"], [5, 3])
    assert [run.name for run in runs] == ["others/half_seed5", "others/half_seed3"]
    for only, controls, words in (
        (["other"], None, "only: unknown 'other'; known: digits, others"),
        (None, ["hlaf"], "controls: unknown 'hlaf'"),
        (["others"], ["broken"], "nothing to run"),
    ):
        with pytest.raises(ValueError, match=words):
            make_plan(SETTINGS, "small", only, controls)


def test_some_runs_are_of_the_papers_sizes_alone() -> None:
    """The small preset leaves them out, whatever seeds are asked for, and its table says so."""
    costly = VariantSettings(train=("control=half_mask",), full_only=("others",))
    settings = small_settings(variants={**SETTINGS.variants, "half": costly})
    for seeds in (None, [7]):
        names = [run.name for run in make_plan(settings, "small", seeds=seeds)]
        assert not any(name.startswith("others/half") for name in names)
        assert any(name.startswith("digits/half") for name in names)
    with pytest.raises(ValueError, match="no run of preset=small"):
        make_plan(settings, "small", ["others"], ["half"])
    assert "others/half_seed0" in [run.name for run in make_plan(settings, "full")]
    rows = select(settings, "small", "others", [], ["method", "half"])
    assert [runs_cell(rows, name) for name in rows.results] == ["not run", "`preset=full` only"]
    with pytest.raises(ValueError, match=r"variants\.half\.full_only: unknown 'other'"):
        small_settings(variants={"half": VariantSettings(full_only=("other",))}, tables={})


def test_a_digest_changes_with_every_word() -> None:
    base = make_plan(SETTINGS, "small")[0]
    digests = {base.digest}
    for field in ("prepare", "train", "evaluate", "classify"):
        words = getattr(base, field)
        variations = [(*words, "a=1"), (*words, "a=2")]
        variations += [(*words[:i], word + "0", *words[i + 1 :]) for i, word in enumerate(words)]
        digests |= {dataclasses.replace(base, **{field: each}).digest for each in variations}
        assert len(variations) >= 2
    num_words = len(base.prepare) + len(base.train) + len(base.evaluate) + len(base.classify)
    assert len(digests) == 1 + 4 * 2 + num_words
    assert len({run.digest for run in make_plan(SETTINGS, "full")}) == 12


def made_by(run: PlannedRun, digest: str | None = None) -> dict[str, object]:
    """The result of a run, as far as it says by which words it was made."""
    return {"digest": digest or run.digest, "words": {"train": list(run.train_here)}}


def test_fp32_in_place_of_bf16_is_another_result() -> None:
    """Also where earlier versions gave it the digest of bf16."""
    words = PresetOverrides(train=("epochs=1", "precision=bf16"))
    digits = DatasetSettings(experiment="x", prepare=("dataset=x",), small=words)
    settings = small_settings(datasets={"digits": digits}, tables={})
    run = make_plan(settings, "small")[0]
    here = dataclasses.replace(run, has_bf16=False)
    assert (run.precision, here.precision) == ("bf16", "fp32")
    assert run.digest != here.digest
    earlier = made_by(here, run.digest)
    assert [run.made(result) for result in (made_by(run), made_by(here), earlier)] == [
        True,
        False,
        False,
    ]
    assert [here.made(result) for result in (made_by(run), made_by(here), earlier)] == [
        False,
        True,
        True,
    ]
    full = make_plan(settings, "full")[0]
    assert full.precision is None
    assert full.digest == dataclasses.replace(full, has_bf16=False).digest


def test_results_of_both_precisions_are_kept_side_by_side(tmp_path: Path) -> None:
    words = PresetOverrides(train=("epochs=1", "precision=bf16"))
    digits = DatasetSettings(experiment="x", prepare=("dataset=x",), small=words)
    settings = small_settings(datasets={"digits": digits}, tables={})
    run = make_plan(settings, "small")[0]
    here = dataclasses.replace(run, has_bf16=False)
    full = make_plan(settings, "full")[0]
    assert dataclasses.replace(full, has_bf16=False).result_name == full.name
    which = {"dataset": run.dataset, "variant": run.variant, "seed": run.seed}
    common = {**which, "state": "finished", "metrics": {}}
    write_result(tmp_path, run, {**common, **made_by(run)})
    assert not is_done(tmp_path, here)
    write_result(tmp_path, here, {**common, **made_by(here)})
    assert len(read_results(tmp_path)) == 2
    assert is_done(tmp_path, run)
    assert is_done(tmp_path, here)
    # One of fp32 from before, under the name that bf16 has, is not kept twice.
    write_result(tmp_path, run, {**common, **made_by(here, run.digest)})
    (tmp_path / f"{here.result_name}.json").unlink()
    assert is_done(tmp_path, here)
    write_result(tmp_path, here, {**common, **made_by(here)})
    assert [path.name for path in (tmp_path / run.dataset).iterdir()] == [
        f"{run.variant}_seed{run.seed}_fp32.json"
    ]


def test_labels_of_the_probe_are_drawn_for_each_seed() -> None:
    settings = small_settings(classify=("fractions=[1.0]", "seeds=[{seed}]"))
    runs = {run.seed: run for run in make_plan(settings, "small") if run.variant == "half"}
    assert [runs[seed].classify[1] for seed in (0, 1)] == ["seeds=[0]", "seeds=[1]"]
    one = dataclasses.replace(runs[1], classify=("fractions=[1.0]", "seeds=[0]"))
    assert one.digest != runs[1].digest
    assert not runs[1].made(made_by(one)), "it is measured again"
    assert runs[1].made(made_by(one), any_classification=True), "its images still count"
    shipped = read_request(["paper1", "dry_run=true"]).reproduction
    drawn = {run.seed: run.classify for run in make_plan(shipped, "measured")}
    assert all(f"seeds=[{seed}]" in classify for seed, classify in drawn.items())
    assert len(drawn) > 1


def test_what_was_made_by_words_that_are_gone_stands(tmp_path: Path) -> None:
    """Of a result its digest, of a run that was begun its directory; other runs are not taken."""
    settings = read_request(["paper2", "dry_run=true"]).reproduction
    plan = {run.name: run for run in make_plan(settings, "small")}
    for name, old, without in (
        ("reacher_planar/none_seed1", "experiment=reacher_planar/none_small", (NONE,)),
        ("reacher_planar/none_seed1", "experiment=reacher/none_small", (NONE,)),
        ("rush_hour/ours_change_seed0", "experiment=rush_hour/ours_change_small", (OURS, CHANGE)),
        ("rush_hour/ours_change_seed0", "experiment=rush_hour/ours_small", (OURS,)),
        ("blocks_3d_no_left/none_matched_seed0", "experiment=blocks_3d/none_matched_small", EIGHT),
        ("shapes_2d_backdrop/masked_seed0", "experiment=shapes_2d/masked_small", MASKED),
        ("teapot/homeomorphic_vae_seed0", "experiment=teapot/homeomorphic_vae_small", ()),
        ("sequence_labelling/fc_only_seed0", "experiment=sequence_labelling/fc_only", FC_ONLY),
    ):
        run = plan[name]
        given = (old, *(word for word in run.train[1:] if word not in without))
        former = dataclasses.replace(run, train=given)
        assert former.digest != run.digest
        assert run.made(made_by(former))
        assert not run.made(
            made_by(dataclasses.replace(former, seed=7, train=(*given[:-1], "seed=7")))
        )
        places = Places(tmp_path / old.replace("/", "_"))
        assert places.run_dir(run).name == run.work_name
        (places.work / "runs" / former.work_name).mkdir(parents=True)
        assert places.run_dir(run).name == former.work_name
        (places.work / "runs" / run.work_name).mkdir()
        assert places.run_dir(run).name == run.work_name


@pytest.mark.parametrize("name", ["paper1", "paper2", "referee"])
def test_what_every_former_name_made_stands(name: str) -> None:
    """Whatever a row's words say today: its experiment under each name that it had counts."""
    settings = read_request([name, "dry_run=true"]).reproduction
    renamed, every = set(), set()
    for preset in get_args(Preset):
        for run in make_plan(settings, preset):
            every.add((run.dataset, run.variant))
            for former, found in FORMER_EXPERIMENTS.items():
                experiment, *others = f"experiment={found}".split()
                if run.train[0] == experiment and set(others) <= set(run.train):
                    left = (word for word in run.train[1:] if word not in others)
                    words = (f"experiment={former}", *left)
                    assert run.made(made_by(dataclasses.replace(run, train=words)))
                    renamed.add((run.dataset, run.variant))
    if name == "paper2":
        assert renamed == every, "all networks of worlds had other names"


def test_a_run_of_another_kind_is_not_taken() -> None:
    """Its sizes are others, although the former experiment and a word would name the same kind."""
    settings = read_request(["paper2", "dry_run=true"]).reproduction
    (run,) = (run for run in make_plan(settings, "small") if run.name == "rush_hour/none_seed0")
    words = ("experiment=rush_hour/ours_small", *run.train[1:])
    assert not run.made(made_by(dataclasses.replace(run, train=words)))


@pytest.mark.parametrize("name", ["paper1", "paper2", "referee"])
def test_the_results_of_the_documents_are_those_of_the_words_of_today(name: str) -> None:
    settings = read_request([name, "dry_run=true"]).reproduction
    results = read_results(ROOT / "docs" / "results" / name)
    assert len(results) > 30
    assert all(is_current(settings, "small", result) for result in results)


def test_paths_change_no_digest_and_words_hold_none() -> None:
    """Two places of work train the same words, but for the paths that each puts in."""
    planned = make_plan(SETTINGS, "small")[0]
    here, there = (
        [
            *preparation_steps(planned.prepare, Places(Path(place)), Programs(), root),
            *run_steps(planned, Places(Path(place)), Programs()),
        ]
        for place, root in (("/first", "/images"), ("/b/c", "/others"))
    )
    for one, other in zip(here, there, strict=True):
        assert one.command != other.command
        moved = [
            word.replace("/first/", "/b/c/").replace("/images", "/others") for word in one.command
        ]
        assert tuple(moved) == other.command
    dataset = DatasetSettings(experiment="x", prepare=("dataset=x",), files="mnist")
    assert dataclasses.replace(planned, files="mnist").digest == planned.digest
    with pytest.raises(ValueError, match=r"prepare: source\.root is set by the program"):
        dataclasses.replace(dataset, prepare=("source.root=/images",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": ()}, "leaves nothing to run"),
        ({"seeds": (1, 1)}, "names one twice"),
        ({"tables": {"t": ("methode",)}}, "tables.t: unknown 'methode'; known: method"),
        ({"train": ("epochs",)}, "train: 'epochs' does not have the form key=value"),
        ({"train": ("seed=1",)}, "train: seed is set by the program"),
        ({"variants": {"a/b": VariantSettings()}}, "names consist of"),
        ({"variants": {"a": VariantSettings(datasets=("x",))}}, "unknown 'x'; known: digits"),
    ],
)
def test_settings_check_themselves(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_settings(**{"tables": {}, **change})


def test_a_variant_may_have_an_experiment_of_its_own_and_words_for_one_dataset() -> None:
    small = PresetOverrides(experiment="worlds_small", train=("epochs=1",))
    named = DatasetSettings(experiment="worlds", prepare=("dataset=x",), small=small)
    own = {"digits": "vae/{experiment} task.tau=0.4"}
    half = VariantSettings(train=("control=half_mask",), experiments=own)
    settings = small_settings(
        datasets={"digits": named, "others": named},
        variants={"method": VariantSettings(), "half": half},
        tables={},
    )
    words = {run.name: run.train for run in make_plan(settings, "small", seeds=[0])}
    common, control = ("num_threads=1", "epochs=1"), "control=half_mask"
    chosen = ("experiment=vae/worlds_small", "task.tau=0.4")
    assert words["digits/method_seed0"] == ("experiment=worlds_small", *common, "seed=0")
    assert words["digits/half_seed0"] == (*chosen, *common, control, "seed=0")
    assert words["others/half_seed0"] == ("experiment=worlds_small", *common, control, "seed=0")
    full = {run.name: run.train[0] for run in make_plan(settings, "full", seeds=[0])}
    assert full["digits/half_seed0"] == "experiment=vae/worlds"
    for wrong, message in (
        (" ", r"experiments\.digits is empty"),
        ("vae seed=3", r"experiments\.digits: seed is set by the program"),
        ("vae task", r"experiments\.digits: 'task' does not have the form key=value"),
    ):
        with pytest.raises(ValueError, match=message):
            VariantSettings(experiments={"digits": wrong})


def test_a_dataset_may_be_evaluated_by_words_of_its_own() -> None:
    settings = small_settings(evaluate=("num_threads=1", "referee=true"))
    own = dataclasses.replace(settings.datasets["digits"], evaluate=("num_threads=1",))
    changed = dataclasses.replace(settings, datasets={**settings.datasets, "digits": own})
    for run, other in zip(make_plan(settings, "small"), make_plan(changed, "small"), strict=True):
        assert run.evaluate == ("split=test", "num_threads=1", "referee=true")
        is_own = run.dataset == "digits"
        assert other.evaluate == (run.evaluate[:2] if is_own else run.evaluate)
        assert (other.digest == run.digest) == (not is_own)
    with pytest.raises(ValueError, match="evaluate: split is set by the program"):
        dataclasses.replace(own, evaluate=("split=val",))


def test_a_preset_may_have_its_own_experiment_and_seeds() -> None:
    words = PresetOverrides(experiment="worlds_small", seeds=(4,))
    named = DatasetSettings(experiment="worlds", prepare=("dataset=x",), small=words)
    settings = small_settings(datasets={"digits": named}, tables={})
    runs = [run for run in make_plan(settings, "small") if run.variant in ("half", "constant")]
    assert [(run.name, run.train[0]) for run in runs] == [
        ("digits/half_seed4", "experiment=worlds_small"),
        ("digits/constant_seed0", "experiment=worlds_small"),
    ], "seeds of a variant come before those of a dataset"
    assert {run.seed for run in make_plan(settings, "full")} == {0, 1}
    with pytest.raises(ValueError, match="leaves nothing to run"):
        PresetOverrides(seeds=())


def test_a_dataset_names_the_splits_that_are_evaluated() -> None:
    """What is chosen by validation reads no test image; further splits have a step of their own."""

    def planned(*splits: Split) -> PlannedRun:
        named = DatasetSettings("x", ("dataset=x",), splits=splits)
        return make_plan(small_settings(datasets={"digits": named}, tables={}), "small")[0]

    plain, chosen, both = planned("test"), planned("val"), planned("test", "train")
    assert len({run.digest for run in (plain, chosen, both)}) == 3
    assert len({run.work_name for run in (plain, chosen, both)}) == 1, "it is not trained again"
    steps = {step.name: step.command for step in run_steps(both, Places(Path("w")), Programs())}
    assert "split=test" in steps["evaluate"]
    assert {"split=train", "pictures=false"} <= set(steps["evaluate_train"])
    assert all(
        "split=test" not in step.command
        for step in run_steps(chosen, Places(Path("w")), Programs())
    )
    for splits in ((), ("test", "test")):
        with pytest.raises(ValueError, match="must name at least one, and none twice"):
            DatasetSettings("x", ("dataset=x",), splits=splits)


def test_measured_rows_lie_beside_those_of_small() -> None:
    """Further seeds complete the rows of small; what is measured otherwise is a dataset of its
    own, because two results of one name would overwrite each other."""
    words = PresetOverrides(train=("epochs=1",), seeds=(0,))
    more = dataclasses.replace(words, seeds=None, variants={"half": (0, 1, 2)})
    longer = PresetOverrides(train=("epochs=50",), variants={"method": (0,)})
    digits = DatasetSettings("x", ("dataset=x",), small=words, measured=more)
    datasets = {
        "digits": digits,
        "long": DatasetSettings("x", ("dataset=x",), small=None, measured=longer, full=None),
    }
    settings = small_settings(datasets=datasets, variants=dict(SETTINGS.variants), tables={})
    names = {preset: [run.name for run in make_plan(settings, preset)] for preset in PUBLISHED}
    assert not any(name.startswith("long") for name in names["small"])
    half = [f"digits/half_seed{seed}" for seed in range(3)]
    assert sorted(names["measured"]) == [*half, "long/method_seed0"]
    with pytest.raises(ValueError, match="no run of preset=full"):
        make_plan(settings, "full", ["long"])
    rows = select(settings, "small", "digits", [], ["method", "half"])
    assert [rows.num_planned(name) for name in rows.results] == [1, 3]
    for preset in PUBLISHED:
        run = make_plan(settings, "measured", ["long"])[0]
        result = a_result("long", "method", 0, run.digest, {})
        assert is_current(settings, preset, result)
        assert not is_current(settings, preset, {**result, "digest": "0" * 16})
    other = dataclasses.replace(more, train=("epochs=2",))
    for change, message in (
        (
            {"measured": other},
            "small and measured differ in train, and their results have the same",
        ),
        ({"small": None, "measured": None, "full": None}, "no preset has runs"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(digits, **change)
    with pytest.raises(ValueError, match="seeds has no effect with variants"):
        dataclasses.replace(more, seeds=(1,))
    unknown = dataclasses.replace(more, variants={"hlaf": (0,)})
    with pytest.raises(ValueError, match=r"digits\.measured\.variants: unknown 'hlaf'"):
        small_settings(datasets={"digits": dataclasses.replace(digits, measured=unknown)})


def test_further_tests_of_a_run_are_in_its_digest_and_its_steps() -> None:
    def planned(**tests: tuple[str, ...]) -> PlannedRun:
        named = DatasetSettings(experiment="x", prepare=("dataset=x", "a=1"), tests=tests)
        return make_plan(small_settings(datasets={"digits": named}, tables={}), "small")[0]

    plain, tested = planned(), planned(long=("dataset=x", "a=2"))
    assert len({run.digest for run in (plain, tested, planned(long=("dataset=x",)))}) == 3
    assert plain.work_name == tested.work_name, "it is not trained again"
    places = Places(Path("/w"))
    assert len({places.data(words) for words in tested.datasets}) == 2
    names = [step.name for step in run_steps(tested, places, Programs())]
    assert names[:3] == ["train", "evaluate", "evaluate_long"]
    further = run_steps(tested, places, Programs())[2].command
    assert f"data={places.data(('dataset=x', 'a=2'))}" in further
    assert "pictures=false" in further, "pictures are of the run's own dataset"
    same = DatasetSettings(experiment="x", prepare=("dataset=x", "a=1"))
    others = small_settings(datasets={"digits": same, "again": same}, tables={})
    assert len({run.datasets for run in make_plan(others, "small")}) == 1, "prepared once"


# The command


def test_lists_are_written_with_or_without_brackets() -> None:
    bare = read_request(["paper1", "dry_run=true", "only=planes,adrenal", "seeds=1"])
    assert (bare.only, bare.seeds) == (("planes", "adrenal"), (1,))
    assert bare == read_request(["paper1", "dry_run=true", "only=[planes,adrenal]", "seeds=[1]"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give the name of a reproduction first; known: paper1, paper2"),
        (["work=x"], "give the name of a reproduction first"),
        (["papr1", "work=x"], "unknown reproduction 'papr1'; did you mean 'paper1'?"),
        (["paper1"], "give work=DIR"),
        (["paper1", "work=x", "preset=full"], "preset=full needs results=DIR: docs/results/paper1"),
        (["paper1", "tables=true", "preset=full"], "preset=full needs results=DIR"),
        (["paper1", "work=x", "wrok=y"], "unknown key 'wrok'; did you mean 'work'?"),
        (
            ["paper1", "work=x", "preset=big"],
            "preset=big is not allowed; allowed: small, measured, full",
        ),
        (["paper1", "work=x", "only=plains"], "only: unknown 'plains'; known: rotated_mnist"),
        (["paper1", "tables=true", "results=x"], "give document=FILE"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str) -> None:
    assert message in call("launch/reproduce.py", *words).error_line


def test_changed_code_is_refused_unless_told_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "describe_commit", lambda *_: "abc-dirty")
    monkeypatch.setattr(command, "has_changed", lambda *_: False)
    programs = stand_ins(tmp_path / "programs")
    keys = {"only": ("digits",), "controls": ("half",), "seeds": (0,)}
    with pytest.raises(ValueError, match=r"not that of a commit \(abc-dirty\).*dirty=true"):
        command.carry_out(request_in(tmp_path, SETTINGS, dirty=False, **keys), programs)
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "work").exists()
    assert command.carry_out(request_in(tmp_path, SETTINGS, **keys), programs) == 0
    assert read_result(tmp_path, "digits/half_seed0")["commit"] == "abc-dirty"
    again = request_in(tmp_path, SETTINGS, dirty=False, **keys)
    assert command.carry_out(again, programs) == 0, "nothing is missing, so nothing is run"
    monkeypatch.setattr(command, "describe_commit", lambda *_: "abc")
    clean = request_in(tmp_path, SETTINGS, dirty=False, **{**keys, "seeds": (1,)})
    assert command.carry_out(clean, programs) == 0
    results = read_results(tmp_path / "results")
    rows = select(SETTINGS, "small", "digits", results, ["half"])
    assert [runs_cell(rows, row) for row in rows.results] == ["2, 1 dirty"]


def test_what_a_reproduction_writes_is_no_change_of_the_code(tmp_path: Path) -> None:
    """Results and runs may lie in the repository; another new file may be code."""

    def git(*words: str) -> None:
        name = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", str(tmp_path), *name, *words], check=True)

    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline/__init__.py").touch()
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        git(*words)
    clean = describe_commit(tmp_path)
    assert len(clean) == 12
    for folder in ("docs/results", "my [work]", "out/deep"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file.json").touch()
    (tmp_path / "README.md").touch()
    folders = (tmp_path / "my [work]", tmp_path / "out" / "deep", Path("/elsewhere"))
    assert describe_commit(tmp_path, folders) == f"{clean}-dirty"
    products = (*folders, tmp_path / "README.md")
    assert describe_commit(tmp_path, products) == clean
    assert describe_commit(tmp_path, (folders[0], *products[2:])) == f"{clean}-dirty"
    assert not has_changed(tmp_path, clean, products)
    (tmp_path / "pipeline/new.py").touch()
    assert describe_commit(tmp_path, products) == f"{clean}-dirty"
    assert has_changed(tmp_path, clean, products)
    for words in (["add", "pipeline"], ["commit", "-qm", "new"]):
        git(*words)
    assert describe_commit(tmp_path, products) != clean
    assert has_changed(tmp_path, clean, products), "runs that are left have other code"
    now = describe_commit(tmp_path, products)
    for words in (["add", "docs"], ["commit", "-qm", "results"]):
        git(*words)
    assert not has_changed(tmp_path, now, products)


def test_a_result_of_code_that_changed_meanwhile_is_marked(tmp_path: Path) -> None:
    collapsed = next(run for run in make_plan(SETTINGS, "small") if run.variant == "constant")
    places = Places(tmp_path / "work")
    places.run_dir(collapsed).mkdir(parents=True)
    (places.run_dir(collapsed) / "environment.json").write_text("{}")
    ending = Ending(collapsed.work_name, "train", EXIT_COLLAPSED, "constant", {})
    same = running.Campaign("small", places, tmp_path, {}, commit="abc")
    assert running.land(collapsed, same, ending)["commit"] == "abc"
    changed = dataclasses.replace(same, has_changed=lambda: True)
    assert running.land(collapsed, changed, ending)["commit"] == "abc-dirty"


def test_images_must_be_named_before_anything_starts(tmp_path: Path) -> None:
    words = [f"work={tmp_path / 'work'}", f"results={tmp_path / 'results'}"]
    line = call("launch/reproduce.py", "paper1", "only=adrenal", *words).error_line
    assert "adrenal needs meshes=DIR" in line
    assert not list(tmp_path.iterdir())


def test_dry_run_names_what_is_missing_and_starts_nothing(tmp_path: Path) -> None:
    control = "plain_autoencoder"
    words = ["dry_run=true", "only=planes", f"controls={control}", f"results={tmp_path / 'r'}"]
    outcome = call("launch/reproduce.py", "paper1", *words)
    assert outcome.code == 0
    first, *matrix, last = outcome.out.splitlines()
    assert first == "1 run, 0 done, 1 to do"
    assert last.startswith(f"planes/{control}_seed0: experiment=")
    assert [line for line in matrix if line.startswith(f"| `{control}` | not run |")]
    assert not list(tmp_path.iterdir())


# Time


def test_the_estimate_follows_the_datasets_that_are_left() -> None:
    seconds = {"a": [10.0, 20.0], "b": [100.0]}
    assert seconds_left(["a", "a", "b"], seconds, 1) == 130
    assert seconds_left(["a", "a", "b"], seconds, 2) == 65
    assert seconds_left(["a"], seconds, 2) == 15, "one run uses one process"
    assert seconds_left(["new"], seconds, 1) == 57.5
    assert seconds_left(["a"], {}, 1) is None
    assert [duration(s) for s in (45, 700, 11100)] == ["45 s", "12 min", "3:05 h"]


def test_a_result_is_not_written_where_another_process_took_over(tmp_path: Path) -> None:
    def lost() -> None:
        raise LostLockError("taken over")

    results = tmp_path / "results"
    places = Places(tmp_path / "work")
    campaign = running.Campaign("small", places, results, {}, check_owned=lost)
    run = make_plan(SETTINGS, "small")[0]
    with pytest.raises(LostLockError):
        running.land(run, campaign, Ending(run.work_name, "train", 1, "no memory", {}))
    assert not results.exists()
