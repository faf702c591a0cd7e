"""What the channels of a feature map mean."""

from dataclasses import dataclass

from pipeline.equivariant.representations import PERMUTATIONS, check_group, representation_size


@dataclass(frozen=True)
class FieldType:
    """`num_fields` fields on the plane whose fibres move by one representation.

    Feature maps of this type are (N, num_channels, H, W); the values of one field are
    neighbours. `representation` is one of `trivial`, `quotient` and `regular`. ValueError
    for another group than c4 and d4, another representation, or no field.
    """

    group: str
    representation: str
    num_fields: int

    def __post_init__(self) -> None:
        check_group(self.group)
        if self.representation not in PERMUTATIONS:
            raise ValueError(
                f"fields of representation {self.representation!r} have no layers; there are"
                f" layers for {', '.join(PERMUTATIONS)}"
            )
        if self.num_fields < 1:
            raise ValueError(f"a field type needs a field at least, not {self.num_fields}")

    @property
    def fibre_size(self) -> int:
        """Number of values of one field at one place."""
        return representation_size(self.group, self.representation)

    @property
    def num_channels(self) -> int:
        """Number of channels of the feature map."""
        return self.num_fields * self.fibre_size
