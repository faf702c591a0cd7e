"""Classification from the frozen encoder of one checkpoint: sets, fits, scores, one file.

Images that are scored are always rotated: the target of one drawn record for each. They are test
images, or validation images that no fit uses. The draws for both are the same for all seeds; a seed
determines which training images have labels,
how they are moved, and the weights and batches of the `mlp`.
"""

from pathlib import Path
from typing import Any

from orbit.core.progress import Progress
from pipeline.arithmetic import exact_float32, use_threads
from pipeline.methods.latent_action.settings import LatentActionConfig
from pipeline.methods.table import METHODS
from pipeline.probing.experiment import Probe, summarise
from pipeline.probing.features import load_networks, reason_to_skip
from pipeline.probing.sets import make_sets
from pipeline.run_files.checkpoint import MODEL_FILE
from pipeline.runs import latent_action_model, load_run, open_data
from pipeline.settings import ClassifyConfig, classification_file
from pipeline.training.distributed import choose_device
from pipeline.training.run_directory import RunDirectory


@exact_float32()
def classify_run(config: ClassifyConfig) -> tuple[dict[str, Any], Path]:
    """Write `classification/step_XXXXXXXX.json`, or read it if it holds these settings.

    Returns its content and path. Raises FileNotFoundError or ValueError for files that cannot be
    read, for runs of other methods than `latent_action`, for fewer than two classes, and for a file
    with other settings.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped,unused-ignore]

    use_threads(config.num_threads)
    run = RunDirectory(Path(config.run_dir))
    task = run.read_config().task
    if task.name in METHODS and not isinstance(task, LatentActionConfig):
        raise ValueError(
            f"{run.path} is a run of task.name={task.name}, whose encoder classify.py does not"
            " read; allowed: latent_action"
        )
    store = open_data(run, config.data)
    if "rotated" in config.labels:
        store.manifest.check_has_targets("train", "labels=[rotated]", "labels=[upright]")
    device = choose_device(config.device, 0)
    loaded = load_run(run.path, str(config.checkpoint), store.root, device)
    latent_action_model(loaded)  # a plug-in's method may have another model
    fingerprint, meta = store.manifest.fingerprint, loaded.checkpoint.meta
    identity = {
        "step": loaded.step,
        "dataset": fingerprint,
        "weights": meta["files"][MODEL_FILE]["sha256"],
    }
    other = None if fingerprint == meta["dataset"] else fingerprint
    name = f"classification/{classification_file(loaded.step, other)}"
    if not config.overwrite:
        written = run.read_json(name)
        if written and identity.items() <= written.items():
            _check_settings(config, written, run.path / name)
            return written, run.path / name
    networks = load_networks(loaded, store.manifest, device)
    sets = make_sets(store, config.scored)
    sizes = sets.sizes(config.max_train)
    num_images = sizes["num_labelled"] + sizes["num_val"] + sizes["num_test"]
    skipped = {
        feature: reason
        for feature in config.features
        if (
            reason := reason_to_skip(
                feature, networks[feature.startswith("untrained_")], num_images
            )
        )
    }
    features = [feature for feature in config.features if feature not in skipped]
    if not features:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise ValueError(f"this run has none of the requested features ({reasons})")
    num_fits = len(features) * len(config.labels) * len(config.fractions)
    num_fits *= len(config.classifiers) * len(config.seeds)
    with (
        threadpool_limits(config.num_threads),
        Progress(num_fits, "fits", "classifying", enabled=not config.json) as progress,
    ):
        places = config.batch or loaded.places()
        probe = Probe(config, store, sets, networks, places, device, progress)
        scores = probe.scores(features)
    result = {
        **identity,
        "settings": config.what_is_measured(),
        "sizes": sizes,
        "skipped": skipped,
        "num_dimensions": probe.num_dimensions,
        "summary": summarise(scores),
        "scores": scores,
    }
    (run.path / "classification").mkdir(exist_ok=True)
    run.write_json(name, result)
    return result, run.path / name


def _check_settings(config: ClassifyConfig, written: dict[str, Any], file: Path) -> None:
    # Earlier versions scored test images only.
    wanted, found = config.what_is_measured(), {"scored": "test", **written.get("settings", {})}
    differing = [key for key in wanted if wanted[key] != found.get(key)]
    if differing:
        raise ValueError(
            f"{file} holds other settings ({', '.join(differing)}); overwrite=true replaces it"
        )
