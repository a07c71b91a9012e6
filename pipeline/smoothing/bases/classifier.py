"""A classifier by itself, as randomised smoothing began."""

from pipeline.errors import UserError
from pipeline.smoothing.base import OfClassifier, SmoothingBase
from pipeline.smoothing.bases.entry import CLASSIFIER_OPTIONS, BaseEntry, BaseOptions


def _open(options: BaseOptions, sigma: float, device: str) -> SmoothingBase:
    if options.classifier is None:
        raise UserError("the base is a classifier, and none is given; name one")
    return OfClassifier(options.same_classifier(device))


ENTRY = BaseEntry(
    "classifier", "the classifier's answer about the noisy picture", CLASSIFIER_OPTIONS, _open
)
