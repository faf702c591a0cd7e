"""placeholder"""

from collections.abc import Sequence

from launch.sweeps.directory import SweepDirectory
from launch.sweeps.request import SweepRequest


def start_search(request: SweepRequest, directory: SweepDirectory, words: Sequence[str]) -> int:
    raise ValueError("not yet")
