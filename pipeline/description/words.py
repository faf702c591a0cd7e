"""The facts of a run as a screenful of plain words."""

import math
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

WIDTH = 92
INDENT = 10
VERDICTS = (
    (1e-4, "exactly, but for rounding"),
    (0.02, "almost exactly"),
    (0.1, "closely"),
    (0.3, "roughly"),
    (math.inf, "hardly at all"),
)


def in_words(facts: Mapping[str, Any]) -> str:
    """About 20 lines of at most 92 characters."""
    lines = [_title(facts)]
    for label, text in _paragraphs(facts):
        wrapped = textwrap.wrap(text, WIDTH - INDENT, break_on_hyphens=False)
        if len(label) >= INDENT:  # a method's own heading
            lines.append(label)
            label = ""
        lines += [
            f"{label if not number else '':{INDENT}}{part}" for number, part in enumerate(wrapped)
        ]
    return "\n".join(lines)


def verdict(relative_error: float) -> str:
    """In words, how well two values agree whose difference is this share of their size."""
    return next(words for limit, words in VERDICTS if relative_error <= limit)


def amount(number: float) -> str:
    """A large number in short form: 24.1 million."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.1f} {word}"
    return f"{number:,.0f}"


def _title(facts: Mapping[str, Any]) -> str:
    where = f"{facts['checkpoint']} checkpoint, step {facts['step']:,}"
    return f"{facts['run_dir']}: {where} ({facts['state']})"


def _paragraphs(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "dataset", _dataset(facts["dataset"])
    yield "group", _group(facts["group"])
    yield "model", _model(facts)
    if "latent" in facts:
        yield "latent", _latent(facts)
        yield "cost", _cost(facts["flops"])
        yield "mask", _mask(facts["mask"], facts["exactness"]["metrics"])
        yield from _exactness(facts)
    yield from facts.get("further", {}).items()


def _dataset(dataset: Mapping[str, Any]) -> str:
    frame = " x ".join(map(str, dataset["frame"]))
    counts = ", ".join(f"{name} {count:,}" for name, count in dataset["num_records"].items())
    shapes = ", binary shapes" if dataset["values"] == "binary" else ""
    other = "" if dataset["is_own"] else "; NOT the one that it was trained on"
    where = f"{dataset['name']} in {dataset['path']}"
    if dataset["path"] is None:
        where = dataset["name"]
    elif not dataset["is_there"]:
        where = f"{dataset['name']}, which is not in {dataset['path']} (any more)"
    return f"{where}: frames of {frame}{shapes}; records: {counts}{other}"


def _group(group: Mapping[str, Any]) -> str:
    name, names = group["name"], ", ".join(group["names"])
    if group["num_elements"] is None:
        return f"{name}, a continuous group, which interpolates pixels; such as {names}"
    such = "" if group["num_elements"] == len(group["names"]) else "such as "
    how = "exactly" if group["is_exact"] else "to the nearest place"
    return f"{name}, {group['num_elements']} elements ({such}{names}), which move pixels {how}"


def _model(facts: Mapping[str, Any]) -> str:
    parts = facts["parameters"]["parts"]
    listed = ", ".join(f"{name} {count:,}" for name, count in parts.items())
    network = facts.get("network", {})
    name = f"{network['name']} network, " if network else ""
    sizes = [f"{key} {network[key]}, " for key in ("width", "depth") if key in network]
    width = "".join(sizes)
    total = facts["parameters"]["total"]
    trained = f"trained in {facts['precision']}"
    return f"task {facts['task']}: {name}{width}{total:,} parameters ({listed}), {trained}"


def _latent(facts: Mapping[str, Any]) -> str:
    latent, frame = facts["latent"], facts["dataset"]["frame"]
    shape = " x ".join(map(str, latent["shape"]))
    share = latent["num_values"] / math.prod(frame)
    if latent["num_cells"] == 1:
        kind = f"a vector of {latent['num_values']:,} numbers"
    else:
        kind = f"{shape}: {latent['shape'][0]} channels on {latent['num_cells']:,} cells"
    acts = {
        "spatial": "g moves its cells as it moves pixels",
        "representation": "g mixes its channels by irreducible representations",
        "learned": "g mixes its channels by matrices that a network learned",
    }.get(facts["action"]["name"], f"g acts on it as {facts['action']['name']} does")
    return f"{kind}, {share:.2g} times as many numbers as an image; {acts}"


def _cost(flops: Mapping[str, Any]) -> str:
    parts = ", ".join(f"{name} {amount(count)}" for name, count in flops["parts"].items())
    return f"{amount(flops['total'])} operations to transform one image ({parts})"


def _mask(mask: Mapping[str, Any], metrics: Mapping[str, float]) -> str:
    num, variant = mask["num_channels"], mask["num_variant"]
    how = "fixed" if mask["name"] == "fixed" else f"learned (threshold {mask['tau']:g})"
    live = ""
    if "mask/live_channels" in metrics:
        live = f"; {metrics['mask/live_channels']:.0f} of {num} channels carry anything"
    if variant == 0:
        return f"{how}: no channel is variant, so outputs cannot depend on g{live}"
    rest = f"leaves {num - variant} alone (z_i)" if variant < num else "leaves none alone"
    return f"{how}: the group acts on {variant} of {num} channels (z_v) and {rest}{live}"


def _exactness(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    metrics, mask = facts["exactness"]["metrics"], facts["mask"]
    if not metrics:
        yield "exactness", facts["exactness"]["origin"]
        return
    yield "exactness", f"{facts['exactness']['origin']}:"
    if mask["num_variant"] > 0 and "equivariance_error/variant" in metrics:
        error = metrics["equivariance_error/variant"]
        yield "", f"z_v of g x agrees {verdict(error)} with z_v of x moved by g: off by {error:.2%}"
    if mask["num_variant"] < mask["num_channels"] and "invariance_error/invariant" in metrics:
        error = metrics["invariance_error/invariant"]
        yield "", f"z_i of g x agrees {verdict(error)} with z_i of x: off by {error:.2%}"
    latent, image = metrics["composition_error/latent"], metrics["composition_error/image"]
    same = "the same bit for bit" if latent == 0 else f"off by {latent:.2%}"
    yield (
        "",
        f"acting with h and then g, against gh at once: {same} in the latent; off by {image:.2%}"
        " of the grey range through images",
    )
    if "psnr" in metrics:
        yield "images", _images(metrics)


def _images(metrics: Mapping[str, float]) -> str:
    by_element = {
        name.removeprefix("psnr/"): value
        for name, value in metrics.items()
        if name.startswith("psnr/") and name != "psnr/composed"
    }
    text = f"g x is predicted with {metrics['psnr']:.2f} dB PSNR, SSIM {metrics['ssim']:.3f}"
    if by_element:
        worst, value = min(by_element.items(), key=lambda item: item[1])
        text += f"; worst for g = {worst} ({value:.2f} dB)"
    if "dice" in metrics:
        text += f"; Dice {metrics['dice']:.3f}"
    return text
