"""A model whose logits are brought to one size before an attack sees them."""

import torch
from torch import Tensor

from pipeline.attacks.base import Model
from pipeline.attacks.engine.call_sizes import RowView
from pipeline.perturbation_terms import MARGIN


class Rescaled(RowView):
    """A model's logits times one factor, so that its threshold becomes `MARGIN`.

    A factor in front of the softmax changes no answer, but it does change what attacks do that go
    by the cross-entropy, by a weight between logits and lengths, or by an absolute tolerance: a
    model could hide behind it. Through this, all attacks see logits whose spread is 20, and find
    the same in a model and in a millionth of it. With such a spread the cross-entropy looks at the
    strongest of even a thousand classes, and not at their mean.

    Args:
        base: the model, from ``[N, C, H, W]`` to logits ``[N, K]``.
        threshold: by how much a class must lead in its logits; see
            `formats.perturbation.verdict`.
    """

    def __init__(self, base: Model, threshold: float) -> None:
        super().__init__(base, self.rescale)
        self._threshold = threshold

    def rescale(self, logits: Tensor) -> Tensor:
        """The model's logits, scaled for the attacks.

        By one product with one number, so that a row's bits do not depend on other rows, and do not
        change where the threshold is `MARGIN`.
        """
        factor = torch.tensor(MARGIN / self._threshold, dtype=logits.dtype, device=logits.device)
        return logits * factor
