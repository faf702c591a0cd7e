"""Configuration of short runs that show whether, and how fast, a real one would work."""

from dataclasses import dataclass

DEFAULT_PROFILE_AFTER = 10


@dataclass(frozen=True)
class DebugConfig:
    """Nothing of this is on in a real run; `debug=overfit|fast|profile` sets what belongs together.

    `single_batch` trains and validates on the first batch, again and again. `num_steps` is
    the length of the run in place of `epochs`. `num_evaluation_batches` are enough for a
    validation or evaluation. `evaluate` does what `pipeline/evaluate.py` does at the end, its
    pictures included. `profile_steps` steps are traced, after `profile_after` that are not.
    """

    single_batch: bool = False
    num_steps: int | None = None
    num_evaluation_batches: int | None = None
    evaluate: bool = False
    profile_steps: int | None = None
    profile_after: int = DEFAULT_PROFILE_AFTER

    def __post_init__(self) -> None:
        for name in ("num_steps", "num_evaluation_batches", "profile_steps", "profile_after"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if self.profile_steps is None:
            if self.profile_after != DEFAULT_PROFILE_AFTER:
                raise ValueError("profile_after has no effect without profile_steps")
        elif (
            self.num_steps is not None and self.num_steps <= self.profile_after + self.profile_steps
        ):
            raise ValueError(
                f"num_steps={self.num_steps} must be above profile_after + profile_steps,"
                f" which is {self.profile_after + self.profile_steps}"
            )
        if self.single_batch and self.num_evaluation_batches is not None and not self.evaluate:
            raise ValueError("num_evaluation_batches has no effect: single_batch validates on one")
