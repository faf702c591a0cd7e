"""Protects classification from frozen encoders: what features, training and test images are,
that nothing of the test set reaches training, that scores equal scikit-learn's, and that a
second call reads what the first one wrote.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.idx import write_mnist
from helpers.preparing import prepare
from helpers.programs import call
from helpers.training import make_config, never_stop
from hypothesis import given
from hypothesis import strategies as st

from orbit.core.config.compose import compose
from orbit.core.config.schema import build
from orbit.core.groups import make_group
from orbit.core.progress import Progress
from orbit.core.store.reader import PairStore
from pipeline.models.latent_action import LatentActionModel
from pipeline.models.settings import AutoencoderConfig, FixedMaskConfig
from pipeline.probing import classify_run as program
from pipeline.probing.classify_run import Probe, over_seeds, score, summarise
from pipeline.probing.features import (
    SplitImages,
    encode,
    encoder_of,
    extract,
    find_images,
    load_networks,
    reason_to_skip,
    split_name,
    standardiser,
)
from pipeline.probing.fits import (
    Labelled,
    ProbeSets,
    class_of,
    fit_linear,
    fit_mlp,
    make_sets,
    stratified_order,
    subset_size,
)
from pipeline.runs import load_run
from pipeline.settings import ClassifyConfig
from pipeline.training.run import train

CPU = torch.device("cpu")
FEW = (
    "features=[z_v,pooled_z,pixels,untrained_pooled_z]",
    "fractions=[0.2,1.0]",
    "seeds=[0,1]",
    "device=cpu",
)


@pytest.fixture(scope="module")
def run_dir(digits_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("probed") / "run"
    train(make_config(digits_dir, out, "epochs=1"), never_stop())
    return out


def config_of(run_dir: Path, *words: str) -> ClassifyConfig:
    given = [f"run_dir={run_dir}", *FEW, *words]
    return build(ClassifyConfig, compose("classify", given, frozenset({"run_dir", "data"})))


def scores_of(run_dir: Path, sets: ProbeSets, *words: str) -> list[dict[str, object]]:
    """What a probe finds with these sets."""
    config, run = config_of(run_dir, *words), load_run(run_dir)
    store = PairStore(Path(run.config.data))
    networks = load_networks(run, store.manifest, CPU)
    probe = Probe(config, store, sets, networks, 7, CPU, Progress(1, "fits", "", enabled=False))
    return probe.scores(config.features)


# Features


def test_features_equal_their_definitions(run_dir: Path, digits_dir: Path) -> None:
    model = load_run(run_dir).model
    with torch.no_grad():
        model.mask.logits.copy_(torch.tensor([1.0, -1.0]).repeat(8))
    reader = PairStore(digits_dir).split("test")
    records = np.array([5, 0, 77, 30, 2])
    frames = torch.from_numpy(reader.read(records).target)
    found = encode(encoder_of(model), reader, records, "target", 2, CPU)
    pooled = encode(encoder_of(model, is_pooled=True), reader, records, "target", 2, CPU)
    with torch.no_grad():
        variant, invariant = model.encode(model.normalise(frames))
    is_variant = model.mask.is_variant()
    whole = variant + invariant
    wanted = {
        "z": whole.flatten(1),
        "z_v": variant[:, ::2].flatten(1),
        "z_i": invariant[:, 1::2].flatten(1),
        "pooled_z": whole.mean((2, 3)),
        "pooled_z_v": variant.mean((2, 3))[:, ::2],
        "pooled_z_i": invariant.mean((2, 3))[:, 1::2],
        "untrained_pooled_z_v": variant.mean((2, 3))[:, ::2],
    }
    for name, values in wanted.items():
        torch.testing.assert_close(extract(name, found, is_variant), values, msg=name)
        if "pooled" in name:
            torch.testing.assert_close(extract(name, pooled, is_variant), values, msg=name)
    pixels = encode(encoder_of(model, split_name("pixels")), reader, records, "source", 3, CPU)
    stored = torch.from_numpy(reader.read(records).source).float()
    torch.testing.assert_close(
        extract("pixels", pixels, is_variant), (stored / 127.5 - 1).flatten(1)
    )


def test_means_over_the_orbit_do_not_depend_on_the_pose(run_dir: Path, digits_dir: Path) -> None:
    """They equal the mean of the features of all four turned images, which is the same for all."""
    model = load_run(run_dir).model
    reader = PairStore(digits_dir).split("test")
    records = np.array([5, 0, 77])
    frames = torch.from_numpy(reader.read(records).target)
    is_variant = model.mask.is_variant()
    for name in ("orbit_z", "orbit_pooled_z", "orbit_pixels"):
        feature = split_name(name)
        plain = feature._replace(is_orbit=False)
        with torch.no_grad():
            found = extract(name, encoder_of(model, feature)(frames), is_variant)
            turned = [torch.rot90(frames, turns, (2, 3)) for turns in range(4)]
            single = [extract(name, encoder_of(model, plain)(x), is_variant) for x in turned]
            again = extract(name, encoder_of(model, feature)(turned[3]), is_variant)
        torch.testing.assert_close(found, torch.stack(single).mean(0), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found, again, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(single[0], single[1], atol=1e-2)
    frames_of = make_frames((1, 28, 28))
    continuous = LatentActionModel(
        AutoencoderConfig(width=4, depth=1), 0.5, frames_of, make_group("so2")
    )
    assert "continuous" in str(reason_to_skip("orbit_z", continuous, 10))


def test_the_untrained_model_has_the_weights_of_the_start(digits_dir: Path, tmp_path: Path) -> None:
    """A run that hardly learns hardly leaves its initial weights; another seed's are far."""
    words = ("epochs=1", "optimizer.learning_rate=1e-9", "collapse.action=warn", "seed=3")
    train(make_config(digits_dir, tmp_path / "run", *words), never_stop())
    run = load_run(tmp_path / "run")
    manifest = PairStore(digits_dir).manifest
    trained, untrained = load_networks(run, manifest, CPU)
    for name, value in trained.state_dict().items():
        torch.testing.assert_close(value, untrained.state_dict()[name], atol=1e-6, rtol=0)
    other = dataclasses.replace(run, config=dataclasses.replace(run.config, seed=4))
    weights = load_networks(other, manifest, CPU)[1].state_dict()
    assert not torch.allclose(weights["encoder.0.weight"], trained.state_dict()["encoder.0.weight"])


def test_parts_that_do_not_exist_are_skipped() -> None:
    frames = make_frames((1, 16, 16))
    group = make_group("c4")
    for fraction, missing, there in ((0.0, "z_v", "z_i"), (1.0, "z_i", "z_v")):
        mask = FixedMaskConfig("fixed", fraction)
        model = LatentActionModel(AutoencoderConfig(width=4), 0.5, frames, group, mask=mask)
        for name in (missing, f"pooled_{missing}"):
            assert "no channel is" in str(reason_to_skip(name, model, 100)), name
        for name in (there, f"pooled_{there}", "z", "pooled_z", "pixels", "untrained_z"):
            assert reason_to_skip(name, model, 100) is None, name
    from pipeline.models.settings import RepresentationActionConfig

    vector = AutoencoderConfig(width=4, vector_size=8)
    action = RepresentationActionConfig("representation")
    model = LatentActionModel(vector, 0.5, frames, group, action)
    assert "vector" in str(reason_to_skip("pooled_z", model, 100))
    assert reason_to_skip("z", model, 100) is None


def test_features_that_memory_does_not_hold_are_skipped_with_numbers() -> None:
    frames, group = make_frames((1, 16, 16)), make_group("c4")
    model = LatentActionModel(AutoencoderConfig(width=4), 0.5, frames, group)
    num_images = 2**31 // (4 * 16 * 16)
    assert reason_to_skip("pixels", model, num_images) is None
    reason = str(reason_to_skip("pixels", model, 3 * num_images))
    assert reason.startswith("of 6,291,456 images it takes 6.0 GiB, more than 2")
    assert reason_to_skip("pooled_z", model, 3 * num_images) is None


def make_frames(shape: tuple[int, ...]):
    from orbit.core.store.manifest import FrameSpec

    return FrameSpec(shape, "uint8", (0.0, 255.0), (-1.0, 1.0))


def test_features_are_standardised_by_the_training_set_alone() -> None:
    torch.manual_seed(0)
    features = torch.randn(50, 4) * torch.tensor([1.0, 3.0, 0.5, 0.0]) + 7
    standardise = standardiser(features)
    done = standardise(features)
    torch.testing.assert_close(done.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(done[:, :3].std(0, correction=0), torch.ones(3))
    assert not standardise(features + 100)[:, 3].any()
    assert standardiser(torch.ones(5, 2))(torch.randn(5, 2)).abs().max() == 0


# Images


def check_images(store: PairStore, split: str, num_images: int, num_choices: int) -> SplitImages:
    """Upright and moved images of a split are what they say, by group action and columns."""
    images, reader = find_images(store, split), store.split(split)
    assert len(images.labels) == num_images
    assert (images.counts == num_choices).all()
    group = make_group(store.manifest.group)
    upright = reader.read(images.upright())
    sources = reader.read_column("source", images.upright())
    seen = set()
    for seed in range(3):
        numbers = images.moved((seed,))
        moved = reader.read(numbers)
        assert np.array_equal(reader.read_column("source", numbers), sources)
        assert np.array_equal(moved.source, upright.source)
        assert np.array_equal(moved.label, images.labels)
        assert np.array_equal(numbers, images.moved((seed,)))
        seen |= set(numbers.tolist())
        if store.manifest.target_is_action_on_source and group.is_exact:
            g = group.decode(torch.from_numpy(moved.action))
            acted = group.act_on_image(torch.from_numpy(upright.source), g).numpy()
            assert np.array_equal(acted, moved.target)
    assert seen <= set(images.records.tolist())
    assert len(seen) > num_images or num_choices == 1
    return images


def test_upright_digits_are_those_of_the_source(digits_dir: Path) -> None:
    """All members of an orbit are sources: only the first is upright."""
    store = PairStore(digits_dir)
    images = check_images(store, "train", 140, 4)
    check_images(store, "val", 30, 4)
    check_images(store, "test", 30, 4)
    every = store.split("train").read_column("source", images.upright())
    assert (every % 4 == 0).all()


def test_some_elements_only_do_not_make_more_uprights(tmp_path: Path) -> None:
    """Half turns alone connect half an orbit: its other half is still no upright image."""
    words = ("dataset=rotated_digits", "num_samples=40", "dataset.train_bins=['0','180']")
    store = prepare(tmp_path / "d", *words)
    num_images = len(find_images(store, "test").labels)
    reader = store.split("train")
    images = check_images(store, "train", 28, 2)
    assert num_images == 6
    assert reader.num_records == 28 * 4 * 2
    assert (reader.read_column("source", images.upright()) % 4 == 0).all()


@pytest.mark.parametrize("dataset", ["rotated_mnist", "rotated_blocked_mnist"])
def test_upright_mnist_is_the_file_s(dataset: str, tmp_path: Path) -> None:
    folder = write_mnist(tmp_path / "mnist")
    words = (f"dataset={dataset}", f"source.root={tmp_path / 'mnist'}", "dataset.shard_mib=0.05")
    store = prepare(tmp_path / "data", *words)
    assert len(store.manifest.split("train").shards) > 1
    check_images(store, "train", 40, 4)
    check_images(store, "val", 10, 1)
    images = check_images(store, "test", 20, 4)
    stored = np.frombuffer((folder / "t10k-images-idx3-ubyte").read_bytes()[16:], np.uint8)
    found = store.split("test").read(images.upright()).source
    same = found == stored.reshape(20, 1, 28, 28)
    assert same.all() if dataset == "rotated_mnist" else same.mean() > 1 - 49 / 784 - 0.01


def test_drawn_targets_belong_to_their_image(tmp_path: Path) -> None:
    words = ("dataset=planes_views", "source.size=16", "dataset.num_drawn=3", "num_samples=12")
    store = prepare(tmp_path / "data", *words)
    for split in ("train", "val", "test"):
        images = check_images(store, split, store.split(split).num_records // 3, 3)
        # The image itself stands before its three views.
        rows = store.split(split).read_column("source", images.upright())
        assert rows.tolist() == list(range(0, 4 * len(rows), 4))


# Subsets


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    seed=st.integers(0, 5),
    fractions=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
)
def test_subsets_are_nested_stratified_and_hold_every_class(
    labels: list[int], seed: int, fractions: tuple[float, float]
) -> None:
    array = np.array(labels)
    order = stratified_order(array, seed)
    assert sorted(order.tolist()) == list(range(len(labels)))
    assert np.array_equal(order, stratified_order(array, seed))
    classes, counts = np.unique(array, return_counts=True)
    for fraction in fractions:
        size = subset_size(fraction, len(labels), len(classes))
        chosen = array[order[:size]]
        assert set(chosen.tolist()) == set(labels)
        for label, count in zip(classes, counts, strict=True):
            ideal = count * size / len(labels)
            assert (chosen == label).sum() <= ideal + len(classes)


def test_seeds_choose_and_move_different_images(digits_dir: Path) -> None:
    sets = make_sets(PairStore(digits_dir))
    views = [sets.train_view("rotated", seed, 50) for seed in (0, 1)]
    assert set(views[0].records.tolist()) != set(views[1].records.tolist())
    smaller = sets.train_view("rotated", 0, 20)
    assert np.array_equal(smaller.records, views[0].records[:20])
    upright = sets.train_view("upright", 0, 50)
    assert (upright.end, views[0].end) == ("source", "target")
    assert np.array_equal(upright.classes, views[0].classes)
    assert sets.train_size(1.0, 50) == 50
    assert sets.train_size(0.1, 100) == 10


def test_choices_can_be_scored_without_test_images(digits_dir: Path) -> None:
    """Validation images are either scored or given to fits, and no test image is read."""
    store = PairStore(digits_dir)
    by_test, by_val = make_sets(store), make_sets(store, "val")
    fitted, scored = by_val.val_view("upright"), by_val.scored_view()
    assert (by_test.scored, by_val.scored) == ("test", "val")
    images = find_images(store, "val")
    numbers = np.repeat(np.arange(len(images.counts)), images.counts)
    image_of = dict(zip(images.records.tolist(), numbers.tolist(), strict=True))
    members = [{image_of[each] for each in view.records.tolist()} for view in (fitted, scored)]
    assert not members[0] & members[1]
    assert len(members[0] | members[1]) == by_test.sizes(100)["num_val"]
    assert by_val.sizes(100)["num_val"] == len(fitted.records)
    assert by_val.sizes(100)["num_test"] == len(scored.records)


# Classifiers and scores


def toy(num: int, seed: int, is_random: bool) -> Labelled:
    generator = torch.Generator().manual_seed(seed)
    classes = torch.arange(num) % 3
    centres = 6 * torch.eye(3, 8)
    noise = torch.randn(num, 8, generator=generator)
    if is_random:
        return Labelled(noise, classes)
    return Labelled(centres[classes] + noise.clamp(-1.5, 1.5), classes)


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_what_is_separable_is_learned_and_chance_is_not_beaten(name: str) -> None:
    def accuracy(is_random: bool) -> float:
        train_set, val, test = (toy(600, seed, is_random) for seed in range(3))
        fits = [
            fit_linear(train_set, val) if name == "linear" else fit_mlp(train_set, val, 3, 0, CPU)
            for _ in range(2)
        ]
        first, second = (fit.predict(test.features) for fit in fits)
        assert np.array_equal(first, second)
        assert first.sum(1) == pytest.approx(np.ones(600))
        found = score(test.classes.numpy(), first)
        return float(found["accuracy"] or 0)

    assert accuracy(is_random=False) == 1.0
    assert abs(accuracy(is_random=True) - 1 / 3) < 0.08


def test_scores_equal_the_library_s() -> None:
    from sklearn.metrics import f1_score, roc_auc_score

    classes = np.array([0, 0, 1, 1, 2, 2, 2])
    raw = np.array(
        [[5, 3, 2], [2, 6, 2], [1, 8, 1], [4, 5, 1], [1, 2, 7], [5, 4, 1], [3, 3, 4]], float
    )
    probabilities = raw / raw.sum(1, keepdims=True)
    found = score(classes, probabilities)
    # By hand: images 2 and 6 of 7 are wrong.
    assert found["accuracy"] == pytest.approx(5 / 7)
    # Precision and recall by class: 1/2 1/2, 2/3 1, 1 2/3.
    assert found["macro_f1"] == pytest.approx((1 / 2 + 4 / 5 + 4 / 5) / 3)
    assert found["macro_f1"] == f1_score(classes, probabilities.argmax(1), average="macro")
    library = roc_auc_score(classes, probabilities, multi_class="ovr", average="macro")
    assert found["auc"] == pytest.approx(library)
    two = probabilities[:, :2] / probabilities[:, :2].sum(1, keepdims=True)
    binary = score(classes % 2, two)["auc"]
    assert binary == pytest.approx(roc_auc_score(classes % 2, two[:, 1]))
    assert score(np.zeros(7, int), probabilities)["auc"] is None
    assert score(np.full(7, -1), probabilities)["accuracy"] == 0
    assert class_of(np.array([7, 3, 9, 1]), np.array([3, 7])).tolist() == [1, 0, -1, -1]


def test_intervals_are_student_s() -> None:
    found = over_seeds([0.5, 0.6, 0.7])
    assert found["mean"] == pytest.approx(0.6)
    assert found["std"] == pytest.approx(0.1)
    half = 4.302653 * 0.1 / 3**0.5
    assert found["ci95"] == pytest.approx([0.6 - half, 0.6 + half], rel=1e-6)
    assert over_seeds([0.5]) == {"mean": 0.5, "std": None, "ci95": None}
    assert over_seeds([0.5, None])["mean"] is None


# The whole


def test_test_labels_and_images_reach_no_training(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other labels change scores but no prediction; other test images change no fit."""
    store = PairStore(Path(load_run(run_dir).config.data))
    sets = make_sets(store)
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def keep(classes: np.ndarray, probabilities: np.ndarray) -> dict[str, float | None]:
        seen.append((classes, probabilities))
        return score(classes, probabilities)

    monkeypatch.setattr("pipeline.probing.classify_run.score", keep)
    words = ("seeds=[0]", "labels=[rotated]", "fractions=[1.0]")
    before = scores_of(run_dir, sets, *words)
    num = len(seen)
    labels = np.roll(sets.test.labels, 7)
    relabelled = dataclasses.replace(sets, test=dataclasses.replace(sets.test, labels=labels))
    after = scores_of(run_dir, relabelled, *words)
    assert len(seen) == 2 * num
    for (old, first), (new, second) in zip(seen[:num], seen[num:], strict=True):
        assert np.array_equal(first, second)
        assert np.array_equal(np.roll(old, 7), new)
    assert [row["accuracy"] for row in before] != [row["accuracy"] for row in after]
    few = dataclasses.replace(
        sets.test, starts=sets.test.starts[:9], counts=sets.test.counts[:9], labels=labels[:9]
    )
    fewer = scores_of(run_dir, dataclasses.replace(sets, test=few), *words)
    for old, new in zip(before, fewer, strict=True):
        assert {k: old.get(k) for k in ("l2", "num_epochs")} == {
            k: new.get(k) for k in ("l2", "num_epochs")
        }
    for (_, whole), (_, part) in zip(seen[:num], seen[2 * num :], strict=True):
        np.testing.assert_allclose(part, whole[:9], atol=1e-5)


def test_training_reads_the_training_split_and_tests_read_moved_test_images(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.probing import classify_run

    read: list[tuple[str, str, int]] = []

    def spy(encoder, reader, records, end, batch, device):  # type: ignore[no-untyped-def]
        read.append((Path(reader.infos[0].file).parts[0], end, len(records)))
        return encode(encoder, reader, records, end, batch, device)

    store = PairStore(Path(load_run(run_dir).config.data))
    monkeypatch.setattr(classify_run, "encode", spy)
    words = ("features=[pixels]", "labels=[upright]", "classifiers=[linear]", "max_train=50")
    scores_of(run_dir, make_sets(store), *words, "seeds=[0]")
    assert read == [("test", "target", 30), ("val", "source", 30), ("train", "source", 50)]
    read.clear()
    words = (*words[:1], "labels=[rotated]", *words[2:])
    scores_of(run_dir, make_sets(store), *words, "seeds=[0]")
    assert read == [("test", "target", 30), ("val", "target", 30), ("train", "target", 50)]


def test_program_writes_scores_and_reads_them_again(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (f"run_dir={run_dir}", *FEW, "max_train=100", "labels=[upright]")
    first = json.loads(call("pipeline/classify.py", *words, "json=true").out)
    file = run_dir / "classification" / f"step_{first['step']:08d}.json"
    assert json.loads(file.read_text()) == first
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert len(first["scores"]) == 4 * 2 * 2 * 2
    assert first["summary"] == summarise(first["scores"])
    assert first["sizes"] == {
        "num_classes": 10,
        "num_train_images": 140,
        "num_labelled": 100,
        "num_val": 30,
        "num_test": 30,
    }
    assert {row["num_train"] for row in first["scores"]} == {20, 100}
    features = [row["feature"] for row in first["summary"]]
    assert list(dict.fromkeys(features)) == ["z_v", "pooled_z", "pixels", "untrained_pooled_z"]
    again = call("pipeline/classify.py", *words, "json=true", "overwrite=true")
    assert json.loads(again.out) == first

    def refuse(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(program, "make_sets", refuse)
    shown = call("pipeline/classify.py", *words).out
    assert "linear, trained on upright images" in shown
    assert "100% is max_train=100 of 140 training images" in shown
    line = call("pipeline/classify.py", *words, "seeds=[5]").error_line
    assert "holds other settings (seeds); overwrite=true replaces it" in line
    assert json.loads(file.read_text()) == first


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("features=[w]", "features[0]=w is not allowed; allowed: z, z_v"),
        ("features=[]", "features=[] must name at least one"),
        ("fractions=[0]", "fractions: 0 must lie above 0"),
        ("fractions=[0.1,0.1]", "names one of [0.1, 0.1] twice"),
        ("seeds=[-1]", "seeds: -1 must not be negative"),
        ("max_train=1", "max_train=1 must be at least 2"),
        ("labels=[tilted]", "labels[0]=tilted is not allowed; allowed: upright, rotated"),
        ("checkpoint=77", "no checkpoint of step 77"),
        ("max_trian=1", "did you mean 'max_train'?"),
    ],
)
def test_mistakes_are_one_line(word: str, words: str, run_dir: Path) -> None:
    assert words in call("pipeline/classify.py", f"run_dir={run_dir}", word).error_line


def test_one_class_is_one_line(tmp_path: Path) -> None:
    store = prepare(tmp_path / "data", "dataset=rotated_digits", "num_samples=20")
    images = find_images(store, "train")
    assert len(set(images.labels.tolist())) > 1
    frames = np.random.default_rng(0).integers(0, 256, (12, 1, 8, 8), dtype=np.uint8)
    turned = np.rot90(frames, 1, (-2, -1))
    np.savez(tmp_path / "pairs.npz", source=frames, target=turned, action=np.ones((12, 1)))
    words = ("dataset=pairs_table", f"source.root={tmp_path / 'pairs.npz'}", "dataset.group=c4")
    table = prepare(tmp_path / "table", *words)
    with pytest.raises(ValueError, match="needs two classes, but all training images of"):
        make_sets(table)


def test_parts_that_a_run_lacks_are_one_line(digits_dir: Path, tmp_path: Path) -> None:
    words = ("epochs=1", "task.mask.name=fixed", "task.mask.variant_fraction=1.0")
    train(make_config(digits_dir, tmp_path / "run", *words), never_stop())
    line = call("pipeline/classify.py", f"run_dir={tmp_path / 'run'}", "features=[z_i]").error_line
    assert "none of the requested features (z_i: no channel is invariant)" in line
    assert not (tmp_path / "run" / "classification").exists()
    config = config_of(tmp_path / "run", "features=[z_i,pooled_z]", "seeds=[0]")
    result, _ = program.classify_run(config)
    assert result["skipped"] == {"z_i": "no channel is invariant"}
    assert {row["feature"] for row in result["scores"]} == {"pooled_z"}
