"""The base of a smoothed classifier: what is asked about noisy pictures, for its class alone."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.smoothing.noise import DrawKeys


class Logits(Protocol):
    """A classifier that sees pictures, as `pipeline.classifier.FrozenClassifier` does."""

    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    sha256: str
    rows_per_call: int
    origin: dict[str, Any]
    training_layers: tuple[str, ...]

    def __call__(self, x: Tensor) -> Tensor: ...


class SmoothingBase(Protocol):
    """Noisy pictures to classes. Of its votes alone are certificates made.

    Attributes:
        classes: the name of each class, at least two.
        shape: (height, width, channels) of a picture.
        rows_per_call: how many pictures each call holds, neither more nor fewer.
        classifier: that is inside; None where there is none.
    """

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def shape(self) -> tuple[int, int, int]: ...

    @property
    def rows_per_call(self) -> int: ...

    @property
    def classifier(self) -> Logits | None: ...

    def record(self) -> dict[str, Any]:
        """The base's identity, as JSON can hold it: a set's manifest keeps it."""
        ...

    def answers(self, x: Tensor, keys: DrawKeys) -> np.ndarray:
        """The class voted for by each noisy picture.

        Args:
            x: float32 ``[rows_per_call, C, H, W]`` on the CPU, in units of [0, 1], not clipped.
            keys: of the pictures' noise, for a base that has chance of its own: it draws by them,
                for another purpose, and by nothing else.

        Returns:
            int64 ``[rows_per_call]`` in [0, K).

        Raises:
            UserError: there is no answer, such as where logits are no numbers.
        """
        ...


class OfClassifier:
    """A classifier as it stands: the class of its highest logit, the first of equal ones.

    Args:
        classifier: float32 ``[N, C, H, W]`` to logits ``[N, K]``.
    """

    def __init__(self, classifier: Logits) -> None:
        self.classifier = classifier
        self.classes = classifier.classes
        self.shape = classifier.shape
        self.rows_per_call = classifier.rows_per_call

    def record(self) -> dict[str, Any]:
        return {
            "base": "classifier",
            "classifier_sha256": self.classifier.sha256,
            "classifier": dict(self.classifier.origin),
            "rows_per_call": self.rows_per_call,
        }

    def answers(self, x: Tensor, keys: DrawKeys) -> np.ndarray:
        return highest(self.classifier(x), self.classes)


def highest(scores: Tensor, classes: Sequence[str]) -> np.ndarray:
    """The class of the highest score of each row, the first of equal ones: int64 ``[N]``.

    Raises:
        UserError: a score is not a number, or there are not as many as classes.
    """
    if scores.ndim != 2 or scores.shape[1] != len(classes):
        raise UserError(
            f"the base answers with scores of shape {list(scores.shape)} for {len(classes)} "
            "classes; give one that returns a score for each class"
        )
    if torch.isnan(scores).any():
        raise UserError(
            "the base answers with NaN about a noisy picture, whose values leave [0, 1]; "
            "it has no class there, so nothing can be certified: mend the network"
        )
    return np.asarray(scores.argmax(dim=1).cpu().numpy(), np.int64)
