"""Protects every program against bad files: a fixed few of the campaign's cases for each reader.

`tests/acceptance/bad_inputs.py` runs all of them.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from helpers.bad_inputs.catalogue import READERS, SAMPLE_PER_READER, all_cases, sample
from helpers.programs import REPOSITORY

pytestmark = pytest.mark.usefixtures("starts_are_warm")

PROGRAM = REPOSITORY / "tests/acceptance/bad_inputs.py"


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """In a process of its own: what children are forked from may have no threads."""
    file = tmp_path_factory.mktemp("campaign") / "trials.json"
    environment = {key: value for key, value in os.environ.items() if key != "RANK"}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "sample=true", f"json={file}"],
        env=environment,
        capture_output=True,
        text=True,
        cwd=file.parent,
    )
    assert file.exists(), done.stderr
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    content: list[dict[str, object]] = json.loads(file.read_text())
    return content


@pytest.mark.parametrize("reader", READERS)
def test_bad_files_are_refused_by_name(reader: str, trials: list[dict[str, object]]) -> None:
    own = [trial for trial in trials if trial["reader"] == reader]
    assert len(own) == SAMPLE_PER_READER
    assert [trial for trial in own if not trial["is_passed"]] == []


def test_the_campaign_is_as_large_as_it_says() -> None:
    cases = all_cases()
    assert len(cases) >= 300
    counts = Counter(case.reader for case in cases)
    assert min(counts.values()) >= 20
    lenient = Counter(case.reader for case in cases if case.is_lenient)
    assert sum(lenient.values()) >= len(cases) / 2
    assert len({case.title for case in sample(cases)}) == SAMPLE_PER_READER * len(READERS)


def test_cases_are_the_same_each_time(tmp_path: Path) -> None:
    """Every mutation is a function of its case: two makings give the same bytes."""
    from helpers.bad_inputs.material import MAKERS

    for reader in ("pictures", "NPZ", "IDX"):
        (case, *_) = (case for case in all_cases() if case.reader == reader and "bit" in case.name)
        contents = []
        for name in ("a", "b"):
            work = tmp_path / reader / name
            work.mkdir(parents=True)
            MAKERS[case.material](work, print)
            case.spoil(work)
            contents.append({path.name: path.read_bytes() for path in work.rglob("*.*")})
        assert contents[0] == contents[1]
