"""Part (f): how fast the program makes episodes of worlds, with its default two workers."""

import importlib.util
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from measuring import Check, PartReport, Row, time_row
from preparing import Preparation, prepare

SIZE = ("num_episodes=2000", "dataset.num_test_episodes=1000", "seed=1")
PLANAR_SIZE = ("num_episodes=300", "dataset.num_test_episodes=20", "seed=1")
MUJOCO_SIZE = ("num_episodes=100", "dataset.num_test_episodes=5", "seed=1")
TEAPOT_SIZE = ("num_episodes=10000", "dataset.num_test_episodes=500", "seed=1")


@dataclass(frozen=True)
class World:
    """Words of `prepare.py`; what is counted, transitions or frames, and how many of them a
    second are required, None for no requirement."""

    words: tuple[str, ...]
    unit: str = "transitions"
    required: float | None = 20_000.0

    def count(self, made: Preparation) -> int:
        return made.num_records if self.unit == "transitions" else made.num_frames


WORLDS = {
    "2D Shapes 3x50x50": World(("dataset=shapes_2d", *SIZE)),
    "3D Blocks 3x50x50": World(("dataset=blocks_3d", *SIZE)),
    "Rush Hour 3x50x50": World(("dataset=rush_hour", *SIZE)),
    "planar Reacher 6x129x129": World(("dataset=reacher_planar", *PLANAR_SIZE), required=None),
    "MuJoCo's Reacher 6x129x129": World(("dataset=reacher", *MUJOCO_SIZE), required=None),
    "Teapot 1x64x64, generated": World(("dataset=teapot", *TEAPOT_SIZE), "frames", 1_000.0),
}
MEMORY = ["dataset=blocks_3d", "dataset.num_test_episodes=50"]
MEMORY_EPISODES = (200, 2000)


def measure_worlds(mesh: Path | None = None, num_times: int = 3) -> PartReport:
    """Make episodes of each world anew, several times, and of one world few and many.

    `mesh`, an OBJ file, is turned beside the generated teapot.
    """
    report = PartReport("(f) Episodes of worlds, two workers, start-up included")
    worlds = dict(WORLDS)
    if mesh is not None:
        words = ("dataset=teapot", "source=mesh", f"source.root={mesh}", *TEAPOT_SIZE)
        worlds[f"Teapot 1x64x64, {mesh.name}"] = World(words, "frames", 1_000.0)
    if importlib.util.find_spec("mujoco") is None:
        worlds = {name: each for name, each in worlds.items() if "MuJoCo" not in name}
        report.notes.append("MuJoCo's Reacher was left out: its extra is not installed.")
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out"
        for title, world in worlds.items():
            made = [prepare(out, list(world.words)) for _ in range(num_times)]
            rates = [world.count(each) / each.seconds for each in made]
            title = f"{title}, {world.count(made[0]):,} {world.unit}"
            median = statistics.median(rates)
            report.rows.append(Row(title, median, max(rates), f"{world.unit}/s"))
            if world.required is not None:
                report.checks.append(Check(f"{title}, /s", world.required, median))
        for num_episodes in MEMORY_EPISODES:
            peak = prepare(out, [*MEMORY, f"num_episodes={num_episodes}"]).peak_mib
            title = f"peak memory of a process, {100 * num_episodes:,} transitions of 3D Blocks"
            report.rows.append(time_row(title, [peak], "MiB"))
    report.notes.append("Most of the peak memory is torch's libraries, mapped from their files.")
    return report
