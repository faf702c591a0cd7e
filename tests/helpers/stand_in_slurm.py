"""Stand-ins for SLURM's commands, and the dataset that tests of preparations make."""

import os
import shutil
import time
from pathlib import Path

import pytest

from data_prep.building.recipe import Recipe
from data_prep.recipes import make_recipe
from launch.preparation.directory import read_request
from orbit.core.files.atomic import sha256_of_file

WORDS = ("num_samples=60", "dataset.shard_mib=0.02")
SHARDS = [
    "train/shard_00000.h5",
    "train/shard_00001.h5",
    "train/shard_00002.h5",
    "val/shard_00000.h5",
    "test/shard_00000.h5",
]


def recipe_for(out: Path, *words: str) -> Recipe:
    """The recipe of WORDS."""
    return make_recipe(read_request([f"out={out}", *WORDS, *words])[1])


def contents(root: Path) -> dict[str, str]:
    """Relative path to checksum of every file."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): sha256_of_file(path) for path in files}


STAND_INS = {
    "srun": "exit 1",
    "squeue": 'cat "$STAND_INS/queue"',
    "scancel": 'echo "$*" >>"$STAND_INS/cancelled"',
    "scontrol": """
        case $* in
            *'show config'*) echo 'MaxArraySize            = 4' ;;
            *'show partition'*) echo 'PartitionName=low Default=YES MaxTime=1:00:00 TotalNodes=2' ;;
            *) exit 1 ;;
        esac""",
    "sbatch": """
        cd "$STAND_INS"
        number=$((100 + $(ls | grep -c script)))
        cp "${@: -1}" "script.$number"
        value() { sed -n "s/^#SBATCH --$1=//p" "script.$number"; }
        last=$(value array | sed 's/^0-\\([0-9]*\\)%.*/\\1/')
        for index in $([[ -n $last ]] && seq 0 "$last" || echo N/A); do
            echo "$number|$index|$number|PENDING|Resources|$(value job-name)" >>queue
        done
        echo "Submitted batch job $number" """,
}


class StandInSlurm:
    """Commands that remember what was submitted; nothing is ever started."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Puts the commands into `folder` and first in PATH."""
        self.folder = folder
        monkeypatch.setenv("STAND_INS", str(folder))
        monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
        (folder / "bin").mkdir(parents=True)
        for name, body in STAND_INS.items():
            (folder / "bin" / name).write_text(f"#!{shutil.which('bash')}\n{body}\n")
            (folder / "bin" / name).chmod(0o755)
        self.empty_queue()

    def empty_queue(self) -> None:
        """All jobs have ended."""
        (self.folder / "queue").write_text("")

    def change_queue(self, old: str, new: str) -> None:
        """Replace text in what squeue says, `array|index|id|state|reason|name` a line."""
        queue = self.folder / "queue"
        queue.write_text(queue.read_text().replace(old, new))

    def take_scripts(self) -> list[dict[str, str]]:
        """The #SBATCH options of what was submitted since the last call."""
        found = []
        for path in sorted(self.folder.glob("script.*")):
            lines = path.read_text().splitlines()
            words = [line[10:] for line in lines if line.startswith("#SBATCH --")]
            found.append({key: value for key, _, value in (word.partition("=") for word in words)})
            path.rename(path.with_name(f"taken.{path.name}.{time.monotonic_ns()}"))
        return found
