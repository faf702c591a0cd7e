"""The facts of a run in plain words: a screenful, and the model card of a shared folder.

The card is README.md in the format of model hubs, made from plain values.
"""

import math
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orbit.core.config.yaml_files import yaml_text
from orbit.core.metrics import headlines_of, read_statements, statement_of

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
        where = f"{dataset['name']} (the folder {dataset['path']} is not here)"
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


LIBRARY = "orbit-group-actions"
NO_LICENSE = "unknown"
"""The hubs' name for an unknown licence."""
MAX_HEADLINES = 8
USUAL = ("psnr", "ssim")
"""Metrics that hubs know by name, shown first."""


@dataclass(frozen=True)
class Card:
    """The content of a card.

    `facts` are those of `describe`; `measured` an evaluation with its `split`, `metrics` and
    `meanings`, None if nothing was measured; `trained` the command, versions and processor;
    `origin` the settings of the dataset; `pictures` paths below the folder. `dataset_command` makes
    a dataset like the one that it was trained on, None if it is not known.
    """

    name: str
    license: str
    facts: Mapping[str, Any]
    measured: Mapping[str, Any] | None
    trained: Mapping[str, Any]
    origin: Mapping[str, Any]
    fingerprint: str
    dataset_command: str | None
    pictures: Sequence[str]


def card_text(card: Card) -> str:
    """The text of README.md: a YAML header, then model, exactness, metrics, dataset and
    training."""
    parts = [
        f"---\n{yaml_text(_head(card))}---",
        f"# {card.name}",
        _about(card.facts),
        "## Use it",
        _use(card),
        "## Model and exactness",
        f"```text\n{in_words(card.facts)}\n```",
        "## Metrics",
        "\n".join(_quality(card)),
        "## Dataset",
        "\n".join(_data_of_card(card)),
        "## Training",
        "\n".join(_training(card)),
        "## Licence",
        _license(card.license),
    ]
    if card.pictures:
        parts += ["## Pictures", "\n\n".join(map(_picture, card.pictures))]
    return "\n\n".join(parts) + "\n"


def _head(card: Card) -> dict[str, Any]:
    dataset, task = card.facts["dataset"], card.facts["task"]
    group = card.facts["group"]["name"]
    head: dict[str, Any] = {
        "license": card.license,
        "library_name": LIBRARY,
        "tags": ["orbit", "group-actions", "equivariance", task, f"group:{group}"],
    }
    if "latent" in card.facts:
        head["pipeline_tag"] = "image-to-image"
    if card.measured is not None:
        numbers = _headlines(card.measured)
        head["metrics"] = list(numbers)
        head["model-index"] = [
            {
                "name": card.name,
                "results": [
                    {
                        "task": {"type": "image-to-image" if "latent" in card.facts else "other"},
                        "dataset": {
                            "name": dataset["name"],
                            "type": dataset["name"],
                            "split": card.measured["split"],
                        },
                        "metrics": [
                            {"type": name, "value": value, "name": name}
                            for name, value in numbers.items()
                        ],
                    }
                ],
            }
        ]
    return head


def _headlines(measured: Mapping[str, Any]) -> dict[str, float]:
    """The most important metrics: those that hubs know, and the method's headlines."""
    metrics = measured["metrics"]
    stated = headlines_of(read_statements(measured))
    chosen = [name for name in dict.fromkeys([*USUAL, *stated]) if name in metrics]
    return {name: metrics[name] for name in chosen[:MAX_HEADLINES]}


def _about(facts: Mapping[str, Any]) -> str:
    group, dataset = facts["group"]["name"], facts["dataset"]
    frame = " x ".join(map(str, dataset["frame"]))
    what = f"frames of {frame} of the dataset {dataset['name']}"
    if "latent" in facts:
        return (
            f"Learned how the group {group} acts on {what}: it encodes an image, acts on the"
            " variant part of the latent, and decodes."
        )
    return f"Trained with the method {facts['task']} on {what}, under the group {group}."


def _use(card: Card) -> str:
    lines = [f"`pip install {LIBRARY}`, and with this folder as `FOLDER`:", "", "```python"]
    lines += ["import orbit", "", 'run = orbit.load_run("FOLDER")', "print(run)"]
    if card.facts["task"] != "sequence_labelling":
        lines.append("latents = run.encode(images)      # uint8, or numbers from 0 to 1")
    if "latent" in card.facts:
        names = card.facts["group"]["names"]
        element = names[1] if len(names) > 1 else names[0]
        lines.append(f'moved = run.transform(images, "{element}")')
    shape = ", ".join(map(str, card.facts["dataset"]["frame"]))
    return "\n".join([*lines, "```", "", f"`images` are (N, {shape})."])


def _quality(card: Card) -> Iterator[str]:
    if card.measured is None:
        yield "The run was not evaluated before it was shared."
        return
    metrics, stated = card.measured["metrics"], read_statements(card.measured)
    told: set[str] = set()
    yield f"On the {card.measured['split']} split:"
    yield ""
    yield "| metric | value | better | meaning |"
    yield "|---|---|---|---|"
    for name, value in metrics.items():
        about = statement_of(name, stated)
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        better = (about and about.direction) or ""
        # One row for all metrics with the same prefix.
        is_said = about is None or about.name in told
        meaning = "" if about is None or is_said else about.meaning.replace("|", "\\|")
        told.update([about.name] if about else [])
        yield f"| `{name}` | {shown} | {better} | {meaning} |"


def _data_of_card(card: Card) -> Iterator[str]:
    dataset = card.facts["dataset"]
    counts = ", ".join(f"{count:,} {name}" for name, count in dataset["num_records"].items())
    yield f"`{dataset['name']}`: records {counts}; fingerprint `{card.fingerprint}`."
    yield "`dataset.json` is its manifest. Its settings:"
    yield ""
    yield "```yaml"
    yield yaml_text(dict(card.origin)).rstrip()
    yield "```"
    if card.dataset_command is not None:
        yield ""
        yield f"Orbit has a dataset of that name: `{card.dataset_command}`."


def _training(card: Card) -> Iterator[str]:
    trained = card.trained
    if trained.get("command"):
        yield "```sh"
        yield shlex.join(trained["command"])
        yield "```"
        yield ""
    versions = ", ".join(f"{name} {version}" for name, version in trained["versions"].items())
    ranks = f"{trained['num_ranks']} rank{'s' if trained['num_ranks'] != 1 else ''}"
    yield f"On {ranks}, in {card.facts['precision']}, step {card.facts['step']:,}, with {versions}."
    yield "`config.yaml` holds every key:"
    yield ""
    yield "```sh"
    yield "orbit train config=FOLDER/config.yaml data=DATASET run_dir=RUN"
    yield "```"


def _license(name: str) -> str:
    if name == NO_LICENSE:
        return "No licence was given: ask the sharer before you use these weights."
    return f"These weights: {name}. Their dataset has its own licence."


def _picture(path: str) -> str:
    title = path.rpartition("/")[2].removesuffix(".png").replace("_", " ")
    return f"![{title}]({path})"
