"""Part (f): how fast the program makes episodes of worlds, with its default two workers."""

import statistics
import tempfile
from pathlib import Path

from measuring import Check, PartReport, Row, time_row
from preparing import prepare

LIMIT = 20_000.0
SIZE = ["num_episodes=2000", "dataset.num_test_episodes=1000", "seed=1"]
WORLDS = {
    "2D Shapes 3x50x50": ["dataset=shapes_2d", *SIZE],
    "3D Blocks 3x50x50": ["dataset=blocks_3d", *SIZE],
    "Rush Hour 3x50x50": ["dataset=rush_hour", *SIZE],
}
MEMORY = ["dataset=blocks_3d", "dataset.num_test_episodes=50"]
MEMORY_EPISODES = (200, 2000)


def measure_worlds(num_times: int = 3) -> PartReport:
    """Make episodes of each world anew, several times, and of one world few and many."""
    report = PartReport("(f) Episodes of worlds, two workers, start-up included")
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out"
        for title, words in WORLDS.items():
            made = [prepare(out, words) for _ in range(num_times)]
            rates = [each.num_records / each.seconds for each in made]
            title = f"{title}, {made[0].num_records:,} transitions"
            median = statistics.median(rates)
            report.rows.append(Row(title, median, max(rates), "transitions/s"))
            report.checks.append(Check(f"{title}, /s", LIMIT, median))
        for num_episodes in MEMORY_EPISODES:
            peak = prepare(out, [*MEMORY, f"num_episodes={num_episodes}"]).peak_mib
            title = f"peak memory of a process, {100 * num_episodes:,} transitions of 3D Blocks"
            report.rows.append(time_row(title, [peak], "MiB"))
    report.notes.append("Most of the peak memory is torch's libraries, mapped from their files.")
    return report
