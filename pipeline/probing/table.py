"""The result of `pipeline/classify.py` as text on a terminal."""

from typing import Any


def classification_table(result: dict[str, Any]) -> str:
    """A block for each kind of training images and classifier: features by fractions.

    Accuracies in percent with half the width of their 95% interval; macro-F1 and AUC in
    percent at the largest fraction.
    """
    settings, sizes = result["settings"], result["sizes"]
    fractions = sorted(settings["fractions"])
    entries = {
        (row["labels"], row["classifier"], row["feature"], row["fraction"]): row
        for row in result["summary"]
    }
    features = [name for name in settings["features"] if name not in result["skipped"]]
    width = max(map(len, features))
    lines = [
        f"checkpoint of step {result['step']}; accuracy in % on {sizes['num_test']} rotated test"
        f" images, {sizes['num_classes']} classes, {len(settings['seeds'])} seed(s)"
    ]
    for labels in settings["labels"]:
        for classifier in settings["classifiers"]:
            heads = [
                f"{100 * f:g}% ({entries[labels, classifier, features[0], f]['num_train']})"
                for f in fractions
            ]
            columns = "".join(f"{head:>15}" for head in heads)
            lines += ["", f"{classifier}, trained on {labels} images"]
            lines.append(f"  {'':{width}}{columns}{'macro-F1':>11}{'AUC':>8}")
            for name in features:
                rows = [entries[labels, classifier, name, f] for f in fractions]
                cells = "".join(f"{_with_interval(row['accuracy']):>15}" for row in rows)
                f1, auc = (_percent(rows[-1][key]["mean"]) for key in ("macro_f1", "auc"))
                lines.append(f"  {name:{width}}{cells}{f1:>11}{auc:>8}")
    lines.append("")
    lines += [f"{name} skipped: {reason}" for name, reason in result["skipped"].items()]
    num_labelled, num_images = sizes["num_labelled"], sizes["num_train_images"]
    if num_labelled < num_images:
        lines.append(f"100% is max_train={num_labelled} of {num_images} training images")
    stopped = sum(not entry.get("converged", True) for entry in result["scores"])
    if stopped:
        lines.append(f"{stopped} linear fits stopped at their last iteration, not converged")
    return "\n".join(lines).rstrip()


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _with_interval(score: dict[str, Any]) -> str:
    if score["ci95"] is None:
        return _percent(score["mean"])
    low, high = score["ci95"]
    return f"{_percent(score['mean'])} ± {50 * (high - low):.1f}"
