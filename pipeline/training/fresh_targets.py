"""Targets that a training step computes from sources and drawn elements (`pairs=fresh`)."""

import torch
from torch import nn

from orbit.core.groups import make_group
from orbit.core.groups.targets import make_targets
from orbit.core.store.manifest import Manifest
from pipeline.data.packing import Batch


class FreshTargets(nn.Module):
    """Calls an objective on batches without targets, which it computes on the device.

    The targets equal those that would have been stored. The computation is part of the compiled
    step.
    """

    def __init__(self, objective: nn.Module, manifest: Manifest) -> None:
        super().__init__()
        self.objective = objective
        self._group = make_group(manifest.group)
        self._is_binary = manifest.frames.values == "binary"

    def forward(
        self,
        source: torch.Tensor,
        target: torch.Tensor,
        action: torch.Tensor,
        label: torch.Tensor,
        valid: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The result of the objective; see `pipeline.methods.interface`. `target` is (B, 0)."""
        made = self.targets(source, action)
        outputs: tuple[torch.Tensor, torch.Tensor] = self.objective(
            source, made, action, label, valid
        )
        return outputs

    def targets(self, source: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """The stored frames of g x for each source x and action vector of g."""
        with torch.no_grad(), torch.autocast(source.device.type, enabled=False):
            return make_targets(self._group, source, action, self._is_binary)

    def completed(self, batch: Batch) -> Batch:
        """The batch with its targets."""
        return batch._replace(target=self.targets(batch.source, batch.action))
