"""The few points that the test suite runs: some at which much hangs, the others spread evenly."""

from collections.abc import Sequence

from helpers.injection.library import Call
from helpers.injection.points import Point

NUM_SPREAD = {
    "prepare": 7,
    "prepare, replacing": 7,
    "train": 8,
    "train, by blocks": 2,
    "train, continuing": 8,
    "train, two ranks": 4,
    "evaluate": 6,
    "evaluate, pictures": 1,
    "export": 1,
    "sweep": 4,
}

CRITICAL = (
    ("prepare", "rename", "data/manifest.json", "node lost"),
    ("prepare, replacing", "rename", "data/manifest.json", "kill"),
    ("prepare, replacing", "fsync", "data", "node lost"),
    ("prepare, replacing", "fsync", "data/.replaced", "node lost"),
    ("train", "rename", "run/checkpoints/step_00000002", "kill"),
    ("train", "rename", "run/checkpoints/step_00000002", "node lost"),
    ("train", "fsync", "run/metrics.jsonl", "EIO for 8 s"),
    ("train", "rename", "run/result.json", "node lost, names kept"),
    ("train, by blocks", "pread", "data/train/shard_00000.h5", "EIO"),
    ("train, by blocks", "pread", "data/train/shard_00000.h5", "short"),
    ("train, continuing", "open", "run/checkpoints/step_00000001/meta.json", "ESTALE for 8 s"),
    ("train, continuing", "open", "run/checkpoints/step_00000001/state.pt", "EIO"),
    ("train, two ranks", "rename", "run/checkpoints/step_00000001", "EIO"),
)


def fixed_points(points: Sequence[Point]) -> list[Point]:
    """The critical points of a subject, and others spread over its calls, fault after fault."""
    if not points:
        return []
    name = points[0].subject
    chosen = [
        Point(subject, Call(0, op, path, 1), fault)
        for subject, op, path, fault in CRITICAL
        if subject == name
    ]
    by_call: dict[Call, list[Point]] = {}
    for point in points:
        by_call.setdefault(point.call, []).append(point)
    groups = list(by_call.values())
    num = NUM_SPREAD[name]
    for number in range(num):
        group = groups[number * len(groups) // num]
        chosen.append(group[number % len(group)])
    return list(dict.fromkeys(chosen))
