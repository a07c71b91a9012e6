"""What every kind of base offers: how it is opened from what a config says."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.classifier import FrozenClassifier
from pipeline.formats.dataset import DatasetInfo
from pipeline.smoothing.base import SmoothingBase
from pipeline.user_models.load import load_same_classifier

CLASSIFIER_OPTIONS = frozenset({"classifier", "weights", "rows_per_call"})


@dataclass(frozen=True)
class BaseOptions:
    """What a config says of a base; each kind reads what concerns it.

    Attributes:
        info: the dataset whose pictures are to be certified.
        classifier, weights, rows_per_call: see `pipeline.user_models.load.load_classifier`.
        classifier_sha256: the identity that the classifier must have; None for any.
        stack: the directory of a stack.
        looks, leave: see `pipeline.smoothing.bases.stack.OfStack`.
    """

    info: DatasetInfo
    classifier: str | None = None
    weights: Path | None = None
    rows_per_call: int | None = None
    classifier_sha256: str | None = None
    stack: Path | None = None
    looks: tuple[int, ...] | None = None
    leave: float | None = None

    def same_classifier(self, device: str) -> FrozenClassifier:
        """The classifier that was named; UserError where it is another one, or does not fit."""
        assert self.classifier is not None
        return load_same_classifier(
            self.classifier,
            self.info,
            self.classifier_sha256,
            weights=self.weights,
            rows_per_call=self.rows_per_call,
            device=device,
        )


@dataclass(frozen=True)
class BaseEntry:
    """An entry of `BASES`.

    Attributes:
        name: what configs call this kind of base.
        help: one clause that says what it is.
        takes: the options of `BaseOptions` that a config may give it.
        open: from the options, the certificate's sigma in units of [0, 1], and a torch device.
    """

    name: str
    help: str
    takes: frozenset[str]
    open: Callable[[BaseOptions, float, str], SmoothingBase]
