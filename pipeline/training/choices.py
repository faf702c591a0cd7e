"""Keys whose `auto` is decided when a run begins: config.yaml keeps what was decided.

Another machine may go on with the run; what it would decide for itself does not matter then.
"""

import dataclasses

from pipeline.training.settings import TrainConfig

DECIDED_ONCE = ("precision",)


def as_decided(config: TrainConfig, recorded: TrainConfig | None) -> TrainConfig:
    """The configuration with what its run directory holds in place of each `auto`.

    `recorded` is that of the run directory, None where there is none yet.
    """
    if recorded is None:
        return config
    asked = [name for name in DECIDED_ONCE if getattr(config, name) == "auto"]
    return dataclasses.replace(config, **{name: getattr(recorded, name) for name in asked})


def decide_precision(config: TrainConfig, has_bf16: bool) -> TrainConfig:
    """The configuration with bf16 in place of `precision=auto` where all ranks have it, else fp32.

    `has_bf16` says whether every rank's device computes in bf16 by itself.
    """
    if config.precision != "auto":
        return config
    return dataclasses.replace(config, precision="bf16" if has_bf16 else "fp32")
