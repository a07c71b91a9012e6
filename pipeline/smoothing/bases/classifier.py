"""A classifier by itself, as randomised smoothing began."""

from pipeline.errors import UserError
from pipeline.smoothing.base import OfClassifier, SmoothingBase
from pipeline.smoothing.bases.entry import BaseEntry, BaseOptions
from pipeline.user_models.load import load_same_classifier


def _open(options: BaseOptions, sigma: float, device: str) -> SmoothingBase:
    if options.classifier is None:
        raise UserError("the base is a classifier, and none is given; name one")
    return OfClassifier(
        load_same_classifier(
            options.classifier,
            options.info,
            options.classifier_sha256,
            weights=options.weights,
            rows_per_call=options.rows_per_call,
            device=device,
        )
    )


ENTRY = BaseEntry("classifier", "the classifier's answer about the noisy picture", _open)
