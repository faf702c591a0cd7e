"""Folders to work in: made once for a subject, copied for every point."""

import itertools
import shutil
from pathlib import Path

from helpers.injection.driver import Line
from helpers.injection.library import FAULTS, Call
from helpers.injection.subjects import Cut, Step, Subject, draw_pictures

WITH_PATHS = frozenset({".json", ".yaml"})
KILL = next(fault for fault in FAULTS if fault.name == "kill")


class Places:
    """Work folders below `root`, all with names of one length.

    Programs write the folder's name into their files; a copy gets the copy's name there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._numbers = itertools.count(1)
        self._made: dict[tuple[Step | Cut, ...], Path] = {}

    def new(self) -> Path:
        """The place of a folder that is not there yet."""
        return self.root / f"{next(self._numbers):06d}"

    def template(self, subject: Subject, line: Line) -> Path:
        """The folder with what a subject is given."""
        for num in range(len(subject.before) + 1):
            steps = subject.before[:num]
            if steps not in self._made:
                if num:
                    work = self.copy(self._made[steps[:-1]])
                    _carry_out(steps[-1], work, line)
                else:
                    work = self.new()
                    work.mkdir(parents=True)
                    draw_pictures(work / "pictures")
                self._made[steps] = work
        return self._made[subject.before]

    def copy(self, template: Path) -> Path:
        """A fresh copy of a folder."""
        work = self.new()
        shutil.copytree(template, work, symlinks=True)
        for path in work.rglob("*"):
            if path.suffix in WITH_PATHS and path.is_file():
                content = path.read_bytes()
                if str(template).encode() in content:
                    path.write_bytes(content.replace(str(template).encode(), str(work).encode()))
        return work


def _carry_out(step: Step | Cut, work: Path, line: Line) -> None:
    scratch = work.with_name(f"{work.name}.making")
    if isinstance(step, Cut):
        done = line.run(step.step, work, scratch, Call(0, *step.call), KILL)
        wanted = [-9]
    else:
        done = line.run(step, work, scratch)
        wanted = [0] * step.num_ranks
    if done.codes != wanted:
        raise RuntimeError(f"{step} ended with {done.codes}: {done.errors}")
    shutil.rmtree(scratch)
