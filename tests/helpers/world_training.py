"""Small training runs of world models inside the test process."""

from pathlib import Path

from orbit.core.config.compose import compose
from orbit.core.config.schema import build, path_keys
from pipeline.training.settings import TrainConfig

PATH_KEYS = path_keys(TrainConfig)
TINY = {
    "grid": ("experiment=shapes_2d", "task.model.channels=4", "task.model.hidden=16"),
    "reacher": (
        "experiment=reacher",
        "task.model.channels=4",
        "task.model.hidden=4",
        "task.model.dilations=[2]",
    ),
    "teapot": ("experiment=teapot", "task.model.channels=[4,8]", "task.model.hidden=16"),
    "vae": (
        "experiment=homeomorphic_vae/teapot",
        "task.model.channels=[4,8]",
        "task.model.decoder_channels=8",
        "task.model.max_degree=2",
    ),
}


def make_config(model: str, data: Path, run_dir: Path, *words: str) -> TrainConfig:
    """Two epochs of 10 steps of 8 records, with `key=value` words on top."""
    defaults = ("epochs=2", "global_batch=8", "log_every=1", "precision=fp32", "compile=false")
    given = [f"data={data}", f"run_dir={run_dir}", *TINY[model], *defaults, *words]
    return build(TrainConfig, compose("train", given, PATH_KEYS))
