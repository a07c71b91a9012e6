"""What a worker makes a perturbation set with: its classifier, its dataset, and where to write."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.classifier import FrozenClassifier
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo, load_dataset
from pipeline.perturbation.through import THROUGH
from pipeline.perturbation.through.entry import ThroughOptions
from pipeline.perturbation_terms import MARGIN
from pipeline.user_models.load import load_classifier, load_same_classifier


@dataclass(frozen=True)
class Workplace:
    """What a worker makes a set with.

    Attributes:
        classifier: that is attacked.
        info: the dataset.
        output: the set's directory.
        threshold: by how much another class must lead, in the classifier's logits.
        widened: whether the alarm of an audit takes all rows that stand, and not a sample.
    """

    classifier: FrozenClassifier
    info: DatasetInfo
    output: Path
    threshold: float
    widened: bool = False

    @classmethod
    def opened(
        cls,
        *,
        dataset: Path,
        classifier: str,
        output: Path,
        device: str = "cpu",
        weights: Path | None = None,
        rows_per_call: int | None = None,
        classifier_sha256: str | None = None,
        through: ThroughOptions | None = None,
        threshold: float = MARGIN,
        widened: bool = False,
    ) -> "Workplace":
        """The one of these paths.

        Args:
            dataset: its directory.
            classifier, weights, rows_per_call: see `pipeline.user_models.load.load_classifier`.
            device: a torch device.
            classifier_sha256: the identity that the classifier must have, with what it is seen
                through; None for any.
            through: what it is seen through; None for nothing.

        Raises:
            UserError: the classifier is another one here.
        """
        info = load_dataset(dataset)
        how: dict[str, Any] = {"weights": weights, "rows_per_call": rows_per_call, "device": device}
        frozen = (
            load_same_classifier(str(classifier), info, classifier_sha256, **how)
            if through is None
            else _same(
                seen_through(load_classifier(str(classifier), info, **how), through, info),
                classifier_sha256,
            )
        )
        return cls(frozen, info, output, threshold, widened)


def seen_through(
    classifier: FrozenClassifier, through: ThroughOptions | None, info: DatasetInfo
) -> FrozenClassifier:
    """The classifier behind what it is seen through; itself where that is nothing."""
    return classifier if through is None else THROUGH[through.name].open(classifier, through, info)


def _same(classifier: FrozenClassifier, sha256: str | None) -> FrozenClassifier:
    if sha256 not in (None, classifier.sha256):
        raise UserError(
            "the classifier, or what it is seen through, is another one here than where the job "
            "was started; copy both whole"
        )
    return classifier
