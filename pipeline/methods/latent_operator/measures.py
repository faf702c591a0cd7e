"""Final measures of a latent operator: the class where the pose is not known, and a picture.

The latent of a test image is moved back by every element. Of all pairs of such a latent and a
reference the nearest vote for the element; that with most votes is taken for the pose, and the
latent moved back by it is classified. References are latents of other images, moved to pose e by
their known poses, which training saw; of their labels nothing is used.
"""

import numpy as np
import torch

from orbit.core.pictures import save_figure
from orbit.core.store.reader import PairStore, SplitReader
from pipeline.data.packing import slices
from pipeline.measuring import SEED, Subject, device_of, new_figure, spread_records
from pipeline.methods.latent_operator.task import LatentOperatorModel, are_seen, shares
from pipeline.metrics.retrieval import vote_on_poses

REFERENCE_STREAM, NUM_DRAWN = 65, 4096
NAMES = ("class_accuracy", "class_accuracy_inferred", "pose_hits")


def latents_of(
    model: LatentOperatorModel, reader: SplitReader, records: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents (N, D) of the targets of records, and their elements, on the model's device."""
    frames, action = reader.read_frames("target", records), reader.read_column("action", records)
    latent = model.latent(torch.from_numpy(frames).to(device_of(model)))
    return latent, model.group.decode(torch.from_numpy(action).to(latent.device))


def references(subject: Subject, num: int) -> torch.Tensor:
    """Latents in pose e of up to `num` drawn records under elements that training saw, (R, D).

    Of validation images; if these are measured themselves, of training images.
    """
    model, group = subject.run.model, subject.run.group
    assert isinstance(model, LatentOperatorModel)
    reader = PairStore(subject.reader.root).split("train" if subject.split == "val" else "val")
    action = reader.read_column("action", np.arange(reader.num_records))
    allowed = are_seen(model)[group.bin_index(group.decode(torch.from_numpy(action)))]
    order = np.random.default_rng([SEED, REFERENCE_STREAM]).permutation(int(allowed.sum()))
    chosen = np.sort(np.flatnonzero(allowed.numpy())[order[:num]])
    parts = [chosen[rows] for rows in slices(len(chosen), subject.batch)]
    return torch.cat([model.at_rest(*latents_of(model, reader, part)) for part in parts])


@torch.no_grad()
def count_hits(subject: Subject, max_records: int | None) -> dict[str, torch.Tensor]:
    """Numbers of records and of hits in each bin, (2, bins) float64: of the class in known poses
    and, with an operator, in inferred ones, and of the pose; by the names of their metrics."""
    model, reader, group = subject.run.model, subject.reader, subject.run.group
    assert isinstance(model, LatentOperatorModel)
    records = spread_records(reader, max_records or reader.num_records)
    tables = {name: torch.zeros(2, len(group.bin_names)).double() for name in NAMES}
    if model.operator is not None:
        known = references(subject, model.config.num_references)
        inverses = group.inverse(group.elements()).to(known.device)
    for rows in slices(len(records), subject.batch):
        latent, g = latents_of(model, reader, records[rows])
        label = torch.from_numpy(reader.read_column("label", records[rows])).to(latent.device)
        found = [model.classifier(model.at_rest(latent, g)).argmax(1) == label]
        if model.operator is not None:
            repeated = latent.repeat_interleave(len(inverses), 0)
            every = model.act(repeated, inverses.repeat(len(latent)))
            every = every.unflatten(0, (-1, len(inverses)))
            votes = vote_on_poses(every, known, model.config.num_neighbours)
            chosen = every[torch.arange(len(votes), device=votes.device), votes]
            found += [model.classifier(chosen).argmax(1) == label, votes == group.element_index(g)]
        for name, hits in zip(NAMES, found, strict=False):
            counted = torch.stack([torch.ones_like(hits), hits]).double().cpu()
            tables[name].index_add_(1, group.bin_index(g).cpu(), counted)
    return tables


def measure(subject: Subject) -> dict[str, float]:
    """Shares of hits where poses are inferred; of all records, unless the subject limits them."""
    model = subject.run.model
    assert isinstance(model, LatentOperatorModel)
    tables = count_hits(subject, subject.max_records)
    inferred, pose = (shares(name, tables[name], model) for name in NAMES[1:])
    return {**inferred, **pose}


def draw(subject: Subject) -> None:
    """pictures/class_accuracy.png: the shares of hits under each element, of some records."""
    model, folder = subject.run.model, subject.run_dir / "pictures"
    assert isinstance(model, LatentOperatorModel)
    title = f"Hits, {subject.manifest.name}, {subject.split}, step {subject.run.step}"
    figure, axes = new_figure(1, 1, (7, 3.6), title)
    for name, (num, hits) in count_hits(subject, NUM_DRAWN).items():
        if num.any():
            axes[0, 0].plot(model.group.bin_names, (hits / num).numpy(), "o-", label=name)
    for place in np.flatnonzero(~are_seen(model).numpy()):
        axes[0, 0].axvspan(place - 0.5, place + 0.5, color="0.92", zorder=0)
    axes[0, 0].set(xlabel="element; grey: not in training", ylim=(0, 1.02))
    axes[0, 0].legend(loc="lower left")
    folder.mkdir(exist_ok=True)
    save_figure(figure, folder / "class_accuracy.png")
