"""The model card of a shared folder: README.md in the format of model hubs, made from plain
values."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orbit.core.config.yaml_files import yaml_text
from orbit.core.metrics import headlines_of, read_statements, statement_of
from pipeline.description.words import in_words

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
        "\n".join(_dataset(card)),
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


def _dataset(card: Card) -> Iterator[str]:
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
