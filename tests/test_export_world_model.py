"""Protects exported world models: programs predict what the models predict."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.noise_worlds import NoiseWorld
from helpers.programs import call
from helpers.training import never_stop
from helpers.world_models import MOVES, TORQUES, world_model
from helpers.world_training import TINY, make_config

from data_prep.building.builder import build_dataset
from orbit.core.groups import make_group
from orbit.core.store.reader import PairStore
from pipeline.methods.world_model.programs import world_model_programs
from pipeline.programs import greatest_difference, write_program
from pipeline.runs import load_run
from pipeline.training.run import train
from pipeline.world_models.world_model import WorldModel

ROTATION = tuple(make_group("so3").action_components)
CASES = {
    "grid": ((), MOVES),
    "grid none": (("task.model.kind=none",), MOVES),
    "reacher": ((), TORQUES),
    "teapot": ((), ROTATION),
    "vae": ((), ROTATION),
}


@pytest.mark.parametrize("case", CASES)
def test_every_model_is_written_for_any_batch(case: str, tmp_path: Path) -> None:
    words, components = CASES[case]
    experiment, *tiny = TINY[case.split()[0]]
    model = world_model(experiment, *tiny, *words).eval()
    for program in world_model_programs(model, components):
        write_program(program, tmp_path / program.file)
        assert greatest_difference(program, tmp_path / program.file, 5) < 1e-5, program.name


@pytest.mark.parametrize(
    ("case", "wrong"), [("grid", 0.5), ("grid", 4.0), ("reacher", 1.5), ("reacher", math.nan)]
)
def test_predict_refuses_what_is_no_action(case: str, wrong: float, tmp_path: Path) -> None:
    """A direction between two, one too many, a torque beyond the fullest, none; an empty batch."""
    words, components = CASES[case]
    experiment, *tiny = TINY[case]
    model = world_model(experiment, *tiny, *words).eval()
    predict = world_model_programs(model, components)[1]
    write_program(predict, tmp_path / predict.file)
    written = torch.export.load(tmp_path / predict.file).module()
    latent, action = predict.example(3)
    written(latent, action)
    action[1, -1] = wrong
    with pytest.raises(RuntimeError, match="action: "):
        written(latent, action)
    with pytest.raises(RuntimeError, match="at least one record"):
        written(latent[:0], action[:0])


def test_a_trained_run_is_exported_and_rolls_out_as_the_model_does(tmp_path: Path) -> None:
    build_dataset(NoiseWorld("grid"), tmp_path / "data")
    train(make_config("grid", tmp_path / "data", tmp_path / "run", "epochs=1"), never_stop())
    outcome = call("pipeline/export.py", str(tmp_path / "run"), f"out={tmp_path / 'out'}")
    assert outcome.code == 0, outcome.err
    signature = json.loads((tmp_path / "out" / "signature.json").read_text())
    assert [each["name"] for each in signature["action"]] == ["object", "direction"]
    encode, predict = (
        torch.export.load(tmp_path / "out" / signature["programs"][name]["file"]).module()
        for name in ("encode", "predict")
    )
    records = PairStore(tmp_path / "data").split("test").read(np.arange(9))
    frames, action = torch.from_numpy(records.source), torch.from_numpy(records.action)
    model = load_run(tmp_path / "run").model
    assert isinstance(model, WorldModel)
    with torch.no_grad():
        (found,), wanted = encode(frames), model.latent(frames)
        for _ in range(3):
            (found,), wanted = predict(found, action), model.predict(wanted, action)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
