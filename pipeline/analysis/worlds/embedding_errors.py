"""Equivariance of S and of E, summed block by block since embeddings are large.

    equivariance of S     | rho_Y(g) S(s) - S(g s) |         at all times that are read
    equivariance of E     | rho_Z(g) E(y) - E(rho_Y(g) y) |  at the start
    distances under S     | |S(s) - S(s')| - |S(g s) - S(g s')| |

for all twins. Each goes with the norm of S(s), or of E(y), of the same samples.
"""

from collections.abc import Sequence

import torch

from pipeline.analysis.worlds.acting import acted
from pipeline.analysis.worlds.face import WorldModel
from pipeline.analysis.worlds.pairing import partners
from pipeline.metrics.by_element import ErrorsByElement
from pipeline.metrics.differences import change_of_distance, distances, lengths


class EmbeddingErrors:
    """`embedding`, `encoder`: equivariance; `distance`: distance invariance.

    The first two stay empty where the model says that the group has no action there. States
    s and s' are the starts of two episodes, see `pairing.py`.
    """

    def __init__(self, model: WorldModel) -> None:
        self.model = model
        self.embedding, self.encoder, self.distance = (
            ErrorsByElement(model.group) for _ in range(3)
        )

    @torch.no_grad()
    def add(self, embeddings: Sequence[torch.Tensor], elements: Sequence[torch.Tensor]) -> None:
        """For each twin an (N, K, ...) of the next N episodes at K times, the start first, and
        elements (N, ...). N is even but for the last ones."""
        own, *moved = embeddings
        for each, g in zip(moved, elements[1:], strict=True):
            self._add_embedding(own, each, g)
            self._add_encoder(own[:, 0], g)
            first, second = partners(g)
            pairs = (own[first, 0], own[second, 0], each[first, 0], each[second, 0])
            self.distance.add(g[first], change_of_distance(*pairs), lengths(own[first, 0]))

    def _add_embedding(self, own: torch.Tensor, moved: torch.Tensor, g: torch.Tensor) -> None:
        own, moved, g = own.flatten(0, 1), moved.flatten(0, 1), g.repeat_interleave(own.shape[1], 0)
        turned = acted(self.model.act_on_embedding, own, g)
        if turned is not None:
            self.embedding.add(g, distances(turned, moved), lengths(own))

    def _add_encoder(self, own: torch.Tensor, g: torch.Tensor) -> None:
        latent = self.model.encode(own).float()
        turned = acted(self.model.act_on_embedding, own, g)
        wanted = acted(self.model.act_on_latent, latent, g)
        if turned is not None and wanted is not None:
            found = self.model.encode(turned).float()
            self.encoder.add(g, distances(wanted, found), lengths(latent))
