"""Scores of yes-or-no labels."""

from typing import NamedTuple

import torch


class LabelCounts(NamedTuple):
    """How many labels were said and true, said and false, and so on; they add up over batches."""

    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0
    true_negative: int = 0

    def plus(self, other: "LabelCounts") -> "LabelCounts":
        return LabelCounts(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def accuracy(self) -> float:
        """Share of labels that are right."""
        return (self.true_positive + self.true_negative) / max(1, sum(self))

    @property
    def f1(self) -> float:
        """2 tp / (2 tp + fp + fn); 1 where there is no positive to be found nor said."""
        wrong = self.false_positive + self.false_negative
        if self.true_positive == 0:
            return float(wrong == 0)
        return 2 * self.true_positive / (2 * self.true_positive + wrong)


def count_labels(said: torch.Tensor, true: torch.Tensor) -> LabelCounts:
    """Counts over two bool tensors of one shape."""
    both, either = int((said & true).sum()), int((said | true).sum())
    num_said, num_true = int(said.sum()), int(true.sum())
    return LabelCounts(both, num_said - both, num_true - both, said.numel() - either)
