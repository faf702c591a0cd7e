"""Configuration of meta-sequential prediction."""

from dataclasses import dataclass
from typing import Annotated, Literal

from orbit.core.config.limits import Count, NotNegative, limited
from orbit.core.plugins import Open
from pipeline.models.settings import NetworkConfig, ResidualConfig

Network = Annotated[NetworkConfig, Open("networks")]


@dataclass(frozen=True)
@limited
class MetaSequentialConfig:
    """A picture becomes a matrix H of `num_rows` rows and `num_columns` columns, and a sequence's
    pictures differ by one matrix M, H' = H M, which least squares finds.

    `objective=prediction` learns to predict the third picture by the M of the first two. Controls:
    `neural` does so by an M that a network makes of them; `reconstruction` learns to draw the
    second and third from the first one's H and the M of all three, `autoencoder` each from its own
    H. `ridge` is added to the diagonal of H'H before it is inverted, so that M stays finite where H
    loses rank; 0, as released, adds nothing. Linear layers join H and the latent of `model`.
    """

    name: Literal["meta_sequential"]
    num_rows: Count = 256
    num_columns: Count = 16
    objective: Literal["prediction", "neural", "reconstruction", "autoencoder"] = "prediction"
    ridge: NotNegative = 0.0
    model: Network = ResidualConfig("residual")

    def __post_init__(self) -> None:
        if self.objective == "neural":
            if self.ridge:
                raise ValueError(f"ridge={self.ridge} has no effect with objective=neural")
        elif self.ridge == 0 and self.num_rows < self.num_columns:
            raise ValueError(
                f"num_rows={self.num_rows} must be at least num_columns={self.num_columns}, or many"
                " M fit equally well; allowed with ridge above 0"
            )
        if getattr(self.model, "vector_size", None) is not None:
            raise ValueError(
                "model.vector_size: the latent has num_rows x num_columns numbers; allowed: null"
            )
