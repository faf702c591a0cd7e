"""Parts (b) and (g): the trainer against other loops; what a transition of world models costs.

The hand-written loop has data in memory as float32, the same model and losses, nothing else. The
script in the paper's style does everything per sample, in Python: images are decoded and normalised
one by one, pairs rotated one by one in the dataset, latents one by one in the model, and the target
branch is decoded too.

World models are trained at the paper's layer sizes.
"""

import random
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from measuring import (
    Check,
    Lap,
    PartReport,
    counted,
    endless,
    fastest,
    prepare,
    rate_rows,
    ratio,
    say,
    take_turns,
    time_row,
)
from PIL import Image
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import transforms
from trainer_laps import TrainerLaps, alone

from orbit.core.groups import make_group
from orbit.core.store.manifest import Manifest
from orbit.core.store.reader import PairStore
from pipeline.models.latent_action import LatentActionModel, LatentParts
from pipeline.models.settings import AutoencoderConfig


def make_model(manifest: Manifest) -> LatentActionModel:
    """The paper's model, with weights of seed 0."""
    torch.manual_seed(0)
    group = make_group(manifest.group)
    return LatentActionModel(AutoencoderConfig(), 0.5, manifest.frames, group)


def hand_lap(
    manifest: Manifest, sources: np.ndarray, batch: int, compiled: bool, num_steps: int
) -> Lap:
    """A lap of `num_steps` training steps on source images (F, C, H, W) as stored."""
    model = make_model(manifest)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    images = model.normalise(torch.from_numpy(sources))
    losses = torch.compile(losses_of) if compiled else losses_of

    def step() -> int:
        chosen = torch.randint(0, len(images), (batch,))
        g = torch.randint(0, 4, (batch,))
        loss = losses(model, images[chosen], g)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return batch

    return counted(step, num_steps)


def losses_of(model: LatentActionModel, source: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Sum of the paper's three losses for normalised images and group elements."""
    target = model.group.act_on_image(source, g)
    parts = model.encode(source)
    moved = model.group.act_on_latent(parts.variant, g)
    output = model.decode(LatentParts(moved, parts.invariant))
    with torch.no_grad():
        wanted = model.encode(target)
    return (
        mse_loss(output, target)
        + mse_loss(parts.invariant, wanted.invariant)
        + mse_loss(moved, wanted.variant)
    )


class GreyImages(Dataset[tuple[torch.Tensor, int]]):
    """Images (F, 1, H, W) one at a time, in the way of torchvision's MNIST."""

    def __init__(
        self, images: np.ndarray, transform: Callable[[Image.Image], torch.Tensor]
    ) -> None:
        self.data, self.transform = torch.from_numpy(images[:, 0]), transform
        self.targets = torch.zeros(len(images), dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image, label = self.data[index], int(self.targets[index])
        return self.transform(Image.fromarray(image.numpy())), label


class RotatedPairs(Dataset[tuple[torch.Tensor, torch.Tensor, float, int]]):
    """(image, image turned, angle in degrees, label), the angle drawn at every access."""

    def __init__(self, images: Dataset[tuple[torch.Tensor, int]], num: int) -> None:
        self.images, self.num = images, num

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, float, int]:
        image, label = self.images[index]
        angle = snapped(random.uniform(0, 360))
        return image, torch.rot90(image, int(angle) // 90, (1, 2)), angle, label


def paper_lap(manifest: Manifest, sources: np.ndarray, batch: int, num_steps: int) -> Lap:
    """A lap of `num_steps` training steps on source images (F, 1, H, W) as stored."""
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    images = Subset(GreyImages(sources, transform), torch.randperm(len(sources)).tolist())
    pairs = RotatedPairs(images, len(images))
    batches = endless(DataLoader(pairs, batch_size=batch, shuffle=True, drop_last=True))
    model = make_model(manifest)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []

    def step() -> int:
        source, target, angles, _ = next(batches)
        optimizer.zero_grad()
        loss = loss_of(model, source, target, angles)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        return batch

    return counted(step, num_steps)


def loss_of(
    model: LatentActionModel, source: torch.Tensor, target: torch.Tensor, angles: torch.Tensor
) -> torch.Tensor:
    """Sum of the paper's three losses for normalised images and angles in degrees."""
    output, invariant, _, moved = forward(model, source, angles)
    with torch.no_grad():
        _, wanted_invariant, wanted_variant, _ = forward(model, target, angles)
    return (
        mse_loss(output, target)
        + mse_loss(invariant, wanted_invariant)
        + mse_loss(moved, wanted_variant)
    )


def forward(
    model: LatentActionModel, images: torch.Tensor, angles: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Output, invariant part, variant part, and variant part after the action."""
    parts = model.encode(images)
    moved = rotated_one_by_one(parts.variant, angles)
    output = model.decode(LatentParts(moved, parts.invariant))
    return output, parts.invariant, parts.variant, moved


def rotated_one_by_one(latents: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Each latent (C, h, w) turned by its angle in degrees, in a Python loop."""
    turned = []
    for index in range(len(latents)):
        angle = snapped(angles[index].item())
        turned.append(torch.rot90(latents[index], int(angle) // 90, (1, 2)))
    return torch.stack(turned)


def snapped(angle: float) -> float:
    """The nearest of 0, 90, 180 and 270 degrees."""
    return round(angle / 90) % 4 * 90.0


BATCH = 64
HAND = {False: "hand-written loop, eager", True: "hand-written loop, compiled"}
TRAINER = {False: "trainer, eager", True: "trainer, compiled"}
PAPER = "paper-style script"
# Whether a collapse shows is no question of speed.
COMMON = ["collapse.action=warn", "collapse.after_steps=1000000000"]
MODES = (False, True)
"""Eager and compiled."""
VARIANTS = {
    "channels-last": ["task.model.memory_format=channels_last"],
    "bf16": ["precision=bf16"],
    "bf16, channels-last": ["precision=bf16", "task.model.memory_format=channels_last"],
}


def measure_training(
    data: Path, num_threads: int, num_rounds: int = 5, num_steps: int = 50
) -> PartReport:
    """`data` is a dataset of 28x28 images with their orbits; a lap has `num_steps` steps."""
    torch.set_num_threads(num_threads)
    store = PairStore(data)
    sources = source_images(store)
    report = PartReport(f"(b) Training, batch {BATCH}, {num_threads} threads")
    with tempfile.TemporaryDirectory() as folder:
        trainers = {
            TRAINER[compiled]: _trainer(
                data, Path(folder), [f"compile={str(compiled).lower()}"], num_steps
            )
            for compiled in MODES
        }
        laps = {
            HAND[compiled]: hand_lap(store.manifest, sources, BATCH, compiled, num_steps)
            for compiled in MODES
        }
        paper = paper_lap(store.manifest, sources, BATCH, max(1, num_steps // 5))
        rates = take_turns({**laps, **trainers, PAPER: paper}, num_rounds)
        report.rows += rate_rows(rates)
        best = fastest(rates, list(trainers))
        hand = fastest(rates, list(laps))
        share = statistics.median(trainers[best].wait_shares)
        report.checks += [
            Check(f"{best} / {hand}", 0.95, ratio(rates, best, hand)),
            Check(f"{best} / {PAPER}", 5.0, ratio(rates, best, PAPER)),
            Check("share of time spent waiting for data", 0.05, share, is_upper_limit=True),
        ]
        if len(MODES) > 1:
            gain = ratio(rates, TRAINER[True], TRAINER[False])
            report.notes.append(f"Compiling the step makes the trainer {gain:.2f} times as fast.")
        variants = {
            f"{name}: {TRAINER[compiled]}": _trainer(
                data,
                Path(folder),
                [f"compile={str(compiled).lower()}", *words],
                max(1, num_steps // 5),
            )
            for name, words in VARIANTS.items()
            for compiled in MODES
        }
        rates = take_turns({**trainers, **variants}, max(1, num_rounds // 2))
        report.rows += rate_rows({name: rates[name] for name in variants})
        for name in VARIANTS:
            names = [f"{name}: {TRAINER[compiled]}" for compiled in MODES]
            gain = ratio(rates, fastest(rates, names), fastest(rates, list(trainers)))
            report.notes.append(f"{name}: {gain:.2f} times the speed of float32, each at its best.")
        report.rows.append(time_row("trainer, step", trainers[best].step_seconds, "s"))
    return report


def source_images(store: PairStore) -> np.ndarray:
    """Every source image of the training split, (F, C, H, W), read into memory."""
    reader = store.split("train")
    per_source = reader.records_per_source or 1
    return reader.read(np.arange(0, reader.num_records, per_source)).source


def _trainer(data: Path, folder: Path, words: list[str], num_steps: int) -> TrainerLaps:
    run_dir = folder / "-".join(word.replace("=", "_") for word in words)
    words = [*COMMON, f"global_batch={BATCH}", f"num_threads={torch.get_num_threads()}", *words]
    return TrainerLaps(data, run_dir, words, alone(), num_steps)


WORLD_WORDS = ["collapse.action=warn", "collapse.after_steps=1000000000", "log_every=1000000"]
FEW = ["dataset.num_test_episodes=2", "dataset.num_val_episodes=2"]
WORLD_MODES = {
    "fp32, eager": ["precision=fp32", "compile=false"],
    "fp32, compiled": ["precision=fp32", "compile=true"],
    "bf16, eager": ["precision=bf16", "compile=false"],
    "bf16, compiled": ["precision=bf16", "compile=true"],
}


@dataclass(frozen=True)
class Contest:
    """A model, the words of its data, its batch, and the most milliseconds a transition may take.

    Small batches stand for large ones where those take minutes a step.
    """

    experiment: str
    prepare: tuple[str, ...]
    batch: int
    limit_ms: float


CONTESTS = {
    "2D Shapes Ours": Contest(
        "shapes_2d", ("dataset=shapes_2d", "num_episodes=20", "episode_length=100"), 1024, 3.0
    ),
    "3D Blocks Ours": Contest(
        "blocks_3d", ("dataset=blocks_3d", "num_episodes=20", "episode_length=100"), 128, 20.0
    ),
    "Reacher Ours, 129 pixels": Contest(
        "reacher", ("dataset=reacher_planar", "num_episodes=20"), 16, 250.0
    ),
}


def measure_world_models(
    num_threads: int,
    num_rounds: int = 2,
    num_steps: int = 3,
    contests: dict[str, Contest] = CONTESTS,
) -> PartReport:
    """Forward, backward and optimiser step of each model in each mode, loader included."""
    torch.set_num_threads(num_threads)
    report = PartReport(f"(g) Training world models, {num_threads} threads, ms a transition")
    for title, contest in contests.items():
        # Shapes seen before would make the compiler write code for any shape.
        torch.compiler.reset()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            prepare(folder / "data", [*contest.prepare, *FEW])
            laps = {
                mode: TrainerLaps(
                    folder / "data",
                    folder / str(index),
                    [
                        f"experiment={contest.experiment}",
                        f"global_batch={contest.batch}",
                        f"num_threads={num_threads}",
                        *WORLD_WORDS,
                        *words,
                    ],
                    alone(),
                    num_steps,
                )
                for index, (mode, words) in enumerate(WORLD_MODES.items())
            }
            rates = take_turns(laps, num_rounds)
        costs = {mode: [1000 / rate for rate in values] for mode, values in rates.items()}
        for mode, values in costs.items():
            row = time_row(f"{title}, batch {contest.batch}: {mode}", values, "ms")
            report.rows.append(row)
        best = min(statistics.median(values) for values in costs.values())
        report.checks.append(
            Check(f"{title}, best mode, ms", contest.limit_ms, best, is_upper_limit=True)
        )
    say("")
    return report
