"""Protects `examples/sie`, a whole method in a package of its own, and what it rests on: a loss
over the global batch, and shared measures of a method without a decoder."""

import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.programs import REPOSITORY, call
from helpers.ranks import run_on_ranks

from orbit.core import plugins
from orbit.core.groups import make_group
from orbit.core.store.manifest import FrameSpec
from orbit.testing import check_evaluation
from pipeline.models.settings import AutoencoderConfig

EXAMPLE = REPOSITORY / "examples" / "sie"
TINY = (
    *("task=sie", "task.model.width=4", "task.model.vector_size=8", "task.num_hidden=8"),
    *("task.embedding_size=6", "global_batch=16", "epochs=1", "log_every=2", "precision=fp32"),
)


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What pip would note of the package, beside its source."""
    site = tmp_path_factory.mktemp("sie")
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = site / "orbit_sie-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: orbit-sie\nVersion: 0.1.0\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        for place in (EXAMPLE, site):
            patch.syspath_prepend(str(place))
        patch.setenv("PYTHONPATH", f"{EXAMPLE}:{site}:{REPOSITORY}")
        plugins.forget()
        yield
    plugins.forget()
    for name in [name for name in sys.modules if name.partition(".")[0] == "orbit_sie"]:
        del sys.modules[name]


def orthogonal_rows(num: int, size: int) -> torch.Tensor:
    """Rows (num, size) of mean 0 whose unbiased covariance is the unit matrix."""
    rows = torch.randn(num, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = torch.linalg.qr(rows - rows.mean(0)).Q
    return (rows - rows.mean(0)) * (num - 1) ** 0.5


def test_spread_is_enough_or_is_missing() -> None:
    """Uncorrelated numbers of variance 1 cost nothing, a constant one costs V = 1 in all, and equal
    ones cost their covariances."""
    from orbit_sie.method import EPSILON, covariance, spread_terms

    whole = covariance(orthogonal_rows(64, 6))
    terms = spread_terms((whole, whole), whole.diagonal())
    assert torch.stack(terms).abs().max() < 1e-6
    nothing = torch.zeros(6, 6)
    variance, predicted, redundancy = spread_terms((nothing, nothing), nothing[0])
    assert variance.item() == pytest.approx(1 - EPSILON**0.5)
    assert predicted.item() == pytest.approx((1 - EPSILON**0.5) / 2)
    assert redundancy == 0
    ones = torch.ones(6, 6)
    assert spread_terms((ones, nothing), ones[0])[2].item() == pytest.approx(5)


def small_model() -> Any:
    """For rotations of space, its weights always the same."""
    from orbit_sie.method import Embeddings, SieConfig

    config = SieConfig("sie", AutoencoderConfig(width=4, vector_size=8), embedding_size=6)
    frames = FrameSpec((1, 16, 16), "uint8", (0.0, 255.0), (-1.0, 1.0))
    torch.manual_seed(0)
    return Embeddings(config, SimpleNamespace(group="so3", frames=frames))  # type: ignore[arg-type]


def test_a_rotation_has_one_prediction_whatever_its_quaternion() -> None:
    model = small_model()
    quaternions = torch.nn.functional.normalize(torch.randn(9, 4), dim=1)
    rows = torch.randn(9, 6)
    one, other = (model.predict(rows, sign * quaternions) for sign in (1, -1))
    assert torch.allclose(one, other, atol=1e-6)
    unit = make_group("so3").identity(9)
    assert not torch.allclose(model.predict(rows, unit), one)


def loss_on_rank(rank: int, num_ranks: int) -> list[torch.Tensor]:
    """Terms of the loss, and the gradient of all weights, of this rank's rows of a batch."""
    sys.path.insert(0, str(EXAMPLE))
    from orbit_sie.method import SieObjective, Weights

    model, rng = small_model(), torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (2, 12, 1, 16, 16), generator=rng, dtype=torch.uint8)
    quaternions = torch.nn.functional.normalize(torch.randn(12, 4, generator=rng), dim=1)
    own = slice(12 * rank // num_ranks, 12 * (rank + 1) // num_ranks)
    action = model.group.encode(quaternions)[own]
    loss, terms = SieObjective(model, Weights())(*frames[:, own], action, None, None)
    loss.backward()
    return [terms, torch.cat([each.grad.flatten() for each in model.parameters()])]


def test_ranks_have_the_loss_and_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    terms, gradient = loss_on_rank(0, 1)
    found = run_on_ranks("test_sie", "loss_on_rank", tmp_path)
    for at, whole in ((0, terms), (1, gradient)):
        mean = torch.stack([each[at] for each in found]).mean(0)
        assert (mean - whole).abs().max() <= 1e-4 * whole.abs().max()
    assert torch.equal(found[0][0][3:], found[1][0][3:]), "variances are those of all ranks"


def test_shared_measures_need_no_decoder(digits_dir: Path, tmp_path: Path) -> None:
    words = [*TINY, f"data={digits_dir}", f"run_dir={tmp_path / 'run'}", "device=cpu"]
    assert call("pipeline/train.py", *words).code == 0
    done = call("pipeline/evaluate.py", f"run_dir={tmp_path / 'run'}", "referee=true", "device=cpu")
    assert done.code == 0, done.err
    (file,) = (tmp_path / "run" / "evaluations").glob("step_*-test.json")
    found = json.loads(file.read_text())
    assert "equivariance_gain/cosine" in found["metrics"]
    assert not [name for name in found["metrics"] if name.startswith("orbit_psnr")]
    assert (tmp_path / "run" / "spectrum.png").exists()
    check_evaluation(tmp_path / "run")


def test_a_latent_that_cannot_be_halved_is_refused(digits_dir: Path, tmp_path: Path) -> None:
    words = [*TINY, f"data={digits_dir}", f"run_dir={tmp_path / 'run'}"]
    done = call("pipeline/train.py", *words, "task.model.vector_size=null")
    assert "task.model.vector_size=None must be even" in done.error_line
