"""What the channels of a feature map mean."""

from dataclasses import dataclass

from pipeline.equivariant.representations import SIGNED, check_representation, representation_size


@dataclass(frozen=True)
class FieldType:
    """`num_fields` fields on the plane whose fibres move by one representation.

    Feature maps of this type are (N, num_channels, H, W); the values of one field are
    neighbours. `representation` is `trivial`, `quotient`, `regular`, `sign` or `standard`;
    the values of the last two change signs, so that they take no bias, norm or ReLU. ValueError
    for another group than c4 and d4, another representation, or no field.
    """

    group: str
    representation: str
    num_fields: int

    def __post_init__(self) -> None:
        check_representation(self.group, self.representation)
        if self.num_fields < 1:
            raise ValueError(f"a field type needs a field at least, not {self.num_fields}")

    @property
    def fibre_size(self) -> int:
        """Number of values of one field at one place."""
        return representation_size(self.group, self.representation)

    @property
    def has_signs(self) -> bool:
        """Whether elements change signs of values, beside their places."""
        return self.representation in SIGNED

    @property
    def num_channels(self) -> int:
        """Number of channels of the feature map."""
        return self.num_fields * self.fibre_size
