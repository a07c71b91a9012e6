"""One optimiser step of a picture encoder, against a text encoder that stays as it is."""

import numpy as np
import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from pipeline.networks.picture_encoder import PictureEncoderNetwork
from pipeline.pictures import to_unit
from pipeline.training.contrastive import contrastive_loss, share_found
from pipeline.training.fit import Fit, FitRecipe
from pipeline.training.shifts import shifted


class PictureEncoderTrainer(Fit):
    """A picture encoder, its optimiser and its schedule, advanced one batch at a time.

    The texts are locked (Zhai et al., "LiT", arXiv 2111.07991): their vectors are given, and only
    the pictures' network learns. The loss couples the rows of a batch, so workers that share one
    show each other their vectors: the gradients are those of the whole batch in one process.

    Args:
        network: trained in place.
        recipe: how to train.
        first_row: the first row of each batch that this worker holds. All workers hold the same
            number of rows.
        rank, world: this worker's number, and how many there are.
    """

    def __init__(
        self,
        network: PictureEncoderNetwork,
        recipe: FitRecipe,
        *,
        first_row: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        super().__init__(network, recipe, world=world)
        self._encoder = network
        self._first_row, self._rank = first_row, rank

    def update(self, images: np.ndarray, targets: np.ndarray) -> None:
        """One step on this worker's rows of a batch; the targets are vectors of texts.

        They are float ``[N, D]``; where one is all zeros, the row has no caption and takes no part.
        """
        recipe = self._recipe
        moved = shifted(
            images, recipe.max_shift, (recipe.seed, self.step), first_row=self._first_row
        )
        own = self._encoder(to_unit(moved).to(self._device))
        vectors = torch.from_numpy(np.asarray(targets, np.float32)).to(self._device)
        vectors = F.normalize(vectors, dim=1)  # the set's float16 rounds their lengths
        pictures, vectors = self._of_all(own), self._of_all(vectors)
        loss = contrastive_loss(pictures, vectors, self._encoder.scale)
        self._descend(loss, share_found(pictures.detach(), vectors))

    def _of_all(self, rows: Tensor) -> Tensor:
        """The rows of all workers, in the order of the batch; only one's own pass gradients on."""
        if self._world == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self._world)]
        distributed.all_gather(parts, rows.detach().contiguous())
        parts[self._rank] = rows
        return torch.cat(parts)

    def _share_gradients(self) -> None:
        """Adds up what the workers' own rows contribute.

        Every worker has the loss of the whole batch. By the scale each has its whole derivative;
        by the other weights each has the part that passes through its own rows.
        """
        if self._world == 1:
            return
        shared = [
            p.grad
            for p in self._encoder.parameters()
            if p is not self._encoder.log_scale and p.grad is not None
        ]
        flat = torch.cat([grad.flatten() for grad in shared])
        distributed.all_reduce(flat)
        for grad, total in zip(shared, flat.split([g.numel() for g in shared]), strict=True):
            grad.copy_(total.view_as(grad))
