"""A classifier after a stack that denoises what it sees: denoised smoothing."""

from pipeline.errors import UserError
from pipeline.smoothing.base import SmoothingBase
from pipeline.smoothing.bases.entry import CLASSIFIER_OPTIONS, BaseEntry, BaseOptions
from pipeline.smoothing.bases.opened import open_stack, staged, with_null
from pipeline.smoothing.denoised import Denoised, OfDenoised


def _open(options: BaseOptions, sigma: float, device: str) -> SmoothingBase:
    if options.classifier is None:
        raise UserError("the base denoised needs a classifier, and none is given; name one")
    stack = with_null(open_stack(options.stack, options.info, device))
    classifier = options.same_classifier(device)
    return OfDenoised(
        Denoised(staged(stack), sigma),
        classifier,
        identity={"stack_sha256": stack.sha256},
        rows_per_call=stack.rows_per_call,
        device=device,
    )


ENTRY = BaseEntry(
    "denoised",
    "a classifier's answer about the picture as a stack denoises it, without a label, in one pass",
    CLASSIFIER_OPTIONS | {"stack"},
    _open,
)
