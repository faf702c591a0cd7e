"""DALI's build and torch's: which goes with which, and how it is mended.

Protects that the check speaks where a GPU would fail later and in other words, that a CPU is left
in peace, and that pip is told to remove before it installs, since two builds share their files.
"""

import pytest

from orbit.core.dali_build import BUILDS, complaint, wanted_build
from pipeline.fit_dali import commands

TWELVE, THIRTEEN = BUILDS["12"], BUILDS["13"]


@pytest.mark.parametrize("installed", [[], [TWELVE], [THIRTEEN], [TWELVE, THIRTEEN]])
def test_without_cuda_any_build_will_do(installed: list[str]) -> None:
    assert complaint(None, installed) is None
    assert commands(None, installed) == []


@pytest.mark.parametrize(("cuda", "wanted"), [("12.8", TWELVE), ("13.0", THIRTEEN)])
@pytest.mark.parametrize("installed", [[], [TWELVE], [THIRTEEN], [TWELVE, THIRTEEN]])
def test_only_the_right_one_alone_is_right(cuda: str, wanted: str, installed: list[str]) -> None:
    assert wanted_build(cuda) == wanted
    steps = commands(cuda, installed)
    if installed == [wanted]:
        assert complaint(cuda, installed) is None
        assert steps == []
        return
    line = complaint(cuda, installed)
    assert line is not None
    assert line.startswith(f"torch was built for CUDA {cuda}, which needs {wanted} alone")
    assert line.endswith("orbit fit-dali")
    *away, last = [step[3:] for step in steps]
    assert last == ["install", "--no-deps", wanted]
    assert away == ([["uninstall", "--yes", *installed]] if installed else [])


def test_a_cuda_that_dali_does_not_know() -> None:
    with pytest.raises(ValueError, match=r"^torch was built for CUDA 11.8; DALI has builds for"):
        complaint("11.8", [TWELVE])
